"""Official code beside Hawk: its own generation loop on a tiny random model in its own layout.

A process under `--python`, which has the packages of the official code, makes the model, draws with
the loop of the checkout (its sampler replaced by an argmax), and writes the model in its published
layout and a record of what it did. Here the same files are loaded as a user would load them, and
compared: the ids of the prompts, the guided law of every image token at the same tokens, the
tokens that plain and speculative decoding make, and the pixels.

    python -m benchmarks.official janus CHECKOUT --python OFFICIAL_PYTHON

ends in one line of JSON with the commit of the checkout. No official code is kept here.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.official import ours

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=ours.LOADERS)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", required=True, help="interpreter with the official packages")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_theirs(asked.family, asked.checkout.resolve(), Path(folder), asked.python)
        found = ours.compare(asked.family, Path(folder))
    print(json.dumps({"family": asked.family, "commit": commit_of(asked.checkout)} | found))  # noqa: T201
    raise SystemExit(0 if found["agrees"] else 1)


def run_theirs(family: str, checkout: Path, out: Path, python: str) -> None:
    """The official loop in a process of its own; what it writes lands in `out`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [python, "-W", "ignore", "-m", f"benchmarks.official.{family}"]
    subprocess.run([*command, str(checkout), str(out)], check=True, cwd=out, env=environment)


def commit_of(checkout: Path) -> Any:
    said = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        check=True,
        capture_output=True,
        text=True,
    )
    return said.stdout.strip()


if __name__ == "__main__":
    main()
