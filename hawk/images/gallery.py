"""Gallery: a folder of finished pictures and their contact sheet."""

import hashlib
import itertools
import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from hawk.images.encoding import encode
from hawk.images.origin import Maker, Origin

if TYPE_CHECKING:
    from hawk.pictures import Picture

GAP_PIXELS = 4
LEAST_PIXELS = 128  # smaller images are enlarged to this in the sheet
NUMBERED = re.compile(r"image-([0-9]{5,})\.png")


class Gallery:
    """Folder into which pictures are written as they finish.

    No file is replaced: numbers go on behind the last one. OSError where the folder cannot be made
    or written, before any image is made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise type(error)(
                f"cannot write into {folder} ({error.strerror}): choose another --out"
            ) from error
        self._folder = folder
        found = (NUMBERED.fullmatch(path.name) for path in folder.iterdir())
        self._first = max((int(match[1]) + 1 for match in found if match), default=0)
        self._pictures: dict[int, Picture] = {}
        self._paths: dict[int, Path] = {}

    def add(self, picture: "Picture", maker: Maker, size: str | None) -> None:
        """Write a picture with its origin; `size` is WIDTHxHEIGHT where the user gave one."""
        origin = Origin(
            maker=maker,
            request=picture.request,
            size=size,
            tokens_sha256=tokens_sha256(picture.tokens),
        )
        number = self._first + picture.place
        data = encode(picture.image, "png", origin=origin)
        self._paths[picture.place] = self._write("image-{:05d}.png", number, data)
        self._pictures[picture.place] = picture

    def write_sheet(self) -> Path:
        """Write a sheet of all pictures in the order of their prompts; its number is that of the
        first of them. Returns its path."""
        images = [self._pictures[place].image for place in sorted(self._pictures)]
        data = encode(contact_sheet(images), "png")
        name = "contact-sheet-{:05d}.png" if self._first else "contact-sheet.png"
        return self._write(name, self._first, data)

    def describe(self, picture: "Picture") -> dict[str, object]:
        """Entry of the picture in the JSON output."""
        return {
            "path": str(self._paths[picture.place]),
            "prompt": picture.request.prompt,
            "seed": picture.request.seed,
            "tokens_sha256": tokens_sha256(picture.tokens),
        }

    def _write(self, name: str, number: int, data: bytes) -> Path:
        """Write a new file of number `number`, or of the next free one; its path.

        No text of a user gets into the name.
        """
        for free in itertools.count(number):
            path = self._folder / name.format(free)
            try:
                file = path.open("xb")
            except FileExistsError:
                if path.name == name:  # has no number
                    name = name.replace(".", "-{:05d}.")
                continue
            with file:
                try:
                    file.write(data)
                except OSError:
                    path.unlink()
                    raise
            return path
        raise AssertionError("numbers have no end")


def tokens_sha256(tokens: Sequence[int]) -> str:
    """Fingerprint of an image's tokens, as decimal numbers joined by commas."""
    return hashlib.sha256(",".join(map(str, tokens)).encode()).hexdigest()


def contact_sheet(images: Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """Sheet of images of one size, about as many rows as columns unless `columns` is given."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    factor = max(1, math.ceil(LEAST_PIXELS / images[0].width))
    width, height = images[0].width * factor, images[0].height * factor
    sheet = Image.new(
        "RGB",
        (columns * (width + GAP_PIXELS) + GAP_PIXELS, rows * (height + GAP_PIXELS) + GAP_PIXELS),
        "white",
    )
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        corner = (
            column * (width + GAP_PIXELS) + GAP_PIXELS,
            row * (height + GAP_PIXELS) + GAP_PIXELS,
        )
        sheet.paste(image.resize((width, height), Image.Resampling.LANCZOS), corner)
    return sheet
