"""Encoding: pictures as PNG, JPEG and WebP files, with their origin inside.

PNG holds every value in a text chunk of its own (iTXt). JPEG and WebP hold all values as JSON in
the user comment of their EXIF data.
"""

import io
import json
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from hawk.images.origin import Origin

PNG_LEVEL = 1  # compression level: a third of the time of zlib's default 6, a sixth more bytes
CODE = b"ASCII\0\0\0"  # encoding of a comment, which EXIF puts before it
MOST_COMMENT = 60_000  # bytes; JPEG has 64 KiB for all EXIF data
LONG = ("prompt", "negative_prompt")  # values left out where a comment is too long


def encode(
    image: Image.Image,
    format: str,
    *,
    quality: int | None = None,
    origin: Origin | None = None,
    png_level: int = PNG_LEVEL,
) -> bytes:
    """Bytes of a picture's file; the same picture and origin give the same bytes.

    Args:
        image: Picture to encode.
        format: Format of the file: png, jpeg or webp.
        quality: Quality of jpeg and webp, 0 to 100; None is Pillow's default.
        origin: Origin to store in the file; None stores none.
        png_level: Compression level of png, 0 to 9.
    """
    options: dict[str, Any] = {}
    texts = origin.texts() if origin else {}
    if format == "png":
        options = {"compress_level": png_level, "pnginfo": _png_info(texts)}
    else:
        if quality is not None:
            options["quality"] = quality
        if texts:
            options["exif"] = _exif(texts)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def convert(data: bytes, format: str) -> bytes:
    """Bytes of a picture's file in another format, with its origin."""
    with Image.open(io.BytesIO(data)) as image:
        try:
            origin = Origin.read(_texts(image))
        except ValueError:
            origin = None
        return encode(image.convert("RGB"), format, origin=origin)


def read_origin(path: Path) -> Origin:
    """Origin of a picture, from its file. ValueError where the file does not hold it."""
    try:
        with Image.open(path) as image:
            texts = _texts(image)
        return Origin.read(texts)
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path} is no picture: {error}") from error
    except ValueError as error:
        raise ValueError(
            f"{path} {error}: only pictures of this version of Hawk say what made them, and only "
            f"as long as no other program writes them anew"
        ) from error


def _texts(image: Image.Image) -> dict[str, str]:
    if image.format != "PNG":
        return _comment(image)
    image.load()  # texts may come behind the pixels
    return getattr(image, "text", {})


def _png_info(texts: dict[str, str]) -> PngInfo:
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    return info


def _exif(texts: dict[str, str]) -> bytes:
    comment = json.dumps(texts).encode()
    if len(comment) > MOST_COMMENT:
        comment = json.dumps({n: text for n, text in texts.items() if n not in LONG}).encode()
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = CODE + comment
    return exif.tobytes()


def _comment(image: Image.Image) -> dict[str, str]:
    found = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
    try:
        texts = json.loads(bytes(found).removeprefix(CODE))
    except (ValueError, TypeError):
        return {}
    return texts if isinstance(texts, dict) else {}
