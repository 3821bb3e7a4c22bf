"""Pipeline: prompts in, pictures out, whatever the order they finish in."""

import pytest
import torch

from hawk import Pipeline, SamplerConfig
from hawk.devices import resolve_device
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
        ({"prompts": ["a"], "guidance": 0.5}, "guidance must be 1"),
        ({"prompts": ["a"], "guidance": float("nan")}, "guidance must be 1"),
        ({"prompts": ["apple " * 500]}, "reads up to"),
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
