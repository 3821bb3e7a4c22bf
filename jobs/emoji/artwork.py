"""The drawings of a style, and how one becomes 64 x 64 pixels on white."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jobs.emoji.catalogue import IconNames, plain_hexcode, read_json

IMAGE_PIXELS = 64
RENDER_PIXELS = 192  # SVGs are drawn at three times the size, then scaled down once
BLANK_DEVIATION = 1.0  # standard deviation, of 255, under which an image shows nothing
WHITE = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Artwork:
    """One drawing: SVG markup, or a raster file."""

    hexcode: str
    source: str | Path

    def pixels(self) -> np.ndarray:
        """uint8 [64, 64, 3]."""
        if isinstance(self.source, str):
            return shrink(_rasterise(self.source))
        with Image.open(self.source) as image:
            return shrink(image)


def vector_artwork(icon_set: Path, names: IconNames) -> list[Artwork]:
    """The icons of an unpacked Iconify package whose emoji is known."""
    document = read_json(icon_set / "icons.json")
    own_names: dict[str, str] = {}
    for hexcode, name in read_json(icon_set / "chars.json").items():
        own_names.setdefault(name, plain_hexcode(hexcode))
    artworks: list[Artwork] = []
    for name, icon in document["icons"].items():
        hexcode = own_names.get(name) or names.find(name)
        if hexcode is not None and not icon.get("hidden"):
            artworks.append(Artwork(hexcode=hexcode, source=_markup(icon, document)))
    return artworks


def raster_artwork(package: Path, icon_set: Path) -> list[Artwork]:
    """The WebP files of the LobeHub package that `icon_set`, Microsoft's own set, has as well.

    The others (most country flags) are not Microsoft's and come without a stated origin.
    """
    microsoft = {plain_hexcode(hexcode) for hexcode in read_json(icon_set / "chars.json")}
    files = sorted((package / "assets").glob("*.webp"))
    return [
        Artwork(hexcode=plain_hexcode(file.stem), source=file)
        for file in files
        if plain_hexcode(file.stem) in microsoft
    ]


def shrink(image: Image.Image) -> np.ndarray:
    """An image of any size and mode on a white square, scaled to uint8 [64, 64, 3]."""
    drawing = image.convert("RGBA")
    ground = Image.new("RGBA", drawing.size, (*WHITE, 255))
    ground.alpha_composite(drawing)
    side = max(drawing.size)
    square = Image.new("RGB", (side, side), WHITE)
    corner = ((side - drawing.width) // 2, (side - drawing.height) // 2)
    square.paste(ground.convert("RGB"), corner)
    size = (IMAGE_PIXELS, IMAGE_PIXELS)
    return np.asarray(square.resize(size, Image.Resampling.LANCZOS), np.uint8)


def is_blank(pixels: np.ndarray) -> bool:
    return float(pixels.std()) < BLANK_DEVIATION


def _markup(icon: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """An Iconify icon as an SVG document; sizes that the icon leaves out are the set's."""
    width = icon.get("width", document["width"])
    height = icon.get("height", document["height"])
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{width}" height="{height}">{icon["body"]}</svg>'
    )


def _rasterise(svg: str) -> Image.Image:
    import resvg_py  # here, so that all but the drawing itself works without it

    # dpi: without one, sizes in millimetres are refused; fonts differ from machine to machine
    png = resvg_py.svg_to_bytes(svg_string=svg, width=RENDER_PIXELS, dpi=96, skip_system_fonts=True)
    return Image.open(io.BytesIO(png))
