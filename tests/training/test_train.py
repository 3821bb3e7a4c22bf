"""Training of drafters on a tiny target: what is recorded is true, learning helps, it resumes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from hawk.batch.record import record as many_hands
from hawk.cli.app import app
from hawk.decoding.noise import gumbel
from hawk.drafters import choose
from hawk.settings import ModelSettings, SamplerSettings
from hawk.targets.janus import Janus
from hawk.training.corpus import Corpus, Shard, record, record_shard, shards
from hawk.training.distillation import cross_entropy, dense, hits
from hawk.training.plot import draw
from hawk.training.train import KINDS, Course, _claim, new_objective, plan, train
from hawk.training.trainer import DrafterTrainer, loss_of
from tests.tiny import new_session

PROMPTS = ["a red apple", "the flag of Norway"]
IMAGES = 5


@pytest.fixture(scope="module")
def corpus(tiny: Janus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    todo = shards(
        plan(tiny, PROMPTS, IMAGES, SamplerSettings(guidance=2.0)),
        tmp_path_factory.mktemp("shards"),
        slots=4,
    )
    record(tiny, todo)
    return Corpus.load([shard.file for shard in todo], tiny.device)


def test_recorded_images_are_those_of_plain_decoding(tiny: Janus, corpus: Corpus) -> None:
    session = new_session(tiny, "plain", slots=4)
    tickets = [
        session.submit(request)
        for request in plan(tiny, PROMPTS, IMAGES, SamplerSettings(guidance=2.0))
    ]
    tokens = {image.ticket: image.tokens_T.tolist() for image in session.run()}
    by_seed = dict(zip(corpus.seeds_I.tolist(), corpus.tokens_IT.tolist(), strict=True))
    requests = plan(tiny, PROMPTS, IMAGES, SamplerSettings(guidance=2.0))
    assert [by_seed[r.seed] for r in requests] == [tokens[ticket] for ticket in tickets]


def test_recorded_laws_pick_the_recorded_tokens_under_the_noise(corpus: Corpus) -> None:
    """The law of every step, whole here as the vocabulary is small, with its noise."""
    every = torch.arange(IMAGES)
    law_ITV = dense(corpus.law_ITK[every], corpus.law_ids_ITK[every], 64)
    assert torch.allclose(law_ITV.exp().sum(-1), torch.tensor(1.0), atol=0.01)
    steps = torch.arange(36).expand(IMAGES, -1)
    noise = gumbel(corpus.seeds_I, steps, torch.arange(64, dtype=torch.int32))
    same = (law_ITV + noise).argmax(-1) == corpus.tokens_IT
    assert same.float().mean() > 0.99  # half precision flips a near-tie now and then


def test_recorded_hidden_states_are_those_behind_the_laws(tiny: Janus) -> None:
    """Without guidance the image head makes the law of the hidden state."""
    alone = plan(tiny, PROMPTS, 2, SamplerSettings(guidance=1.0))
    shard = record_shard(tiny, Shard(file=Path("x"), requests=alone, slots=2, passes=9))
    law = tiny.head(shard["hidden_ITD"].float()).log_softmax(-1)
    recorded = dense(shard["law_ITK"], shard["law_ids_ITK"], 64)
    assert torch.allclose(law, recorded, atol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_learning_helps(tiny: Janus, corpus: Corpus, kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    objective = new_objective(kind, tiny)
    trainer = DrafterTrainer(objective, corpus, tmp_path, steps=20)
    batch = next(objective.batches(corpus, range(4), torch.Generator().manual_seed(0)))
    before = loss_of(objective.predict(corpus, batch))
    trainer.run()
    assert loss_of(objective.predict(corpus, batch)) < 0.9 * before


def test_training_goes_on_where_it_stopped(tiny: Janus, corpus: Corpus, tmp_path: Path) -> None:
    DrafterTrainer(new_objective("local", tiny), corpus, tmp_path, steps=3).run()
    done: list[int] = []
    objective = new_objective("local", tiny)
    DrafterTrainer(objective, corpus, tmp_path, steps=3).run(done.append)
    assert done == [3]
    trained = torch.load(tmp_path / "local.pt", weights_only=True)["module"]
    assert all(
        torch.equal(value, trained[name]) for name, value in objective.module.state_dict().items()
    )
    with pytest.raises(ValueError, match="is of 3 steps of training, not 4"):
        DrafterTrainer(new_objective("local", tiny), corpus, tmp_path, steps=4).run()


def test_a_trained_drafter_is_loaded_and_drafts(tiny: Janus, tmp_path: Path) -> None:
    out = tmp_path / "made"
    course = Course(
        kind="hawk",
        requests=plan(tiny, PROMPTS, 3, SamplerSettings(guidance=2.0)),
        slots=2,
        steps=2,
    )
    told: list[str] = []

    def progress(name: str, total: int) -> Callable[[int], object]:
        told.append(f"{name} {total}")
        return lambda _: None

    acceptance = train(tiny, course, run=tmp_path / "run", out=out, progress=progress)
    assert told == ["recording 3", "training 2"]
    assert set(acceptance) == {"laws alone", "first round", "second round", "given the truth"}
    kind, identity = choose(str(out), replace(tiny.identity, drafters={}))
    assert (kind, identity.drafters) == ("hawk", {"hawk": out})
    other = Course(
        kind="hawk",
        requests=plan(tiny, PROMPTS, 4, SamplerSettings(guidance=2.0)),
        slots=2,
        steps=2,
    )
    with pytest.raises(ValueError, match="other images: give another --run"):
        train(tiny, other, run=tmp_path / "run", out=out, progress=progress)


def test_a_run_for_another_sampler_is_refused_and_stays(tiny: Janus, tmp_path: Path) -> None:
    """What its images teach is the filtered law: other filters are other lessons."""
    requests = plan(tiny, PROMPTS, 2, SamplerSettings(guidance=2.0))
    _claim(tmp_path, tiny, requests)
    before = (tmp_path / "plan.json").read_bytes()
    narrow = [replace(r, sampler=replace(r.sampler, top_p=0.5)) for r in requests]
    with pytest.raises(ValueError, match="other images: give another --run"):
        _claim(tmp_path, tiny, narrow)
    assert (tmp_path / "plan.json").read_bytes() == before


def test_a_plan_is_there_whole_or_not_at_all(
    tiny: Janus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kind may be reading it while it is written."""
    requests = plan(tiny, PROMPTS, 2, SamplerSettings(guidance=2.0))
    _claim(tmp_path, tiny, requests)
    seen: list[str] = []
    really = Path.replace

    def replace_it(fresh: Path, file: Path) -> None:
        seen.append(file.read_text())  # what a reader finds just before
        really(fresh, file)

    monkeypatch.setattr(Path, "replace", replace_it)
    _claim(tmp_path, tiny, requests)
    assert seen == [(tmp_path / "plan.json").read_text()]


