"""NoiseBuffer: what it gives is the noise itself, wherever an image is and whoever moves."""

import pytest
import torch

from hawk.decoding.noise import gumbel
from hawk.decoding.noise_buffer import NoiseBuffer

VOCABULARY, CELLS, AHEAD = 11, 40, 6
CPU = torch.device("cpu")
IDS = torch.arange(VOCABULARY, dtype=torch.int32)


def new_ring(slots: int) -> NoiseBuffer:
    return NoiseBuffer(slots, VOCABULARY, cells=CELLS, ahead=AHEAD, device=CPU)


def noise(seed: int, first: int, steps: int) -> torch.Tensor:
    return gumbel(torch.tensor([seed]), torch.arange(first, first + steps)[None], IDS)[0]


def ahead(ring: NoiseBuffer, slot: int, step: int, steps: int = AHEAD) -> torch.Tensor:
    return ring.at(slot, torch.arange(step, step + steps)[None])[0]


def test_noise_ahead_of_the_committed_end_is_there() -> None:
    ring = new_ring(2)
    ring.enter(range(2), [5, 2**40], torch.ones(2))
    places = [0, 0]
    for counts in ([1, 4], [6, 1], [3, 3], [1, 6], [5, 5]):
        places = [place + count for place, count in zip(places, counts, strict=True)]
        ring.advance(counts)
        for slot, seed in enumerate([5, 2**40]):
            assert torch.equal(ahead(ring, slot, places[slot]), noise(seed, places[slot], AHEAD))


def test_each_step_is_drawn_once_and_none_behind_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[int, int]] = []

    def counting(seeds_B: torch.Tensor, steps_BN: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        drawn.extend(zip(seeds_B.tolist(), steps_BN.flatten().tolist(), strict=True))
        return gumbel(seeds_B, steps_BN, ids)

    monkeypatch.setattr("hawk.decoding.noise_buffer.gumbel", counting)
    ring = new_ring(2)
    ring.enter(range(2), [1, 2], torch.ones(2))
    for _ in range(CELLS // 4):
        ring.advance([4, 4])
    assert sorted(drawn) == [(seed, step) for seed in (1, 2) for step in range(CELLS)]


def test_images_move_and_enter_late() -> None:
    ring = new_ring(3)
    ring.enter(range(2), [1, 2], torch.ones(2))
    ring.advance([3, 5])
    ring.move(1, 0)
    ring.enter(range(1, 3), [7, 8], torch.tensor([1.0, 0.0]))
    ring.advance([2, 1, 1])
    assert torch.equal(ahead(ring, 0, 7), noise(2, 7, AHEAD))
    assert torch.equal(ahead(ring, 1, 1), noise(7, 1, AHEAD))
    assert not ahead(ring, 2, 1).any()  # temperature 0


def test_an_image_shorter_than_the_ring_is_there_as_a_whole() -> None:
    ring = NoiseBuffer(1, VOCABULARY, cells=3, ahead=50, device=CPU)
    ring.enter(range(1), [9], torch.ones(1))
    assert torch.equal(ahead(ring, 0, 0, 3), noise(9, 0, 3))
