"""The process of a target, in this one and without Ray."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hawk import Request
from hawk.cluster.remote_drafter import Timeouts
from hawk.cluster.target_actor import FailedImage, FinishedImage, ImageTask, RunKey, TargetActor
from hawk.decoding.request import Finished
from hawk.decoding.session import Session
from hawk.settings import DraftSettings, ModelSettings
from tests.cluster.direct import Direct


def test_an_image_that_fails_is_told_and_the_others_are_made(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Session.step

    def failing(self: Session) -> list[Finished]:
        return [
            replace(one, error="no numbers") if one.request.seed == 1 else one for one in step(self)
        ]

    monkeypatch.setattr(Session, "step", failing)
    actor = TargetActor(torch.get_num_threads())
    model = ModelSettings(model=str(tiny_folder), device="cpu", dtype="float32")
    drafting = DraftSettings(drafter="local")
    actor.start(model, drafting, Direct(), lanes=2, timeouts=Timeouts())
    asked = [
        ImageTask(place=place, request=Request(prompt="a", seed=place, guidance=2.0))
        for place in range(3)
    ]
    run = RunKey(number=1, guided=True)
    report = actor.work(run, asked, 0.0)
    made: list[FinishedImage | FailedImage] = []
    while len(made) < len(asked):
        report = actor.work(run, [], 60.0)
        made += report.made
    failed = [one for one in made if isinstance(one, FailedImage)]
    assert failed == [FailedImage(place=1, error="no numbers")]
    assert {one.place for one in made} == {0, 1, 2}
    assert report.known == {}
