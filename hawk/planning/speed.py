"""Speed: images a second of one worker, as given or as measured."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Images a second of one worker, and where the number is from."""

    rate: float
    source: str


def measured(file: Path) -> Speed:
    """Speed of the fastest exact row that `hawk bench --json` printed, at whatever batch.

    A worker with more images in flight is faster, so a plan of few in flight errs on the safe side.
    """
    try:
        report = json.loads(file.read_text(encoding="utf-8").strip().splitlines()[-1])
        exact = [
            row
            for row, detail in zip(report["rows"], report["details"], strict=True)
            if detail.get("exact")
        ]
        best = min(exact, key=lambda row: row["seconds_per_image"])
        source = (
            f"measured: {best['drafter']} on {report['machine']['device']}, "
            f"{report['settings']['model']}, {best['batch']} in flight"
        )
        return Speed(rate=1 / best["seconds_per_image"], source=source)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not what `hawk bench --json` prints: {type(error).__name__} {error}"
        ) from error
