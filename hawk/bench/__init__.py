"""Bench: speed of drafters on this machine."""
