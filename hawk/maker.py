"""Maker: the model, drafter and rule behind pictures, as files and answers tell them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Model, drafter and rule that make the pictures of a call.

    Attributes:
        model: Name it was loaded by.
        model_revision: Fingerprint of its weights.
        drafter, rule: Their names, parameters of the rule included.
        dtype: Type of the weights.
    """

    model: str
    model_revision: str
    drafter: str
    rule: str
    dtype: str
