"""Globs: patterns over paths with `/`, the same on disk and S3."""

import re
from collections.abc import Callable

MAGIC = re.compile(r"[*?[]")


def divided(path: str, exists: Callable[[str], bool]) -> tuple[str, str]:
    """The part of a path to take as it is written, and the pattern behind it, which may be "".

    A part that exists as it is written is no pattern: folders may be called `run[1]`.
    """
    taken = ""
    parts = path.split("/")
    for number, part in enumerate(parts):
        longer = f"{taken}/{part}" if number else part
        if MAGIC.search(part) and not exists(longer):
            return taken, "/".join(parts[number:])
        taken = longer
    return taken, ""


def compiled(pattern: str) -> re.Pattern[str]:
    """Matches whole paths: `*` and `?` within a name, `**` over any number of folders.

    `[1]` is the class of characters that shells know, or stands for itself.
    """
    *folders, name = pattern.split("/")
    text = "".join("(?:[^/]+/)*" if part == "**" else f"{_part(part)}/" for part in folders)
    text += "(?:[^/]+/)*[^/]+" if name == "**" else _part(name)
    return re.compile(text, re.DOTALL)


def depth(pattern: str) -> int | None:
    """How many names deep it looks; None for any."""
    return None if "**" in pattern.split("/") else pattern.count("/") + 1


def _part(text: str) -> str:
    literal, classes = "", ""
    for token in re.findall(r"\*+|\?|\[!?\]?[^\]/]*\]|[^*?[]+|\[", text):
        if token[0] == "*":
            found = "[^/]*"
        elif token == "?":
            found = "[^/]"
        else:
            found = re.escape(token)
        literal += found
        classes += _class(token[1:-1]) if token[0] == "[" and len(token) > 1 else found
    return literal if literal == classes else f"(?:{classes}|{literal})"


def _class(inside: str) -> str:
    inverted = inside.startswith("!")
    characters = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside.removeprefix("!"))
    return f"(?!/)[{'^' if inverted else ''}{characters}]"
