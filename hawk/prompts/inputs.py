"""Inputs: the files of a prompt set, on disk or S3.

One rule for both: every level of a folder is read. Names that begin with `.` or `_` are hidden, and
run folders of Hawk are results: both are passed over, like files of other kinds. Links are
followed, and a file is read once however many ways lead to it.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pyarrow.fs import FileSelector, FileType

from hawk.prompts import globs
from hawk.prompts.formats import KINDS, kind_of
from hawk.storage import layout
from hawk.storage.folder import Location

HIDDEN = (".", "_")
MOST_NAMED = 3  # in a sentence


@dataclass(kw_only=True)
class PromptFiles:
    """The files of an input.

    Attributes:
        location: Location of the input.
        base, pattern: Folder that is there, and the pattern of names below it; "" is all.
        files: Paths in the order of their names.
        names: Path of each below the folder that was given.
        folders: Folders that were looked through; on disk their real paths.
        passed: Number of files that were not read, by reason.
        suffixes: Suffixes of the files of other kinds.
        runs: Run folders that were not read.
    """

    location: Location
    base: str
    pattern: str
    files: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    passed: Counter[str] = field(default_factory=Counter)
    suffixes: set[str] = field(default_factory=set)
    runs: list[str] = field(default_factory=list)

    @property
    def note(self) -> str | None:
        """Sentence about what was not read."""
        parts = [f"{count} {what}" for what, count in sorted(self.passed.items())]
        if self.suffixes:
            named = sorted(self.suffixes)
            more = ", ..." if len(named) > MOST_NAMED else ""
            parts.append(f"other kinds ({', '.join(named[:MOST_NAMED])}{more})")
        parts += [f"the run folder {run}" for run in sorted(self.runs)[:MOST_NAMED]]
        if len(self.runs) > MOST_NAMED:
            parts.append(f"{len(self.runs) - MOST_NAMED} more run folders")
        return f"passed over in {self.location.url}: {', '.join(parts)}" if parts else None


def find(location: Location) -> PromptFiles:
    """The files of a file, a folder or a glob.

    FileNotFoundError where there is none, ValueError for a kind that cannot be read.
    """
    base, pattern = globs.divided(location.path, lambda path: _type(location, path) is not None)
    found = PromptFiles(location=location, base=base, pattern=pattern)
    kind = _type(location, base)
    if not pattern and kind == FileType.File:
        if kind_of(base) is None:
            raise ValueError(f"{base} is none of {', '.join(KINDS)}: convert it, or rename it")
        found.files, found.names = [base], [PurePosixPath(base).name]
        return found
    if kind != FileType.Directory:
        raise FileNotFoundError(f"no file or folder {location.url}")
    _collect(found, pattern or "**")
    if not found.files:
        about = f" ({found.note})" if found.note else ""
        raise FileNotFoundError(f"no {', '.join(KINDS)} files in {location.url}{about}")
    return found


def _collect(found: PromptFiles, pattern: str) -> None:
    """Fill in what below the base has a name of the pattern."""
    walk = _on_disk(found, globs.depth(pattern)) if found.location.local else _on_s3(found)
    matches = globs.compiled(pattern).fullmatch
    for name, fault in sorted(item for item in walk if matches(item[0])):
        if fault:
            found.passed[fault] += 1
        elif kind_of(name) is None:
            found.suffixes.add(PurePosixPath(name).suffix or PurePosixPath(name).name)
        else:
            found.names.append(name)
            found.files.append(f"{found.base.rstrip('/')}/{name}")


def _type(location: Location, path: str) -> FileType | None:
    """Kind of what is at a path; None where nothing is."""
    found = location.filesystem.get_file_info(path or "/").type
    return None if found == FileType.NotFound else found


def _on_disk(found: PromptFiles, depth: int | None) -> Iterator[tuple[str, str]]:
    """Names of files below a folder, and why one is not read, or ""."""
    top = found.base or "/"
    above = {str(path) for path in Path(os.path.realpath(top)).parents}
    files: set[str] = set()
    todo = [(Path(top), "")]
    while todo:
        folder, name = todo.pop()
        real = os.path.realpath(folder)
        if real in found.folders or real in above:
            yield name, "links to what is read already"
            continue
        found.folders.add(real)
        if name and _is_run(folder):
            found.runs.append(str(folder))
            continue
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            below = f"{name}/{entry.name}" if name else entry.name
            if entry.name == layout.SIDE:
                continue
            if entry.is_dir() and not entry.name.startswith(HIDDEN):
                if depth is None or below.count("/") + 1 < depth:
                    todo.append((folder / entry.name, below))
                continue
            real = os.path.realpath(entry)
            yield below, _fault(entry, again=real in files)
            files.add(real)


def _fault(entry: "os.DirEntry[str]", *, again: bool) -> str:
    if entry.name.startswith(HIDDEN):
        return "hidden"
    if entry.name != os.fsencode(entry.name).decode("utf-8", "replace"):
        return "with names that are not UTF-8"
    if not entry.is_file():
        return "neither file nor folder"
    return "links to what is read already" if again else ""


def _is_run(folder: Path) -> bool:
    if (folder / layout.SIDE).is_dir():
        return True
    manifest = folder / layout.earlier(layout.MANIFEST)
    return manifest.is_file() and layout.is_manifest(manifest.read_bytes())


def _on_s3(found: PromptFiles) -> Iterator[tuple[str, str]]:
    """As `_on_disk`; all that a bucket tells of the names below is asked for at once."""
    top, filesystem = found.base, found.location.filesystem
    infos = filesystem.get_file_info(FileSelector(top, recursive=True))
    names = [info.path[len(top) + 1 :] for info in infos if info.type == FileType.File]
    runs = {run for name in names if (run := _run_of(found.location, top, name))}
    found.folders.add(top)
    found.runs.extend(f"s3://{top}/{run}" for run in runs)
    faults: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        folders = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        if layout.SIDE in parts or not runs.isdisjoint(folders):
            continue
        hidden = next((at for at in folders if at.rpartition("/")[2].startswith(HIDDEN)), None)
        if hidden is not None:
            faults[hidden] = "hidden"
        else:
            faults[name] = "" if all(parts) else "with empty names"
    yield from faults.items()


def _run_of(location: Location, top: str, name: str) -> str:
    """The run folder below `top` that a file says it lies in, or ""."""
    folder, side, _ = f"/{name}".partition(f"/{layout.SIDE}/")
    if side:
        return folder[1:]
    folder, _, base = name.rpartition("/")
    if not folder or base != layout.earlier(layout.MANIFEST):
        return ""
    with location.filesystem.open_input_file(f"{top}/{name}") as file:
        return folder if layout.is_manifest(file.read()) else ""
