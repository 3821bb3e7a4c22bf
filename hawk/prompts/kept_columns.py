"""KeptColumns: columns of the input that mean nothing to a job and travel to its output.

A column has the type of all its values. Text files do not say types: numbers and truth values are
taken for what they are where nothing is lost by it, so `007` and `1.10` stay text.
"""

import json
import math
import re
from collections import defaultdict
from typing import Any

import pyarrow as pa

PREFIX = "input_"
NOTE = b"hawk"  # of a field: its name in the input, and whether its text is JSON
EXACT = 2**53  # whole numbers up to this are floats, too
LONGEST = 2**63
WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")


class KeptColumns:
    """Columns by their names in the input, as the rows show them."""

    def __init__(self) -> None:
        self._kinds: defaultdict[str, set[str]] = defaultdict(set)
        self._types: dict[str, list[pa.DataType]] = {}
        self._fields: dict[str, pa.Field] = {}

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self._kinds, *self._types]))

    def see(self, name: str, value: Any, *, text: bool) -> None:
        """A value of a column without a type."""
        self._kinds[name].add(_kind_of_text(value) if text else _kind(value))

    def see_type(self, name: str, kind: pa.DataType) -> None:
        """The type of a column that has one."""
        seen = self._types.setdefault(name, [])
        if (stored := _stored(kind)) not in seen:
            seen.append(stored)

    def settle(self) -> list[pa.Field]:
        """The columns of the output, when all was seen."""
        self._fields = {name: self._field(name) for name in self.names}
        return list(self._fields.values())

    def value(self, name: str, value: Any) -> Any:
        """A value as its column in the output takes it."""
        kind = self._fields[name].type
        if isinstance(value, pa.Scalar):
            if isinstance(value, pa.ExtensionScalar):
                value = value.value
            plain = not pa.types.is_nested(kind)  # Arrow has no way to collect all others
            if plain and value is not None and value.is_valid and value.type == kind:
                return value
            value = None if value is None else value.as_py()
        if value is None or value == "" or value != value:
            return None
        if pa.types.is_string(kind):
            return _text(value)
        if not isinstance(value, str):
            return float(value) if pa.types.is_float64(kind) else value
        return _number(value, kind)

    def _field(self, name: str) -> pa.Field:
        kinds = self._kinds.get(name, set()) - {""}
        types = list(self._types.get(name, []))
        if kinds:
            types.append(_type(kinds))
        note = {"name": name, "json": kinds == {"json"} and len(types) == 1}
        return pa.field(PREFIX + name, _joined(types), metadata={NOTE: json.dumps(note)})


def original(field: pa.Field) -> tuple[str, bool] | None:
    """Name in the input of a column of the output, and whether it holds JSON; None for others."""
    note = (field.metadata or {}).get(NOTE)
    if note is None:
        return None
    found = json.loads(note)
    return found["name"], found["json"]


def _kind(value: Any) -> str:
    if value is None or value == "" or value != value:
        return ""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "whole" if abs(value) <= EXACT else "long" if -LONGEST <= value < LONGEST else "text"
    if isinstance(value, float):
        return "float"
    return "text" if isinstance(value, str) else "json"


def _kind_of_text(text: str | None) -> str:
    if not text:
        return ""
    if text in ("True", "False"):
        return "truth"
    if WHOLE.fullmatch(text):
        return _kind(int(text))
    if text.casefold() == "nan":
        return "nan"
    try:
        number = float(text)
    except ValueError:
        return "text"
    if repr(number) != text or not math.isfinite(number):
        return "text"
    return "whole" if number == int(number) and abs(number) <= EXACT else "float"


def _type(kinds: set[str]) -> pa.DataType:
    known = kinds - {"nan"}
    if known == {"truth"} == kinds:
        return pa.bool_()
    if known and known <= {"whole", "long"}:
        return pa.int64()
    if known and known <= {"whole", "float"}:
        return pa.float64()
    return pa.string()


def _joined(types: list[pa.DataType]) -> pa.DataType:
    """A type for values of all of these; text where there is none."""
    schemas = [pa.schema([("x", kind)]) for kind in types if not pa.types.is_null(kind)]
    if not schemas:
        return pa.string()
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()


def _stored(kind: pa.DataType) -> pa.DataType:
    """The plain type of what an extension or a dictionary stands for."""
    if isinstance(kind, pa.BaseExtensionType):
        return _stored(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _stored(kind.value_type)
    return pa.string() if pa.types.is_string_view(kind) else kind


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode()


def _number(text: str, kind: pa.DataType) -> Any:
    if pa.types.is_boolean(kind):
        return text == "True"
    if pa.types.is_float64(kind):
        return None if text.casefold() == "nan" else float(text)
    if pa.types.is_int64(kind):
        if text.casefold() == "nan":
            return None
        return int(text) if WHOLE.fullmatch(text) else int(float(text))
    return text
