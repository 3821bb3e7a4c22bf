"""Bounds of an image's settings, the same for Python, commands, files and HTTP.

The module imports nothing heavy, so that a process that loads no model can know them.
"""

import operator
import re
from numbers import Real
from typing import Any

SEED_LIMIT = 1 << 63  # every seed is smaller
LEAST_GUIDANCE, MOST_GUIDANCE = 1, 100  # 1 is none; official scripts use up to 7.5
# Below, logits divided by the temperature are too large for float32; 0 takes the likeliest token.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 1e-3, 100
MOST_TOP_K = 1_000_000  # more than any vocabulary has


def seed(value: object) -> int:
    """The seed as an int. ValueError where it is no whole number in its bounds."""
    found = whole("seed", value)
    if not 0 <= found < SEED_LIMIT:
        raise ValueError(f"seed must be between 0 and 2**63 - 1, got {found}")
    return found


def guidance(value: object) -> float:
    """The guidance scale as a float. ValueError where it is no number in its bounds."""
    found = _number("guidance", value)
    if not LEAST_GUIDANCE <= found <= MOST_GUIDANCE:
        least, most = LEAST_GUIDANCE, MOST_GUIDANCE
        raise ValueError(f"guidance must be between {least} (none) and {most}, got {found}")
    return found


def temperature(value: object) -> float:
    """The temperature as a float. ValueError where it is no number in its bounds."""
    found = _number("temperature", value)
    if found != 0 and not LEAST_TEMPERATURE <= found <= MOST_TEMPERATURE:
        least, most = LEAST_TEMPERATURE, MOST_TEMPERATURE
        raise ValueError(f"temperature must be 0, or between {least} and {most}, got {found}")
    return found


def top_k(value: object) -> int:
    """Number of tokens to keep, 0 for all. ValueError where it is no whole number in its bounds."""
    found = whole("top_k", value)
    if not 0 <= found <= MOST_TOP_K:
        raise ValueError(f"top_k must be between 0 (off) and {MOST_TOP_K}, got {found}")
    return found


def top_p(value: object) -> float:
    """Probability mass to keep. ValueError where it is no number in its bounds."""
    found = _number("top_p", value)
    if not 0 < found <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {found}")
    return found


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of a text WIDTHxHEIGHT; None for None. ValueError for another text."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text.lower())
    if found is None:
        raise ValueError(f"size must be WIDTHxHEIGHT in pixels, as 768x512; got {text!r}")
    return int(found[2]), int(found[1])


def whole(name: str, value: Any) -> int:
    """A whole number, numpy's included, as an int. ValueError for all else, `True` and 1.0 too."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:  # 1.5, 1.0, "1"
        pass
    raise ValueError(f"{name} must be a whole number, got {value!r}")


def _number(name: str, value: Any) -> float:
    """A number, numpy's included, as a float. ValueError for all else, `True` too."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value)
