"""The embedded model: it is there, it is small, and it loads as it stands."""

import numpy as np
import pytest
import torch
from transformers import JanusForConditionalGeneration

from hawk import Pipeline, Result
from hawk.decoding.drafter import DrafterConfig
from hawk.drafters import DRAFTERS, weights
from hawk.targets import EMBEDDED

PROMPTS = ["a red heart, twemoji style", "a blue heart, flat style"]


@pytest.fixture(scope="module")
def emoji() -> Pipeline:
    return Pipeline.from_pretrained("emoji", drafter="jacobi", slots=2)


@pytest.fixture(scope="module")
def drawn(emoji: Pipeline) -> Result:
    return emoji(PROMPTS, seed=0)


def test_it_loads_in_transformers_as_it_stands() -> None:
    folder = EMBEDDED["emoji"]
    model, report = JanusForConditionalGeneration.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
        folder, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.vision_config.image_size == 64


def test_it_stays_small_and_carries_its_notices() -> None:
    folder = EMBEDDED["emoji"]
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*")}
    assert sum(file.stat().st_size for file in files.values()) < 64 * 2**20
    assert {"README.md", "NOTICE", "LICENSES/Apache-2.0.txt", "LICENSES/CC-BY-4.0.txt"} <= set(
        files
    )


def test_colours_are_those_of_the_prompt(drawn: Result) -> None:
    red, blue = (np.asarray(image).mean((0, 1)) for image in drawn.images)
    assert red[0] > red[2] + 20
    assert blue[2] > blue[0] + 20


def test_drafting_leaves_its_images_alone(drawn: Result) -> None:
    plain = Pipeline.from_pretrained("emoji", drafter="plain", slots=1)(PROMPTS[:1], seed=0)
    assert plain.pictures[0].tokens == drawn.pictures[0].tokens
    assert drawn.stats.tokens == drawn.stats.forwards + drawn.stats.accepted


@pytest.mark.parametrize("kind", sorted(DRAFTERS))
def test_every_drafter_that_ships_with_it_loads(emoji: Pipeline, kind: str) -> None:
    config = DrafterConfig(
        identity=emoji.target.identity,
        slots=1,
        by_chance=False,
        branching=True,
        device=torch.device("cpu"),
    )
    assert DRAFTERS[kind](config).name == kind


def test_what_auto_drafts_with_belongs_to_it(drawn: Result) -> None:
    pipeline = Pipeline.from_pretrained("emoji", drafter="auto", slots=1)
    identity = pipeline.target.identity
    assert set(identity.drafters) == {"hawk", "local", "spatial"}
    assert all(weights.fits(kind, identity) for kind in identity.drafters)
    assert pipeline.drafter == ("hawk" if weights.preferred("hawk", identity) else "jacobi")
    assert pipeline(PROMPTS[:1], seed=0).pictures[0].tokens == drawn.pictures[0].tokens


def test_images_are_64_pixels_of_a_16_cell_grid(drawn: Result) -> None:
    assert {image.size for image in drawn.images} == {(64, 64)}
    assert torch.tensor(drawn.pictures[0].tokens).shape == (256,)
