"""The Dockerfile, read: there is no daemon here that could build it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "infra" / "Dockerfile").read_text()
IGNORE = (ROOT / ".dockerignore").read_text().split()


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line]  # type: ignore[misc]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Name -> what it stands on, and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            parent, _, name = rest.split()
            found[name] = (parent, [])
        elif found:
            found[name][1].append((word, rest))
    return found


def line_of(name: str) -> list[tuple[str, str]]:
    """All instructions that make a stage's image, in order."""
    parent, own = stages()[name]
    return (line_of(parent) if parent in stages() else []) + own


def test_instructions_are_docker_s() -> None:
    known = {"ARG", "CMD", "COPY", "ENV", "FROM", "LABEL", "RUN", "USER", "WORKDIR"}
    assert {word for word, _ in instructions()} <= known


def test_the_base_is_pinned_and_slim() -> None:
    roots = {parent for parent, _ in stages().values() if parent not in stages()}
    assert roots == {"python:${PYTHON}"}
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-slim-\w+$", TEXT, re.MULTILINE)


def test_both_targets_run_as_nobody_special_and_without_build_tools() -> None:
    for target in ("cpu", "cuda"):
        made = line_of(target)
        assert [rest for word, rest in made if word == "USER"] == ["1000:1000"]
        runs = [rest for word, rest in made if word == "RUN"]
        assert runs == ["useradd --uid 1000 --create-home hawk"]
        copies = [rest for word, rest in made if word == "COPY"]
        assert copies == [f"--from={target}-packages /opt/hawk /opt/hawk"]


def test_packages_are_those_of_the_tests() -> None:
    installs = [
        part
        for stage in stages()
        for word, rest in stages()[stage][1]
        if word == "RUN"
        for part in rest.split(" && ")
        if "pip install" in part
    ]
    assert len(installs) == 3
    assert all("--constraint /tmp/constraints.txt" in part for part in installs)
    assert all("--no-cache-dir" in part for part in installs)


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    for _, own in stages().values():
        for word, rest in own:
            if word != "COPY" or "--from" in rest:
                continue
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in IGNORE, f"{source} is left out by .dockerignore"
    assert "*" in IGNORE
