"""Layout: names of the files in a run folder.

Tools that read a folder as one table shall see nothing but the Parquet files: pyarrow, pandas and
Spark pass over names that begin with `_`, Hugging Face's datasets over folders with `__`.
"""

import json
import re
from typing import Any

SIDE = "__hawk__"
MANIFEST = f"{SIDE}/manifest.json"
SUCCESS = f"{SIDE}/_SUCCESS"
SHEET = f"{SIDE}/contact-sheet.png"
CARD = f"{SIDE}/README.md"
PART = re.compile(r"part-\d{5,}\.parquet")
DECISIVE = {"inputs", "rows_per_file", "provenance"}  # keys of every manifest


def shard_name(index: int) -> str:
    return f"part-{index:05d}.parquet"


def earlier(name: str) -> str:
    """Path of that file in the first runs, where all lay side by side."""
    return name.removeprefix(f"{SIDE}/")


def is_manifest(data: bytes) -> bool:
    """Whether a file is the manifest of a run."""
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.keys() >= DECISIVE
