"""Drafter and targets as Ray actors on logical GPUs: placed, killed, hung; tokens stay plain's."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from rich.console import Console

from hawk import Pipeline, Request
from hawk.batch.job import Job
from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.batch.progress import Meter
from hawk.batch.run import run
from hawk.cluster.pair import SpeculativePair
from hawk.cluster.placement import Placement
from hawk.pictures import Picture, Step
from hawk.settings import DraftSettings, ModelSettings
from hawk.targets.janus import Janus

pytestmark = pytest.mark.ray
DEADLINE_S = 300.0
HUNG_S = 4.0
PROMPTS = ("a red apple", "a green tree, 3d style", "x", "the flag of Norway")
ROOM = Placement(
    target_cpus=0.5, draft_cpus=0.5, start_s=DEADLINE_S, block_s=HUNG_S, pass_s=DEADLINE_S
)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,  # logical: Ray hands them out, torch finds none and uses the CPU
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        logging_level=40,
    )
    yield
    ray.shutdown()


def settings(folder: Path, drafter: str = "local") -> tuple[ModelSettings, DraftSettings]:
    model = ModelSettings(model=str(folder), slots=4, dtype="float32")
    return model, DraftSettings(drafter=drafter)


@pytest.fixture(scope="module")
def pair(tiny_folder: Path) -> Iterator[SpeculativePair]:
    with SpeculativePair(*settings(tiny_folder), ROOM) as made:
        yield made


@pytest.fixture(scope="module")
def plain(tiny: Janus) -> Pipeline:
    return Pipeline(tiny, drafter="plain", rule="coupled", slots=8)


@pytest.fixture(scope="module")
def asked(plain: Pipeline) -> list[Request]:
    return plain.requests(PROMPTS, seed=7, n=4, guidance=None, sampler=None)


@pytest.fixture(scope="module")
def expected(plain: Pipeline, asked: list[Request]) -> list[list[int]]:
    return [picture.tokens for picture in plain.run(asked).pictures]


def gone(pid: int) -> bool:
    """Whether a process has ended, within the deadline."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_pair_has_a_gpu_each_and_makes_plain_images(
    pair: SpeculativePair, asked: list[Request], expected: list[list[int]]
) -> None:
    assert asked == pair.requests(PROMPTS, seed=7, n=4, guidance=None, sampler=None)
    assert ray.available_resources().get("GPU", 0) == 0
    result = pair.run(asked)
    assert [picture.tokens for picture in result.pictures] == expected
    assert not pair.faults
    assert result.drafter == "local"
    [rounds] = pair.rounds()
    assert {at.lane for at in rounds} == {0, 1}
    assert all(at.arrived_s < at.left_s for at in rounds)
    assert all(
        at.asked_s <= at.sent_s <= at.needed_s <= at.came_s <= at.verified_s for at in rounds
    )


def test_a_callback_hears_of_images_on_their_way_and_stops_one(
    pair: SpeculativePair, plain: Pipeline, expected: list[list[int]]
) -> None:
    stopped: set[int] = set()

    def stop(step: Step) -> bool:
        assert 0 < len(step.tokens) < 36
        assert step.tokens == expected[step.place][: len(step.tokens)]
        assert step.place not in stopped
        if not stopped:
            assert step.image() == plain.decode(step.tokens)
            stopped.add(step.place)
            return True
        return False

    seeds = [7 + place % 4 for place in range(16)]
    result = pair([prompt for prompt in PROMPTS for _ in range(4)], seed=seeds, callback=stop)
    assert {picture.place for picture in result.pictures} == set(range(16)) - stopped
    assert len(stopped) == 1
    for picture in result.pictures:
        assert picture.tokens == expected[picture.place]
    picture = result.pictures[0]
    assert pair.decode(picture.tokens) == picture.image
    assert pair.encode(picture.image) == plain.encode(picture.image)
    with pytest.raises(ValueError, match="up to 36 tokens"):
        pair.decode([64])


@pytest.mark.parametrize("victims", ["drafter", "target", "both"])
def test_killed_processes_come_back_and_images_are_plain(
    pair: SpeculativePair, asked: list[Request], expected: list[list[int]], victims: str
) -> None:
    before, resumed = pair.faults.copy(), pair.resumed
    drafter, [target] = pair.pids()
    assert drafter != target
    doomed = {"drafter": [drafter], "target": [target], "both": [drafter, target]}[victims]

    def kill() -> None:
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)

    assert run_and(pair, asked, kill) == expected
    if victims != "drafter":
        assert pair.faults["targets"] == before["targets"] + 1
        assert pair.resumed > resumed
    if victims == "drafter":
        assert pair.faults["lost"] > before["lost"]
    assert wait_until(lambda: at_work(pair, asked[:4]))


