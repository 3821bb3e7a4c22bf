"""The letters at the end of tensor names have one legend, in `hawk.decoding`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import hawk.decoding

PACKAGE = Path(hawk.decoding.__file__).parents[1]
TENSOR = re.compile(r"_*[a-z][a-z0-9_]*_([A-Z0-9]+)")
LEGEND = re.compile(r"^    ([A-Z])  \S", re.MULTILINE)


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name
            case ast.FunctionDef(name=name) | ast.keyword(arg=str(name)):
                yield name
            case _:
                pass


def test_every_letter_of_a_tensor_is_in_the_legend() -> None:
    legend = LEGEND.findall(hawk.decoding.__doc__ or "")
    assert len(legend) == len(set(legend)), "a letter has one meaning"
    unknown = {
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in PACKAGE.rglob("*.py")
        for name in names(ast.parse(file.read_text(encoding="utf-8")))
        if (tensor := TENSOR.fullmatch(name)) and set(re.sub(r"\d", "", tensor[1])) - set(legend)
    }
    assert not unknown


def test_there_is_no_other_legend() -> None:
    others = [f for f in PACKAGE.rglob("*.py") if "Letters:" in f.read_text(encoding="utf-8")]
    assert not others
