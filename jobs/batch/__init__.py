"""Batch jobs: prompts in any form to images in Parquet, on disk or S3, resumable.

`run.py` tells the story: stage the prompts, cut them into shards, give shards to workers, check
what they wrote. Only `cluster.py`, `pool.py`, `processor.py` and `submission.py` know Ray.
"""
