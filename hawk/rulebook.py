"""Rulebook: the rules by name, with their parameters."""

from hawk.rules import Coupled, Residual, Rule
from hawk.targets.base import Target

RULES: dict[str, type[Rule]] = {"coupled": Coupled, "residual": Residual}


def check_rule(name: str) -> str:
    """The name; ValueError where there is no such rule."""
    if name not in RULES:
        raise ValueError(f"no rule {name!r}: choose from {', '.join(RULES)}")
    return name


def load_rule(name: str, target: Target) -> Rule:
    """The rule for a target."""
    return RULES[check_rule(name)]()
