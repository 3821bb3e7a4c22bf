"""Which rows are held out: decided by a hash of the names, so it survives any rebuild."""

import hashlib

CONCEPTS_HELD_OUT = 20  # of 1000: concepts never trained in any style
PAIRS_HELD_OUT = 30  # of 1000: concepts trained, but not in this style


def stable_hash(text: str) -> int:
    """The same 48-bit number in every process; Python's own `hash` is salted."""
    return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12], 16)


def split_of(concept: str, style: str) -> str:
    """`train`, `test_concept` (an unseen emoji) or `test_pair` (an unseen combination)."""
    if stable_hash(f"concept|{concept}") % 1000 < CONCEPTS_HELD_OUT:
        return "test_concept"
    if stable_hash(f"pair|{concept}|{style}") % 1000 < PAIRS_HELD_OUT:
        return "test_pair"
    return "train"
