"""Columns: which of a file's are prompts, ids and settings; others are kept or named as left."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

PROMPT_NAMES = ("prompt", "prompts", "caption", "captions", "text", "texts", "description")
ID_NAMES = ("id", "item_id", "prompt_id")
SETTINGS = ("seed", "n", "negative_prompt", "guidance", "temperature", "top_k", "top_p")
ALL, NONE = "all", "none"
_INDEX = re.compile(r"|__index_level_\d+__")  # of pandas: the rows' numbers


@dataclass(frozen=True, kw_only=True)
class ColumnChoice:
    """Columns that the user names.

    Attributes:
        prompt, id: Names of the columns; None for the usual ones.
        keep: Names of columns to keep with commas, `all` or `none`.
    """

    prompt: str | None = None
    id: str | None = None
    keep: str = ALL

    @property
    def kept(self) -> list[str] | None:
        """Names of the columns to keep; None for all that are not binary."""
        if self.keep.strip().casefold() == ALL:
            return None
        if self.keep.strip().casefold() == NONE:
            return []
        return [name.strip() for name in self.keep.split(",") if name.strip()]

    def keeps(self, name: str, kind: pa.DataType | None = None) -> bool:
        """Whether to keep a column that has no use here; `kind` is Parquet's."""
        return name in self.kept if self.kept is not None else why_left(name, kind) is None


def choose(names: Sequence[str], wanted: ColumnChoice, *, prompts: bool) -> dict[str, str]:
    """Columns of a file by their names in batch jobs. LookupError where none has prompts.

    Args:
        prompts: True where rows bring their prompts whatever the columns are called.
    """
    have = ", ".join(map(repr, names)) or "none"
    prompt = _first(names, PROMPT_NAMES if wanted.prompt is None else [wanted.prompt])
    if prompt is None and not prompts:
        asked = "with prompts" if wanted.prompt is None else repr(wanted.prompt)
        raise LookupError(f"no column {asked}: it has {have}; --prompt-column names it")
    name = _first(names, ID_NAMES if wanted.id is None else [wanted.id])
    if name is None and wanted.id is not None and not prompts:
        raise LookupError(f"no column {wanted.id!r} for ids: it has {have}")
    taken = {"prompt": prompt, "id": name}
    for ours in SETTINGS:
        theirs = _first(names, [ours])
        taken[ours] = None if theirs in taken.values() else theirs
    return {ours: theirs for ours, theirs in taken.items() if theirs is not None}


def why_left(name: str, kind: pa.DataType | None = None) -> str | None:
    """Why a column is left out unless it is asked for; None where it is not."""
    if _INDEX.fullmatch(name):
        return "row numbers of pandas"
    return "binary" if kind is not None and _is_binary(kind) else None


def _is_binary(kind: pa.DataType) -> bool:
    """Whether a column holds files, such as images."""
    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    if any(check(kind) for check in checks) or pa.types.is_binary_view(kind):
        return True
    return any(_is_binary(kind.field(place).type) for place in range(kind.num_fields))


def _first(names: Iterable[str], usual: Sequence[str]) -> str | None:
    """The first of the usual names that is there; as it is written before other cases of it."""
    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(name.strip().casefold(), name)
    for name in usual:
        if name in names:
            return name
        if name.strip().casefold() in folded:
            return folded[name.strip().casefold()]
    return None