def test_a_hung_drafter_is_replaced(
    pair: SpeculativePair, asked: list[Request], expected: list[list[int]]
) -> None:
    late = pair.faults["late"]
    drafter, _ = pair.pids()
    assert run_and(pair, asked, lambda: os.kill(drafter, signal.SIGSTOP)) == expected
    assert pair.faults["late"] > late
    assert gone(drafter)
    assert wait_until(lambda: at_work(pair, asked[:4]))


def at_work(pair: SpeculativePair, asked: list[Request]) -> bool:
    """Whether target and drafter make rounds together."""
    pair.run(asked)
    [rounds] = pair.rounds()
    return any(at.left_s for at in rounds)


def run_and(
    pair: SpeculativePair, asked: list[Request], accident: Callable[[], None]
) -> list[list[int]]:
    """The tokens of all images, with an accident after the first."""
    pictures: list[Picture] = []

    def each(picture: Picture) -> None:
        pictures.append(picture)
        if len(pictures) == 1:
            accident()

    return [picture.tokens for picture in pair.run(asked, each).pictures]


def wait_until(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if condition():
            return True
    return False


def test_bad_prompts_and_drafters_are_told_as_by_a_pipeline(
    pair: SpeculativePair, tiny_folder: Path
) -> None:
    with pytest.raises(ValueError, match="the prompt takes"):
        pair.requests("word " * 200, seed=0, n=1, guidance=None, sampler=None)
    with pytest.raises(ValueError, match="no prompts"):
        pair.requests([], seed=0, n=1, guidance=None, sampler=None)


def test_what_does_not_fit_is_told_with_what_there_is(tiny_folder: Path) -> None:
    """The one pair has both GPUs."""
    hurry = Placement(target_cpus=0.5, draft_cpus=0.5, start_s=0.5)
    with pytest.raises(RuntimeError) as told:
        SpeculativePair(*settings(tiny_folder), hurry)
    asked = "asked for 1 x 0.5 CPU and 1 GPU for targets and 0.5 CPU and 1 GPU for a drafter"
    assert asked in str(told.value)
    assert "the cluster has 2 CPU and 2 GPU, of which" in str(told.value)


def test_nothing_is_left_behind(pair: SpeculativePair) -> None:
    drafter, targets = pair.pids()
    pair.close()
    pair.close()
    assert all(gone(pid) for pid in (drafter, *targets))
    assert wait_until(lambda: ray.available_resources().get("GPU", 0) == 2)


@pytest.mark.parametrize(
    ("accident", "silent_s"), [(signal.SIGKILL, DEADLINE_S), (signal.SIGSTOP, 10.0)]
)
def test_two_targets_share_a_drafter_and_one_is_lost_or_hangs(
    tiny_folder: Path,
    asked: list[Request],
    expected: list[list[int]],
    accident: signal.Signals,
    silent_s: float,
) -> None:
    placement = Placement(
        targets_per_drafter=2,
        target_cpus=0.5,
        draft_cpus=0.5,
        target_gpus=0.5,
        draft_gpus=0.5,
        start_s=DEADLINE_S,
        pass_s=silent_s,
    )
    with SpeculativePair(*settings(tiny_folder, "jacobi"), placement) as pair:
        _, [_, second] = pair.pids()
        pair.run(asked[:8])  # both have loaded all
        assert run_and(pair, asked, lambda: os.kill(second, accident)) == expected
        assert gone(second)
        assert all(pair.rounds())
        assert pair.faults["targets"] == 1


def test_workers_of_a_job_have_their_drafters_beside_them(
    tiny: Janus, tiny_folder: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red apple\na green tree\nx\nthe flag of Norway\n")
    hashes: dict[str, list[str]] = {}
    for drafter, pair in (("plain", "colocated"), ("local", "pair:draft_cpus=0.5")):
        job = Job(
            prompts=str(prompts),
            out=str(tmp_path / drafter),
            settings=JobSettings(
                model=replace(settings(tiny_folder)[0], device="cpu"),
                drafting=DraftSettings(drafter=drafter, placement=pair),
                workers=WorkerSettings(cpus_per_worker=0.5, start_timeout=DEADLINE_S),
            ),
        )
        with Meter(Console(quiet=True)) as meter:
            assert run(job, meter)["images"] == 4
        files = sorted((tmp_path / drafter).glob("*.parquet"))
        rows = pa.concat_tables([pq.read_table(file) for file in files]).sort_by("id")
        hashes[drafter] = rows["tokens_sha256"].to_pylist()
    assert hashes["local"] == hashes["plain"]
    assert wait_until(lambda: ray.available_resources().get("CPU", 0) == 2)
