"""Card: the README.md of a data set, as hubs show it."""

import json
import re
from itertools import islice
from pathlib import PurePath

from hawk.batch.inspection import manifest_of
from hawk.batch.run_rows import run_rows
from hawk.storage.folder import Folder

SAMPLE_ROWS = 5
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
LARGE = "n>1M"
FRONT = """\
---
license: unknown
task_categories:
- text-to-image
tags:
- synthetic
- hawk
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path: "{files}"
---
"""
TEXT = """\
# Images of {rows} prompts

{picture}{images} images and {failed} rows with an error, made with
[Hawk](https://pypi.org/project/hawk-t2i/) {version}.

| | |
|---|---|
{facts}

Every row says what made it: prompt, seed, sampler, model and the fingerprint of its weights. They
make the same image again.

## Rows

{sample}

## Licence

Unknown: that of the model and that of the prompts decide. Say here what they allow.
"""


def card(folder: Folder, *, images: int, failed: int, sheet: str | None, files: str) -> str:
    """The card of a run.

    Args:
        images, failed: Number of rows with a picture, and of those with an error.
        sheet: Path of the contact sheet from the card; None where there is none.
        files: Pattern of the Parquet files, from the card.
    """
    ours = manifest_of(folder)
    model = ours.provenance.model
    facts = {
        "model": PurePath(model).name if PurePath(model).is_absolute() else model,
        "weights": ours.provenance.model_revision,
        "drafter, rule": f"{ours.provenance.drafter}, {ours.provenance.rule}",
        "exact": "yes" if ours.provenance.exact else "no",
        "size": f"{ours.provenance.width} x {ours.provenance.height} pixels",
        "device, type": f"{ours.provenance.device}, {ours.provenance.dtype}",
        **{name: version for name, version in ours.versions.items() if name != "hawk-t2i"},
    }
    sample = [
        {name: shot.row[name] for name in ("id", "prompt", "seed", "sampler")}
        for shot in islice(run_rows(folder, pictures=False), SAMPLE_ROWS)
    ]
    size = next((name for most, name in SIZES if images < most), LARGE)
    return FRONT.format(size=size, files=files) + TEXT.format(
        rows=ours.rows,
        picture=f"![some of them]({sheet})\n\n" if sheet else "",
        images=images,
        failed=failed,
        version=ours.versions.get("hawk-t2i", ""),
        facts="\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items()),
        sample=_fenced("\n".join(json.dumps(row, ensure_ascii=False) for row in sample)),
    )


def _cell(text: str) -> str:
    return re.sub(r"[|\n\r`<>]", " ", text)


def _fenced(text: str) -> str:
    """Text of users as it is, whatever it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}json\n{text}\n{fence}"
