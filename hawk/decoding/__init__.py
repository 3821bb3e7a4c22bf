"""Decoding: the algorithm. `session.py` is the loop; it names no model and no drafter."""
