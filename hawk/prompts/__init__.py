"""Prompt sets: files of every kind, on disk or S3, as checked rows."""
