"""Lines: prompts of a text file, one a line, the same for all commands."""

import io
from collections.abc import Iterator
from typing import BinaryIO


def prompt_lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of every line that is not blank; spaces around it are dropped.

    Lines end at line feeds, carriage returns or both, as in every text file. Other characters that
    Unicode counts as ends of lines are part of a prompt. UnicodeDecodeError where it is not UTF-8.
    """
    for number, line in enumerate(io.TextIOWrapper(stream, "utf-8-sig"), start=1):
        if line.strip():
            yield number, line.strip()
