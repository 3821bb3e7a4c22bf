"""Report of a check, in a folder with the picture, to be attached to a bug report."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from hawk.check.examination import Asked, Examined
from hawk.check.finding import ABSENT, FAILED, PASSED, Finding
from hawk.devices import resolve_devices
from hawk.machine import machine, versions


def report(asked: Asked, examined: Examined, findings: Sequence[Finding]) -> dict[str, Any]:
    """The report for JSON, without the names of the user, of folders and of the machine."""
    outcomes = [finding.outcome for finding in findings]
    return {
        "passed": FAILED not in outcomes,
        "counts": {outcome: outcomes.count(outcome) for outcome in (PASSED, FAILED, ABSENT)},
        "model": examined.model,
        "settings": {
            "drafter": asked.drafter,
            "device": asked.device,
            "dtype": asked.dtype,
            "size": asked.size,
            "prompt": asked.prompt,
            "seed": asked.seed,
        },
        "checks": [asdict(finding) for finding in findings],
        "seconds": round(sum(finding.seconds for finding in findings), 2),
        "machine": machine(resolve_devices(asked.device)[0]),
        "versions": versions(),
    }


class ReportFolder:
    """Folder of reports, which keeps those of other checks.

    Args:
        path: Folder, which is made where it is missing. OSError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        self._path = path

    def write(self, found: dict[str, Any], examined: Examined) -> Path:
        """Write the report, and the picture beside it with the same number; the report's path."""
        taken = {file.stem.rpartition("-")[2] for file in self._path.glob("report*.json")}
        number = next(number for number in count(1) if str(number) not in taken)
        file = self._path / f"report-{number}.json"
        file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
        if examined.picture is not None:
            examined.picture.image.save(self._path / f"picture-{number}.png")
        return file
