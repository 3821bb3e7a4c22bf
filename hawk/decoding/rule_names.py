"""Rules by name and parameters, as in `coupled` or `neighbour:ratio=2:neighbours=50`."""

import inspect
from collections.abc import Callable
from typing import Any

from hawk.decoding.relaxed import Cluster, Neighbour, Typical
from hawk.decoding.rules import Coupled, Residual, Rule
from hawk.decoding.target import Target

RULES: dict[str, Callable[..., Rule]] = {
    "coupled": Coupled,
    "residual": Residual,
    "typical": Typical,
    "neighbour": Neighbour,
    "cluster": Cluster,
}


def load_rule(text: str, target: Target) -> Rule:
    """The rule for a target. ValueError where it is unknown or a parameter is out of range."""
    name, parameters = read_rule(text)
    maker = RULES[name]
    if "codebook_VD" in inspect.signature(maker).parameters:
        return maker(target.codebook_VD, **parameters)
    return maker(**parameters)


def read_rule(text: str) -> tuple[str, dict[str, float]]:
    """Name and parameters of a rule. ValueError where either is unknown."""
    name, *parts = text.split(":")
    if name not in RULES:
        raise ValueError(f"no rule {name!r}: choose from {', '.join(RULES)}")
    known = [key for key, value in _parameters(name) if value.kind is value.KEYWORD_ONLY]
    found: dict[str, float] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in known:
            raise ValueError(
                f"rule {name!r} has no parameter {key!r}: it takes {', '.join(known) or 'none'}"
            )
        try:
            found[key] = float(value)
        except ValueError as error:
            raise ValueError(f"{key} of rule {name!r} must be a number, got {value!r}") from error
    return name, found


def _parameters(name: str) -> list[tuple[str, Any]]:
    return list(inspect.signature(RULES[name]).parameters.items())