def test_shards_that_are_there_are_not_made_again(tiny: Janus, tmp_path: Path) -> None:
    course = Course(
        kind="spatial",
        requests=plan(tiny, PROMPTS, 3, SamplerSettings(guidance=2.0)),
        slots=2,
        steps=1,
    )
    made: list[int] = []

    def train_again() -> None:
        train(
            tiny,
            replace(course, kind="local" if made else "spatial"),
            run=tmp_path,
            out=tmp_path / "out",
            progress=lambda name, _: made.append if name == "recording" else lambda _: None,
            recorder=lambda *arguments: (
                record(*arguments) if len(made) == 1 else pytest.fail("again")
            ),
        )

    train_again()
    assert made == [0, 3]
    train_again()
    assert made == [0, 3, 3]


@pytest.mark.ray
def test_many_hands_record_the_same(tiny: Janus, tiny_folder: Path, tmp_path: Path) -> None:
    requests = plan(tiny, PROMPTS, 5, SamplerSettings(guidance=2.0))
    alone, together = (shards(requests, tmp_path / name, slots=1) for name in ("alone", "together"))
    record(tiny, alone)
    counts: list[int] = []
    model = ModelSettings(model=str(tiny_folder), device="cpu")
    many_hands(tiny, together, counts.append, model=model, workers=2)
    assert sorted(counts) == [1, 2, 2]
    one, other = (
        Corpus.load([shard.file for shard in some], tiny.device) for some in (alone, together)
    )
    assert torch.equal(one.tokens_IT, other.tokens_IT)
    assert torch.equal(one.step_P, other.step_P)
    every = torch.arange(len(one.step_P))
    assert torch.allclose(one.stale_PJD[every].float(), other.stale_PJD[every].float(), atol=1e-2)


