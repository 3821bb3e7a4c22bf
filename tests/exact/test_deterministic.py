"""Deterministic sessions: no pass has a shape of its own, so none has a rounding of its own."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from hawk import Request
from hawk.decoding.cache import Cache, Room
from hawk.decoding.session import FIXED_NODES
from hawk.drafters import DRAFTERS
from hawk.targets.janus import Janus
from tests.tiny import new_session, tokens_of

SLOTS = 3
ASKED = [
    Request(prompt=prompt, seed=seed, guidance=guidance)
    for seed, (prompt, guidance) in enumerate(
        [("a red apple", 5.0), ("x", 1.0), ("a green tree, 3d style", 2.0), ("a dog", 5.0)]
    )
]


class Spy:
    """A decoder that notes the shapes of what it is given."""

    def __init__(self, decoder: Callable[..., Any]) -> None:
        self._decoder = decoder
        self.trees: set[tuple[torch.Size, torch.Size]] = set()
        self.prompts: list[torch.Size] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def __call__(
        self, hidden_RND: Tensor, positions_RE: Tensor, mask: Tensor, cache: Cache
    ) -> Tensor:
        if hidden_RND.shape[1] == mask.shape[-1]:
            self.prompts.append(hidden_RND.shape)
        else:
            self.trees.add((hidden_RND.shape, mask.shape))
        return self._decoder(hidden_RND, positions_RE, mask, cache)


def kept_in_place(
    cache: Cache,
    path_BL: Tensor,
    counts_B: Tensor,
    counts: Sequence[int],
    *,
    move: bool,
    keep: Any = Cache.keep,
) -> None:
    assert not move, "keys and values of a token must be where plain decoding has them"
    keep(cache, path_BL, counts_B, counts, move=False)


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_every_pass_has_one_shape(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch, drafter: str
) -> None:
    wanted = tokens_of(new_session(tiny, "plain", SLOTS), ASKED)
    spy = Spy(tiny._decoder)
    monkeypatch.setattr(tiny, "_decoder", spy)
    monkeypatch.setattr(Cache, "keep", kept_in_place)
    assert tokens_of(new_session(tiny, drafter, SLOTS, deterministic=True), ASKED) == wanted
    room = Room(prompt_limit=tiny.prompt_limit, image=tiny.grid.cells + FIXED_NODES)
    capacity = room.capacity(tiny.prompt_limit)
    rows = 2 * SLOTS
    assert spy.trees == {
        ((rows, FIXED_NODES, tiny.hidden_size), (rows, 1, FIXED_NODES, capacity)),
    }
    lengths = [len(tiny.encode(request.prompt)[0]) for request in ASKED]
    assert spy.prompts == [(2, length, tiny.hidden_size) for length in lengths]
