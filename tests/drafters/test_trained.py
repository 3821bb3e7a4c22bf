"""Drafters with networks of their own: they guess what the target may pick, and nothing else."""

import pytest
import torch

from hawk import Request, SamplerConfig, Session
from hawk.drafters import DRAFTERS
from hawk.targets import kv_memory
from hawk.targets.janus import Janus
from tests.tiny import new_session

# All but `vertical`, which knows nothing of the first row.
TRAINED = sorted(set(DRAFTERS) - {"plain", "jacobi", "sjd", "scd", "vertical"})


def first_guesses(session: Session, sampler: SamplerConfig) -> list[int]:
    """Of the second token of some images that differ in their noise alone."""
    for seed in range(session.slots):
        session.submit(Request(prompt="a red apple", seed=seed, guidance=5.0, sampler=sampler))
    with torch.inference_mode():
        session.admit()
        tree = session.drafter.draft(session.roots_B, session.next_nodes())
    return tree.tokens_BN[:, 1].tolist()  # trees are numbered depth first


@pytest.mark.parametrize("drafter", TRAINED)
def test_guesses_come_after_the_filters(tiny: Janus, drafter: str) -> None:
    """A law cut to one token has one guess, whatever the noise; its images have the same root."""
    narrow = first_guesses(new_session(tiny, drafter, slots=6), SamplerConfig(top_k=1))
    assert len(set(narrow)) == 1
    certain = first_guesses(new_session(tiny, drafter, slots=6), SamplerConfig(top_p=1e-6))
    assert certain == narrow
    assert len(set(first_guesses(new_session(tiny, drafter, slots=6), SamplerConfig()))) > 1


def test_memory_is_planned_for_the_largest_tree_of_any_drafter() -> None:
    assert max(drafter.most_nodes for drafter in DRAFTERS.values()) == kv_memory.NODES
