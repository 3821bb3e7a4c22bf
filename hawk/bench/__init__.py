"""Bench: what drafting is worth on this machine."""
