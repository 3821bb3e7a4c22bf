"""Batch jobs: prompts in any form to images in Parquet, on disk or S3, resumable.

`run.py` tells the story: stage the prompts, cut them into shards, give shards to workers, check
what they wrote. Only `capacity.py`, `worker_pool.py`, `processor.py` and `submission.py` know Ray.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hawk.batch.processor import ProcessorConfig, build_processor

__all__ = ["ProcessorConfig", "build_processor"]


def __getattr__(name: str) -> Any:
    """Those two need what the extra `ray` installs, a run that resumes does not."""
    if name not in __all__:
        raise AttributeError(f"module 'hawk.batch' has no attribute {name!r}")
    from hawk.batch import processor

    return getattr(processor, name)
