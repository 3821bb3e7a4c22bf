"""Hawk: fast, exact generation with autoregressive text-to-image models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hawk.decoding.request import Request
    from hawk.decoding.sampler import SamplerConfig
    from hawk.decoding.session import Session
    from hawk.pictures import Failure, Picture, Result, Step
    from hawk.pipeline import Pipeline

__version__ = "0.1.0"
__all__ = [
    "Failure",
    "Picture",
    "Pipeline",
    "Request",
    "Result",
    "SamplerConfig",
    "Session",
    "Step",
    "__version__",
]

_HOMES = {
    "Failure": "hawk.pictures",
    "Picture": "hawk.pictures",
    "Pipeline": "hawk.pipeline",
    "Result": "hawk.pictures",
    "Step": "hawk.pictures",
    "Request": "hawk.decoding.request",
    "SamplerConfig": "hawk.decoding.sampler",
    "Session": "hawk.decoding.session",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch and transformers take seconds, which `--help` need not."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hawk' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
