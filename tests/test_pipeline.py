"""Pipeline: prompts in, pictures out, whatever the order they finish in."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hawk import Pipeline, SamplerConfig
from hawk.decoding.request import Finished
from hawk.decoding.session import Session
from hawk.decoding.target import Target
from hawk.devices import resolve_device
from hawk.pictures import NEUTRAL, Step
from hawk.targets.janus import Janus


def new(target: Janus, drafter: str = "auto", slots: int = 3) -> Pipeline:
    return Pipeline(target, drafter=drafter, rule="coupled", slots=slots)


def test_pictures_come_in_the_order_of_the_prompts(tiny: Janus) -> None:
    prompts = [f"a thing number {i}" for i in range(7)]
    seen: list[int] = []
    pipeline = new(tiny)
    requests = pipeline.requests(prompts, seed=3, n=2, guidance=None, sampler=None)
    result = pipeline.run(requests, each=lambda picture: seen.append(picture.place))
    assert [picture.request.prompt for picture in result.pictures] == [
        prompt for prompt in prompts for _ in range(2)
    ]
    assert [picture.request.seed for picture in result.pictures] == [3, 4] * 7
    assert sorted(seen) == list(range(14))
    assert all(image.size == (12, 12) for image in result.images)


def test_the_bill_adds_up(tiny: Janus) -> None:
    pipeline = new(tiny, "jacobi")
    first = pipeline(["a", "b"], seed=1)
    second = pipeline(["a", "b", "c"], seed=1)
    for result, images in ((first, 2), (second, 3)):
        stats = result.stats
        assert (stats.images, stats.tokens) == (images, images * 36)
        assert stats.tokens == stats.forwards + stats.accepted
        assert stats.tokens == sum(picture.stats.tokens for picture in result.pictures)
        assert stats.forwards == sum(picture.stats.forwards for picture in result.pictures)
        assert stats.passes <= stats.forwards
        assert 1 <= stats.tokens_per_forward == stats.tokens / stats.forwards
        assert result.seconds > stats.draft_s + stats.forward_s + stats.verify_s > 0


def test_plain_decoding_takes_a_forward_a_token(tiny: Janus) -> None:
    result = new(tiny, "plain")("a", n=5)
    assert result.stats.forwards == result.stats.tokens == 5 * 36
    assert result.summary()["tokens_per_forward"] == 1.0


def test_one_prompt_may_be_a_string(tiny: Janus) -> None:
    assert len(new(tiny)("a red apple").images) == 1


def test_a_stream_that_is_dropped_frees_its_slots(tiny: Janus) -> None:
    pipeline = new(tiny)
    requests = pipeline.requests(["a"] * 9, seed=0, n=1, guidance=2.0, sampler=None)
    stream = pipeline.stream(requests)
    next(stream)
    stream.close()
    assert not pipeline.session(guided=True).busy
    assert len(pipeline(["a"], guidance=2.0).images) == 1


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"prompts": []}, "no prompts"),
        ({"prompts": ["a", " \n"]}, "the prompt is empty"),
        ({"prompts": ["a"], "n": 0}, "n must be 1 or more, got 0"),
        ({"prompts": ["a"], "seed": -1}, "seed must be between 0"),
        ({"prompts": ["a"], "seed": 2**63}, "seed must be between 0"),
        ({"prompts": ["a"], "guidance": 0.5}, "guidance must be between 1"),
        ({"prompts": ["a"], "guidance": float("nan")}, "guidance must be between 1"),
        ({"prompts": ["apple " * 500]}, "reads up to"),
        ({"prompts": ["a", "b"], "seed": [1]}, "seed has 1 values for 2 prompts"),
        ({"prompts": ["a"], "guidance": [1e39]}, "guidance must be between 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused_before_anything_is_made(
    tiny: Janus, settings: dict[str, object], complaint: str
) -> None:
    pipeline = new(tiny)
    with pytest.raises(ValueError, match=complaint):
        pipeline(**settings)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"drafter": "psychic"}, "no drafter 'psychic': choose from auto, "),
        ({"rule": "lenient"}, "no rule 'lenient': choose from coupled"),
        ({"slots": 0}, "slots must be 1 or more"),
        ({"dtype": "int8"}, "no dtype 'int8'"),
        ({"device": "abacus"}, "no device 'abacus'"),
    ],
    ids=str,
)
def test_unknown_choices_list_what_there_is(
    tiny_folder: object, settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Pipeline.from_pretrained(str(tiny_folder), **settings)  # pyright: ignore[reportArgumentType]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(ValueError, match="no device 'cuda' here"):
        resolve_device("cuda")


def test_a_large_seed_and_unicode_pass(tiny: Janus) -> None:
    result = new(tiny)("ein Äpfel 苹果 🍎", seed=2**63 - 1, sampler=SamplerConfig(top_k=3))
    assert len(result.pictures[0].tokens) == 36


def test_each_prompt_may_have_its_own_settings(tiny: Janus) -> None:
    pipeline = new(tiny)
    prompts, samplers = ["a red apple", "a tree"], [SamplerConfig(top_k=3), SamplerConfig()]
    together = pipeline(prompts, seed=[4, 9], guidance=[1.0, 3.0], sampler=samplers)
    for place, picture in enumerate(together.pictures):
        alone = pipeline(
            prompts[place], seed=[4, 9][place], guidance=[1.0, 3.0][place], sampler=samplers[place]
        )
        assert picture.tokens == alone.pictures[0].tokens
        assert picture.request == alone.pictures[0].request


def test_a_callback_sees_every_image_after_every_step(tiny: Janus) -> None:
    pipeline = new(tiny, "jacobi", slots=2)
    seen: dict[int, list[list[int]]] = {0: [], 1: [], 2: []}

    def note(step: Step) -> None:
        assert sum(step.commits) == len(step.tokens)
        assert step.request.prompt == "abc"[step.place]
        seen[step.place].append(step.tokens)

    result = pipeline(list("abc"), callback=note)
    for picture in result.pictures:
        sizes = np.cumsum(picture.commits)
        # The pass of the prompt and the first tree are one step; the last step makes the picture.
        assert seen[picture.place] == [picture.tokens[:size] for size in sizes[1:-1]]


def test_a_partial_picture_is_grey_where_nothing_is_made(tiny: Janus) -> None:
    shown: list[np.ndarray] = []

    def look(step: Step) -> bool:
        shown.append(np.asarray(step.image()))
        return len(step.tokens) >= 20  # of 36 in rows of 6, each of 2 pixels

    assert new(tiny, "plain")("a", callback=look).pictures == []
    assert (shown[0] == NEUTRAL).all()
    assert (shown[-1][6:] == NEUTRAL).all()
    assert not (shown[-1][:6] == NEUTRAL).all()


def test_a_callback_stops_one_image_and_no_other(tiny: Janus) -> None:
    pipeline = new(tiny, "jacobi", slots=2)
    undisturbed = pipeline(list("abc"))
    asked: list[int] = []

    def stop(step: Step) -> bool:
        asked.append(step.place)
        return step.place == 1

    result = pipeline(list("abc"), callback=stop)
    assert [picture.place for picture in result.pictures] == [0, 2]
    assert asked.count(1) == 1
    for picture in result.pictures:
        assert picture.tokens == undisturbed.pictures[picture.place].tokens
    assert not any(session.busy for session in pipeline.sessions)


def test_what_a_callback_raises_ends_the_call_and_frees_the_slots(tiny: Janus) -> None:
    pipeline = new(tiny)

    def interrupt(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline(list("abcde"), callback=interrupt)
    assert len(pipeline("a").pictures) == 1


def test_an_image_that_fails_leaves_the_others(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(session: Session, honest: Callable[..., list[Finished]] = Session.step) -> Any:
        return [
            replace(finished, error="bad logits", tokens_T=finished.tokens_T[:0])
            if finished.request.prompt == "b"
            else finished
            for finished in honest(session)
        ]

    monkeypatch.setattr(Session, "step", step)
    result = new(tiny)(list("abc"))
    assert [picture.place for picture in result.pictures] == [0, 2]
    [failure] = result.failures
    assert (failure.place, failure.request.prompt, failure.error) == (1, "b", "bad logits")


def test_tokens_are_decoded_to_the_picture_that_they_made(tiny: Janus) -> None:
    pipeline = new(tiny)
    picture = pipeline("a").pictures[0]
    assert pipeline.decode(picture.tokens) == picture.image
    half = np.asarray(pipeline.decode(picture.tokens[:20]))
    assert (half[6:] == NEUTRAL).all()
    assert half.shape == (12, 12, 3)


@pytest.mark.parametrize(
    ("tokens", "complaint"),
    [
        ([64], "up to 36 tokens from 0 to 63"),
        ([-1], "up to 36 tokens from 0 to 63"),
        ([0] * 37, "up to 36 tokens from 0 to 63"),
        ([0.5], "a token must be a whole number, got 0.5"),
        ([True], "a token must be a whole number, got True"),
    ],
    ids=str,
)
def test_tokens_of_another_model_are_refused(tiny: Janus, tokens: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        new(tiny).decode(tokens)


class Handmade:
    """A target with what the protocol names and nothing else."""

    prompt_limit, default_guidance, default_sampler = 9, 1.0, SamplerConfig()

    def __init__(self, inner: Target) -> None:
        self._inner, self.name = inner, "mine"
        self.grid, self.vocabulary = inner.grid, inner.vocabulary
        self.hidden_size, self.device = inner.hidden_size, inner.device
        self.encode, self.new_cache = inner.encode, inner.new_cache
        self.prefill, self.forward, self.pixels = inner.prefill, inner.forward, inner.pixels

    @property
    def codebook_VD(self) -> torch.Tensor:
        return self._inner.codebook_VD

    embeddings_VX = head_VX = codebook_VD


def test_a_target_of_ones_own_needs_no_identity(tiny: Janus) -> None:
    mine: Any = Handmade(tiny)
    pipeline = new(mine)
    assert pipeline.drafter == "jacobi"
    tokens = pipeline("a", guidance=5.0).pictures[0].tokens
    assert tokens == new(tiny, "plain")("a", guidance=5.0).pictures[0].tokens
    with pytest.raises(ValueError, match="no trained 'hawk' drafter for mine"):
        new(mine, "hawk")("a")
    with pytest.raises(ValueError, match="mine has no encoder for images"):
        pipeline.encode(Image.new("RGB", (12, 12)))


def test_what_is_no_target_is_told_what_it_lacks() -> None:
    thing: Any = SimpleNamespace(name="mine", grid=None, encode=None, forward=None)
    with pytest.raises(TypeError, match="SimpleNamespace is no target, it has no vocabulary, hid"):
        new(thing)


def test_forced_trees_fit_into_passes_of_one_shape(tiny: Janus) -> None:
    """A size that was asked for is the size that is drafted, deterministic or not."""
    pipeline = Pipeline(
        tiny, drafter="jacobi", rule="coupled", slots=1, deterministic=True, nodes=5
    )
    result = pipeline("a red apple", guidance=2.0)
    assert 4 < result.stats.nodes_per_forward <= 5
    with pytest.raises(ValueError, match="deterministic passes have 32 nodes at most, got 33"):
        Pipeline(tiny, drafter="jacobi", rule="coupled", slots=1, deterministic=True, nodes=33)
    with pytest.raises(ValueError, match="trees of jacobi have 1 to 96 nodes, got 97"):
        Pipeline(tiny, drafter="jacobi", rule="coupled", slots=1, nodes=97)
