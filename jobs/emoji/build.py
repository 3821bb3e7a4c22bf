"""Builds the captioned emoji images that the embedded model is trained on.

    python -m jobs.emoji.build data/emoji.npz

Artwork and labels come from npm packages of fixed versions, so every run writes the same rows:
about 16,000 images of 64 x 64 pixels in five styles, 52 MB, in two minutes on one core.
`dataset.py` reads the file; `styles.py` says whose the artwork is.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jobs.emoji.artwork import Artwork, is_blank, raster_artwork, vector_artwork
from jobs.emoji.captions import Captions, caption
from jobs.emoji.catalogue import Emoji, IconNames, read_emojis
from jobs.emoji.packages import PackageError, check_rasteriser, fetch
from jobs.emoji.split import split_of
from jobs.emoji.styles import EMOJIBASE, FLAT, NOTO, STYLES, THREE_D, TWEMOJI, Style


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image with its captions."""

    image: np.ndarray
    emoji: Emoji
    style: Style
    captions: Captions

    @property
    def split(self) -> str:
        return split_of(self.emoji.concept, self.style.name)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The unpacked packages: emoji by hexcode, drawings by style."""

    emojis: Mapping[str, Emoji]
    artworks: Mapping[str, list[Artwork]]


def open_source(packages: Path, progress: Progress) -> Source:
    """Fetches what is missing in `packages` and reads it."""
    pinned = [EMOJIBASE, *(style.package for style in STYLES)]
    task = progress.add_task("packages", total=len(pinned))
    folders: dict[str, Path] = {}
    for package in pinned:
        folders[package.name] = fetch(package, packages)
        progress.advance(task)
    emojis = read_emojis(folders[EMOJIBASE.name])
    # the sets that list code points; a name means what the first of them says
    teachers = [folders[style.package.name] for style in (NOTO, TWEMOJI, FLAT)]
    names = IconNames(emojis, teachers)
    artworks: dict[str, list[Artwork]] = {}
    for style in STYLES:
        folder = folders[style.package.name]
        if style is THREE_D:
            artworks[style.name] = raster_artwork(folder, folders[FLAT.package.name])
        else:
            artworks[style.name] = vector_artwork(folder, names)
    return Source(emojis=emojis, artworks=artworks)


def draw_rows(source: Source, style: Style, progress: Progress) -> list[Row]:
    """The rows of one style: the first drawing of each emoji that is not blank."""
    artworks = source.artworks[style.name]
    rows: dict[str, Row] = {}
    for artwork in progress.track(artworks, description=style.name):
        emoji = source.emojis.get(artwork.hexcode)
        if emoji is None or emoji.hexcode in rows:
            continue
        image = artwork.pixels()
        if not is_blank(image):
            rows[emoji.hexcode] = Row(
                image=image, emoji=emoji, style=style, captions=caption(emoji, style)
            )
    return list(rows.values())


def write_rows(path: Path, rows: list[Row]) -> None:
    """Writes the whole file under another name first: a broken run leaves no half file."""
    partial = path.with_name(f".{path.name}.partial")
    attributions = [
        [style.name, style.package.name, style.words, style.license, style.attribution]
        for style in STYLES
    ]
    try:
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                images=np.stack([row.image for row in rows]),
                captions=np.array([row.captions.drawn for row in rows]),
                captions_json=np.array([_as_json(row.captions.variants) for row in rows]),
                tags_json=np.array([_as_json(row.emoji.tags) for row in rows]),
                attribution=np.array(json.dumps(attributions)),
                phrase=np.array([row.captions.phrase for row in rows]),
                name=np.array([row.emoji.label for row in rows]),
                base=np.array([row.emoji.concept for row in rows]),
                hexcode=np.array([row.emoji.hexcode for row in rows]),
                group=np.array([row.emoji.group for row in rows]),
                subgroup=np.array([row.emoji.subgroup for row in rows]),
                style=np.array([row.style.name for row in rows]),
                skin_tone=np.array([row.emoji.skin_tone for row in rows]),
                license=np.array([row.style.license for row in rows]),
                source=np.array([row.style.package.spec for row in rows]),
                split=np.array([row.split for row in rows]),
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _as_json(texts: tuple[str, ...]) -> str:
    return json.dumps(texts, ensure_ascii=False)


def build(out: Path, packages: Path) -> list[Row]:
    """Fetches, draws, captions and writes; returns the rows written."""
    check_rasteriser()
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        source = open_source(packages, progress)
        rows = [row for style in STYLES for row in draw_rows(source, style, progress)]
    write_rows(out, rows)
    return rows


def main(
    out: Annotated[Path, typer.Argument(help="The .npz file to write.")],
    packages: Annotated[
        Path | None,
        typer.Option(help="Folder of the npm packages; default `packages` beside OUT."),
    ] = None,
) -> None:
    """Build the captioned emoji images from pinned npm packages."""
    if out.suffix != ".npz":
        raise typer.BadParameter(f"OUT must be a file name ending in .npz, got {str(out)!r}")
    try:
        rows = build(out, packages or out.parent / "packages")
    except PackageError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for names in ([row.style.name for row in rows], [row.split for row in rows]):
        typer.echo(", ".join(f"{name} {count}" for name, count in Counter(names).items()))
    typer.echo(f"{out}: {len(rows)} images, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    typer.run(main)
