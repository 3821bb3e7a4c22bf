"""Jobs: what runs for long, on one machine or many."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.batch.processor import ProcessorConfig, build_processor

__all__ = ["ProcessorConfig", "build_processor"]


def __getattr__(name: str) -> Any:
    """Those two need what the extra `ray` installs, other jobs do not."""
    if name not in __all__:
        raise AttributeError(f"module 'jobs' has no attribute {name!r}")
    from jobs.batch import processor

    return getattr(processor, name)
