"""Hawk: fast, exact generation with autoregressive text-to-image models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hawk.pipeline import Picture, Pipeline, Result
    from hawk.request import Request
    from hawk.sampler import SamplerConfig
    from hawk.session import Session

__version__ = "0.1.0"
__all__ = ["Picture", "Pipeline", "Request", "Result", "SamplerConfig", "Session", "__version__"]

_HOMES = {
    "Picture": "hawk.pipeline",
    "Pipeline": "hawk.pipeline",
    "Result": "hawk.pipeline",
    "Request": "hawk.request",
    "SamplerConfig": "hawk.sampler",
    "Session": "hawk.session",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch and transformers take seconds, which `--help` need not."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hawk' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
