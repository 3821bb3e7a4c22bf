"""The README keeps its word: marked commands run; links and paths of all documents lead somewhere.

A ```bash block with `<!-- test -->` on the line before it is run line by line in an empty folder
that holds a link to `examples/`. Later lines find what earlier ones wrote, in later blocks too.
Lines that begin with make, git or pip are not run; make's targets have to exist.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
MARK = "<!-- test -->"
NOT_RUN = ("make", "git", "pip")
TIMEOUT_S = 300


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a ```bash block; `line` is where it begins, `marked` whether it is to be run."""

    line: int
    text: str
    marked: bool

    @property
    def program(self) -> str:
        return self.text.split()[0]


def commands(markdown: str) -> Iterator[Command]:
    """All commands of all bash blocks; lines that end in a backslash are joined with the next."""
    before, inside, marked, begun = "", False, False, ""
    for number, line in enumerate(markdown.splitlines(), start=1):
        text = line.strip()
        if inside and text.startswith("```"):
            inside = False
        elif inside and text.endswith("\\"):
            begun += text[:-1]
            continue
        elif inside and (text := begun + text) and not text.startswith("#"):
            yield Command(line=number, text=text, marked=marked)
        elif text == "```bash":
            inside, marked = True, before == MARK
        before, begun = text, ""


def links(markdown: str) -> list[str]:
    """Targets of links and images that are files of this repository, code left out."""
    prose = re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", markdown, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(
        r"\]\(<?([^)>\s]+)|(?:src|href)=\"([^\"]+)\"|^\[[^\]]+\]: (\S+)", prose, re.M
    )
    targets = ["".join(groups).split("#")[0] for groups in found]
    return [target for target in targets if target and not re.match(r"[a-z]+:", target)]


def make_targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([\w-]+):(?!=)", makefile, re.MULTILINE))


TEXT = README.read_text(encoding="utf-8") if README.exists() else ""
COMMANDS = list(commands(TEXT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("readme")
    (path / "examples").symlink_to(ROOT / "examples")
    return path


def test_readme_exists() -> None:
    assert README.exists(), f"{README.name} is missing: write it at the top of the repository"


def test_readme_has_commands_to_run() -> None:
    assert any(command.marked for command in COMMANDS), (
        f"no command of {README.name} is tested: put {MARK} on the line before a ```bash block"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c.marked and c.program not in NOT_RUN],
    ids=lambda c: f"line {c.line}",
)
def test_command_runs(command: Command, folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, (
        f"{README.name}, line {command.line}: `{command.text}` ended with {done.returncode}:\n"
        f"{done.stdout}"
    )


def test_make_targets_exist() -> None:
    known = make_targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    for command in COMMANDS:
        if command.program == "make":
            words = command.text.split("#")[0].split()[1:]
            asked = {word for word in words if "=" not in word and not word.startswith("-")}
            assert asked <= known, f"{README.name}, line {command.line}: no such target in Makefile"


DOCUMENTS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PATH = re.compile(r"`((?:benchmarks|docs|examples|hawk|infra|jobs|serve|tests)/[\w./-]*)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    missing = [target for target in links(text) if not (document.parent / target).exists()]
    missing += [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    assert missing == [], f"{document.name} points to files that do not exist"


SAMPLE = """
See [the map](docs/map.md#top), [site](https://example.org), [below](#below) and `[no](link.md)`.
<img src="images/a.png"> ![b](images/b.png)

<!-- test -->
```bash
# a comment
make demo

hawk doctor \\
  --json
```
```bash
hawk serve  # not marked
```
```python
[x](y)
```
"""


def test_commands_are_found() -> None:
    assert list(commands(SAMPLE)) == [
        Command(line=8, text="make demo", marked=True),
        Command(line=11, text="hawk doctor --json", marked=True),
        Command(line=14, text="hawk serve  # not marked", marked=False),
    ]


def test_links_are_found() -> None:
    assert links(SAMPLE) == ["docs/map.md", "images/a.png", "images/b.png"]


def test_make_targets_are_found() -> None:
    assert make_targets("A := b\n.PHONY: all\nall: demo\nrun-demo:\n\tx: y\n") == {
        "all",
        "run-demo",
    }
