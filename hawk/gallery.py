"""Gallery: a folder of finished pictures and their contact sheet."""

import hashlib
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from hawk.pipeline import Picture

GAP_PIXELS = 4
LEAST_PIXELS = 128  # smaller images are enlarged to this in the sheet
PNG_LEVEL = 1  # of compression: a third of the time of zlib's usual 6, for a sixth more bytes


class Gallery:
    """Writes pictures into `folder` as they finish.

    OSError where the folder cannot be made or written, before any image is made.
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
        self._pictures: dict[int, Picture] = {}

    def add(self, picture: "Picture") -> None:
        self._pictures[picture.place] = picture
        picture.image.save(self.path(picture), compress_level=PNG_LEVEL)

    def path(self, picture: "Picture") -> Path:
        """Named by place: nothing that a user wrote gets into a file name."""
        return self._folder / f"image-{picture.place:05d}.png"

    def write_sheet(self) -> Path:
        """All pictures in the order of their prompts."""
        path = self._folder / "contact-sheet.png"
        images = [self._pictures[place].image for place in sorted(self._pictures)]
        contact_sheet(images).save(path)
        return path

    def describe(self, picture: "Picture") -> dict[str, object]:
        """The picture's entry in machine-readable output."""
        return {
            "path": str(self.path(picture)),
            "prompt": picture.request.prompt,
            "seed": picture.request.seed,
            "tokens_sha256": tokens_sha256(picture.tokens),
        }


def tokens_sha256(tokens: Sequence[int]) -> str:
    """Fingerprint of an image's tokens, as decimal numbers joined by commas."""
    return hashlib.sha256(",".join(map(str, tokens)).encode()).hexdigest()


def contact_sheet(images: Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """Images of one size in rows, as square as it goes unless `columns` is given."""
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