def test_the_command_trains_and_draws(tiny_folder: Path, tmp_path: Path) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "made"
    prompts.write_text("\n".join(PROMPTS))
    common = ["train", "drafter", "--prompts", str(prompts), "--model", str(tiny_folder)]
    done = CliRunner().invoke(
        app, [*common, "--out", str(out), "--images", "3", "--steps", "10", "--kind", "spatial"]
    )
    assert done.exit_code == 0, done.output
    assert f"losses and acceptance: {out}/training.png" in done.stdout.replace("\n", "")
    with Image.open(out / "training.png") as picture:
        assert picture.size == (1000, 400)
    refused = CliRunner().invoke(app, [*common, "--out", str(out), "--workers", "0"])
    assert refused.exit_code == 2
    assert "workers must be 1 or more, got 0" in refused.stderr


def test_a_plot_shows_the_last_word_on_every_step(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    shares = {"top": {}, "by_distance": [[0.5, 0.6, 0.7, 0.8], [0.3, 0.4, 0.5, 0.6]]}
    entries = [
        {"step": 10, "loss": 3.0},
        {"step": 10, "loss": 2.0},
        {"step": 20, "acceptance": {"heads": shares}},
    ]
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    assert draw(log, first)
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries[1:]))
    assert draw(log, second)
    assert first.read_bytes() == second.read_bytes()


def test_without_matplotlib_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hawk.training.plot.find_spec", lambda _: None)
    assert not draw(tmp_path / "log.jsonl", tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()


def test_what_cannot_be_trained_is_named(tiny: Janus) -> None:
    with pytest.raises(ValueError, match="no drafter 'plain' to train: choose from hawk, local"):
        new_objective("plain", tiny)
    with pytest.raises(ValueError, match="images must be 2 or more, got 1"):
        plan(tiny, PROMPTS, 1, SamplerSettings(guidance=2.0))


def test_cut_laws_keep_their_mass() -> None:
    kept = torch.tensor([[0.5, 0.3]]).log()
    law = dense(kept, torch.tensor([[3, 1]]), 6).exp()
    assert torch.allclose(law, torch.tensor([[0.05, 0.3, 0.05, 0.5, 0.05, 0.05]]))


def test_the_loss_is_least_at_the_law_and_skips_what_is_not_there() -> None:
    torch.manual_seed(0)
    law = torch.randn(1, 2, 5).log_softmax(-1)
    truth = torch.zeros(1, 2, dtype=torch.int64)
    there = torch.tensor([[True, False]])
    goal = (0.7 * law.exp() + 0.3 * torch.nn.functional.one_hot(truth, 5)).log()
    best = cross_entropy(goal, law, truth, there)
    assert cross_entropy(goal + 0.1 * torch.randn(1, 2, 5), law, truth, there) > best
    elsewhere = torch.cat([goal[:, :1], torch.randn(1, 1, 5)], dim=1)
    assert cross_entropy(elsewhere, law, truth, there) == best


def test_hits_count_what_is_ahead_of_the_truth() -> None:
    scores = torch.tensor([[[5.0, 4.0, 3.0, 2.0, 1.0]]])
    assert hits(scores, torch.tensor([[0]])).tolist() == [[[True, True, True, True]]]
    assert hits(scores, torch.tensor([[2]])).tolist() == [[[False, False, True, True]]]


def test_a_token_that_the_filters_left_out_is_no_hit() -> None:
    """Even where fewer tokens than 8 are left."""
    noisy = torch.tensor([[[2.0, -torch.inf, 1.0, -torch.inf]]])
    assert not hits(noisy, torch.tensor([[1]])).any()
    assert hits(noisy, torch.tensor([[2]]))[0, 0].tolist() == [False, True, True, True]
