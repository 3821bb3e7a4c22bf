"""Hawk: fast, exact generation with autoregressive text-to-image models."""

from hawk.pipeline import Picture, Pipeline, Result
from hawk.request import Request
from hawk.sampler import SamplerConfig
from hawk.session import Session

__version__ = "0.1.0"
__all__ = ["Picture", "Pipeline", "Request", "Result", "SamplerConfig", "Session", "__version__"]
