"""Evaluation: what made images are worth beside real ones, with nothing downloaded."""
