"""Requests: bounds of settings, and settings for each prompt."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hawk import Request, SamplerConfig
from hawk.decoding.bounds import MOST_GUIDANCE
from hawk.decoding.request import new_requests

MODEL: Any = SimpleNamespace(default_guidance=3.0, default_sampler=SamplerConfig(top_k=7))


def request(**changes: Any) -> Request:
    return Request(**{"prompt": "a", "seed": 1, "guidance": 2.0} | changes)


def requests(prompts: Any, **changes: Any) -> list[Request]:
    settings: dict[str, Any] = dict.fromkeys(("guidance", "sampler", "negative_prompt"))
    settings |= {"seed": 5, "n": 1} | changes
    return new_requests(prompts, MODEL, **settings)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": 1.0}, "seed must be a whole number, got 1.0"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"seed": "7"}, "seed must be a whole number, got '7'"),
        ({"seed": np.array([1, 2])}, "seed must be a whole number"),
        ({"seed": 2**63}, "seed must be between 0 and"),
        ({"guidance": 1e38}, "guidance must be between 1 .none. and 100, got 1e.38"),
        ({"guidance": MOST_GUIDANCE + 0.5}, "guidance must be between"),
        ({"guidance": float("nan")}, "guidance must be between"),
        ({"guidance": float("inf")}, "guidance must be between"),
        ({"guidance": True}, "guidance must be a number, got True"),
        ({"guidance": "3"}, "guidance must be a number, got '3'"),
        ({"guidance": None}, "guidance must be a number, got None"),
        ({"prompt": 7}, "the prompt must be text, got 7"),
        ({"prompt": "half a \ud83d"}, "the prompt holds half a character"),
        ({"negative_prompt": b"x"}, "the negative prompt must be text"),
        ({"sampler": 0.7}, "sampler must be a SamplerConfig, got 0.7"),
    ],
    ids=str,
)
def test_values_out_of_bounds_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        request(**changes)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"top_k": 1.5}, "top_k must be a whole number, got 1.5"),
        ({"top_k": True}, "top_k must be a whole number, got True"),
        ({"top_k": 10**7}, "top_k must be between 0 .off. and 1000000"),
        ({"temperature": "warm"}, "temperature must be a number, got 'warm'"),
        ({"temperature": 101}, "temperature must be 0, or between 0.001 and 100, got 101"),
        ({"temperature": float("nan")}, "temperature must be 0, or between"),
        ({"top_p": True}, "top_p must be a number"),
        ({"top_p": float("nan")}, r"top_p must be in \(0, 1\]"),
    ],
    ids=str,
)
def test_samplers_out_of_bounds_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SamplerConfig(**changes)


def test_numbers_of_other_libraries_become_plain_ones() -> None:
    made = request(seed=np.int64(7), guidance=np.float32(2.5))
    assert (made.seed, made.guidance) == (7, 2.5)
    assert (type(made.seed), type(made.guidance)) == (int, float)
    assert type(request(seed=torch.tensor(3)).seed) is int
    assert request(guidance=MOST_GUIDANCE).guidance == MOST_GUIDANCE


def test_what_is_not_given_is_the_models_own() -> None:
    [made] = requests("a")
    assert (made.guidance, made.sampler, made.seed) == (3.0, MODEL.default_sampler, 5)


def test_each_prompt_may_have_its_own_settings() -> None:
    samplers = [SamplerConfig(top_p=0.5), None, SamplerConfig()]
    seeds, scales = np.arange(3) * 10, (1.0, None, 4)
    made = requests(iter("abc"), n=2, seed=seeds, guidance=scales, sampler=samplers)
    assert [(r.prompt, r.seed) for r in made] == [
        ("a", 0), ("a", 1), ("b", 10), ("b", 11), ("c", 20), ("c", 21),
    ]  # fmt: skip
    assert [r.guidance for r in made[::2]] == [1.0, 3.0, 4.0]
    assert [r.sampler for r in made[::2]] == [samplers[0], MODEL.default_sampler, samplers[2]]


@pytest.mark.parametrize("name", ["seed", "guidance", "sampler", "negative_prompt"])
def test_settings_are_as_many_as_the_prompts(name: str) -> None:
    values = {"seed": 1, "guidance": 2.0, "sampler": SamplerConfig(), "negative_prompt": "x"}
    with pytest.raises(ValueError, match=f"{name} has 3 values for 2 prompts: give one for all"):
        requests(["a", "b"], **{name: [values[name]] * 3})


def test_a_wrong_setting_of_one_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match=r"seed must be a whole number, got 1\.5"):
        requests(["a", "b"], seed=[1, 1.5])
    with pytest.raises(ValueError, match=r"n must be a whole number, got 2\.0"):
        requests("a", n=2.0)
