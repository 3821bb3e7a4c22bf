"""Export: the pictures of a run folder as files, in the layouts that scorers and trainers read."""

import io
import json
import string
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from PIL import Image

from hawk.batch.card import card
from hawk.batch.inspection import inspect, manifest_of, parts
from hawk.batch.run_rows import RunRow, check_names, run_rows
from hawk.images.encoding import convert
from hawk.storage import layout
from hawk.storage.folder import Folder

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
FIELDS = ("id", "item", "n", "index", "seed")
GRID = 2  # pictures in a row and a column of DPG-Bench's files
TAR_BYTES, TAR_PICTURES = 10**9, 10_000

File = tuple[str, bytes]
Layout = Callable[[Folder], Iterator[File]]


def export(source: Folder, out: Folder, files: Layout) -> dict[str, Any]:
    """Write files into a new folder; returns counts, ready for JSON.

    ValueError, before anything is written, where `out` is not empty or a name is none.
    """
    if not out.empty():
        raise ValueError(f"{out.url} is not empty: give a new folder")
    count = 0
    for name, data in files(source):
        out.write(name, data)
        count += 1
    left_out = sum(shot.row["error"] is not None for shot in run_rows(source, pictures=False))
    return {"out": out.url, "files": count, "rows_without_picture": left_out}


def named(pattern: str) -> Layout:
    """A file a picture, called by the pattern, as `{id}.png`. ValueError where it is none."""
    kind = FORMATS.get(PurePosixPath(pattern).suffix.lower())
    if kind is None:
        raise ValueError(f"--name {pattern!r} has to end in one of {', '.join(FORMATS)}")
    call = _namer(pattern)

    def files(source: Folder) -> Iterator[File]:
        rows = list(run_rows(source, pictures=False))
        check_names([call(shot) for shot in rows], [shot.id for shot in rows])
        for shot in run_rows(source):
            if shot.data is not None:
                yield call(shot), shot.data if shot.format == kind else convert(shot.data, kind)

    return files


def gen_eval(source: Folder) -> Iterator[File]:
    """GenEval's: a folder a prompt, with the line that it was given as, and its pictures."""
    for _, group in groupby(run_rows(source), key=lambda shot: shot.item_index):
        made = [shot for shot in group if shot.data is not None]
        if not made:
            continue
        first = made[0]
        missing = sorted({"tag", "include"} - first.given.keys())
        if missing:
            raise ValueError(
                f"row {first.id!r} has no {missing[0]}: GenEval's layout is of prompts from its "
                f"evaluation_metadata.jsonl"
            )
        folder = f"{first.item_index:05d}"
        line = first.given | {"prompt": first.row["prompt"]}
        yield f"{folder}/metadata.jsonl", json.dumps(line).encode()
        for number, shot in enumerate(made):
            yield f"{folder}/samples/{number:05d}.png", _png(shot)


def dpg_bench(source: Folder) -> Iterator[File]:
    """DPG-Bench's: a PNG an item, of one picture, or of up to four in two rows."""
    items = list({shot.item: None for shot in run_rows(source, pictures=False)})
    check_names([f"{item}.png" for item in items], items)
    for _, group in groupby(run_rows(source), key=lambda shot: shot.item_index):
        copies = list(group)
        if len(copies) > GRID**2:
            raise ValueError(f"item {copies[0].item!r} has {len(copies)} pictures, 4 are the most")
        if any(shot.data for shot in copies):
            data = _grid(copies) if len(copies) > 1 else _png(copies[0])
            yield f"{copies[0].item}.png", data


def web_dataset(source: Folder) -> Iterator[File]:
    """WebDataset's: tar files of picture, prompt and what else is known of each."""
    try:
        from webdataset.writer import TarWriter
    except ImportError as error:
        raise ValueError("tar files need webdataset: pip install 'hawk-t2i[export]'") from error

    number = count = 0
    tar = io.BytesIO()
    writer = TarWriter(tar, encoder=False, mtime=0)
    for shot in run_rows(source):
        if shot.data is None:
            continue
        if count == TAR_PICTURES or tar.tell() > TAR_BYTES:
            writer.close()
            yield f"shard-{number:05d}.tar", tar.getvalue()
            number, count, tar = number + 1, 0, io.BytesIO()
            writer = TarWriter(tar, encoder=False, mtime=0)
        about = shot.row | {"input": shot.given}
        writer.write(
            {
                "__key__": f"{shot.index:09d}",  # ids may hold dots, which end a key
                {"jpeg": "jpg"}.get(shot.format, shot.format): shot.data,
                "txt": shot.row["prompt"].encode(),
                "json": json.dumps(about, default=str).encode(),
            }
        )
        count += 1
    writer.close()
    if count:
        yield f"shard-{number:05d}.tar", tar.getvalue()


def hub(source: Folder) -> Iterator[File]:
    """A data set's as hubs read it: its card, and the Parquet files by the names they expect."""
    found, names = inspect(source), parts(source)
    sheet = manifest_of(source).path(layout.SHEET)
    there = source.has(sheet)
    if there:
        yield "contact-sheet.png", source.read(sheet)
    for number, name in enumerate(names):
        yield f"data/train-{number:05d}-of-{len(names):05d}.parquet", source.read(name)
    text = card(
        source,
        images=found["images"],
        failed=found["failed"],
        sheet="contact-sheet.png" if there else None,
        files="data/*.parquet",
    )
    yield "README.md", text.encode()


LAYOUTS: dict[str, Layout] = {
    "geneval": gen_eval,
    "dpg-bench": dpg_bench,
    "webdataset": web_dataset,
    "hub": hub,
}


def _namer(pattern: str) -> Callable[[RunRow], str]:
    """Names by a pattern. ValueError where it has fields that a picture has not."""
    try:
        for _, field, _, conversion in string.Formatter().parse(pattern):
            if field is not None and (field not in FIELDS or conversion):
                raise ValueError(f"{{{field}}} is none of its fields")
        pattern.format(id="", item="", n=0, index=0, seed=0)
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(
            f"--name {pattern!r} cannot be used ({error}): it takes "
            f"{', '.join(f'{{{name}}}' for name in FIELDS)}"
        ) from error

    def call(shot: RunRow) -> str:
        return pattern.format(
            id=shot.id, item=shot.item, n=shot.copy, index=shot.index, seed=shot.row["seed"]
        )

    return call


def _png(shot: RunRow) -> bytes:
    assert shot.data is not None, "only pictures are written"
    return shot.data if shot.format == "png" else convert(shot.data, "png")


def _grid(copies: list[RunRow]) -> bytes:
    """Pictures in two rows, white where one was not made."""
    made = {shot.copy: Image.open(io.BytesIO(shot.data)) for shot in copies if shot.data}
    width, height = next(iter(made.values())).size
    sheet = Image.new("RGB", (GRID * width, GRID * height), "white")
    for copy, image in made.items():
        row, column = divmod(copy, GRID)
        sheet.paste(image, (column * width, row * height))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
