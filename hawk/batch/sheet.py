"""Sheet: the contact sheet of a job, drawn again as pictures come."""

import contextlib
import io
import time
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hawk.images.gallery import contact_sheet
from hawk.storage.folder import Folder
from hawk.storage.layout import SHEET

PICTURES = 64  # the first of the job
REDRAW_S = 5.0


class Sheet:
    """The first pictures of a job in the order of its rows."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._pictures: dict[int, bytes] = {}
        self._drawn = 0
        self._time = time.monotonic()

    def add(self, pictures: Mapping[int, bytes]) -> None:
        """PNG by row; drawn now and then."""
        self._pictures.update(pictures)
        if time.monotonic() - self._time > REDRAW_S:
            self.draw()

    def add_file(self, name: str, first: int) -> None:
        """Pictures of a shard whose first row is `first`, as far as they can be read."""
        with contextlib.suppress(OSError, pa.ArrowException), self._folder.open(name) as file:
            for batch in pq.ParquetFile(file).iter_batches(PICTURES, columns=["image"]):
                for row, image in enumerate(batch.column("image").to_pylist(), start=first):
                    if image and row < PICTURES:
                        self._pictures[row] = image["bytes"]
                return

    def draw(self) -> None:
        """Write the sheet if there is something new on it."""
        if len(self._pictures) == self._drawn:
            return
        images = [image for _, data in sorted(self._pictures.items()) if (image := _opened(data))]
        if images:
            png = io.BytesIO()
            contact_sheet(images).save(png, "PNG")
            self._folder.write(SHEET, png.getvalue())
        self._drawn, self._time = len(self._pictures), time.monotonic()


def _opened(data: bytes) -> Image.Image | None:
    """A picture; None where it is damaged."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, SyntaxError, ValueError):
        return None
    return image
