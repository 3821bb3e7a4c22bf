"""Size of images in pixels, as people write it."""

import re


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of WIDTHxHEIGHT, or None. ValueError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text.lower())
    if found is None:
        raise ValueError(f"size must be WIDTHxHEIGHT in pixels, as 768x512; got {text!r}")
    return int(found[2]), int(found[1])
