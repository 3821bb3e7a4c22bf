"""The worker, without Ray: every row comes out once, and its image is the pipeline's own."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageChops

import hawk
from hawk.batch.job_settings import JobSettings
from hawk.batch.schema import PROMPTS
from hawk.batch.shard import Counts
from hawk.batch.worker import Worker
from hawk.batch.worker_messages import Assignment, WorkerReport
from hawk.decoding.request import Finished
from hawk.decoding.session import Session
from hawk.images.encoding import read_origin
from hawk.images.gallery import tokens_sha256
from hawk.settings import DraftSettings, ModelSettings
from hawk.storage.folder import Folder
from hawk.storage.layout import shard_name
from hawk.targets.decoder_target import DecoderTarget


def assignment(
    shard: int,
    prompts: Sequence[str],
    *,
    strikes: Mapping[int, tuple[int, str]] | None = None,
    **columns: Any,
) -> Assignment:
    blank = dict.fromkeys(PROMPTS.names)
    rows = [
        blank | {"id": f"{shard}-{place}", "prompt": prompt, "seed": 100 * shard + place} | columns
        for place, prompt in enumerate(prompts)
    ]
    table = pa.Table.from_pylist(rows, schema=PROMPTS)
    return Assignment(shard=shard, job="job", rows=table, strikes=strikes or {}, sheet=2)


def worker(model: Path, out: Path, *, slots: int = 4, guided: bool | None = None) -> Worker:
    settings = ModelSettings(model=str(model), dtype="float32", slots=slots, device="cpu")
    return Worker(JobSettings(model=settings), Folder(str(out)), guided=guided)


def work(worker: Worker, *assignments: Assignment) -> list[WorkerReport]:
    """All reports until the files are there."""
    reports = [worker.work(list(assignments))]
    while sum(len(report.files) for report in reports) < len(assignments):
        reports.append(worker.work([]))
    return reports


def read(out: Path, shard: int) -> list[dict[str, Any]]:
    return pq.read_table(out / shard_name(shard)).to_pylist()


def test_layers_are_compiled_where_asked(
    tiny_folder: Path, tmp_path: Path, compiled: list[DecoderTarget]
) -> None:
    settings = ModelSettings(model=str(tiny_folder), device="cpu", compile=True)
    Worker(JobSettings(model=settings), Folder(str(tmp_path)), guided=None)
    assert len(compiled) == 1


def test_deterministic_passes_make_the_tokens_of_plain_decoding_in_half_precision(
    tiny_folder: Path, tmp_path: Path
) -> None:
    prompts = [f"a red apple {place}" for place in range(6)]
    made: list[list[str]] = []
    for drafter in ("plain", "jacobi"):
        settings = ModelSettings(
            model=str(tiny_folder), dtype="bfloat16", deterministic=True, slots=3, device="cpu"
        )
        drafting = DraftSettings(drafter=drafter)
        out = tmp_path / drafter
        maker = Worker(
            JobSettings(model=settings, drafting=drafting), Folder(str(out)), guided=None
        )
        work(maker, assignment(0, prompts))
        made.append([row["tokens_sha256"] for row in read(out, 0)])
    assert made[0] == made[1]


def test_images_are_those_of_the_pipeline(tiny_folder: Path, tmp_path: Path) -> None:
    prompts = [f"a red apple {place}" for place in range(7)]
    work(worker(tiny_folder, tmp_path), assignment(0, prompts))
    pipeline = hawk.Pipeline.from_pretrained(str(tiny_folder), drafter="plain", device="cpu")
    for place, row in enumerate(read(tmp_path, 0)):
        picture = pipeline([prompts[place]], seed=place).pictures[0]
        assert row["tokens_sha256"] == tokens_sha256(picture.tokens)
        stored = Image.open(io.BytesIO(row["image"]["bytes"]))
        assert ImageChops.difference(stored, picture.image).getbbox() is None
        assert (row["width"], row["height"]) == stored.size
        assert row["sampler"] == {"guidance": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        assert row["forwards"] * row["tokens_per_forward"] == pytest.approx(36)
        assert row["exact"]
        assert row["error"] is None


@pytest.mark.parametrize(
    "setting", [{"guidance": 1e39}, {"guidance": 101.0}, {"temperature": 1e39}, {"top_k": 2**62}]
)
def test_settings_that_no_model_bears_cost_their_row_and_no_worker(
    tiny_folder: Path, tmp_path: Path, setting: dict[str, Any]
) -> None:
    work(
        worker(tiny_folder, tmp_path, guided=True),
        assignment(0, ["a"], **setting),
        assignment(1, ["b"]),
    )
    [[bad], [good]] = (read(tmp_path, shard) for shard in (0, 1))
    assert bad["error_type"] == "InvalidRow"
    assert f"{next(iter(setting))} must be" in bad["error"]
    assert good["image"]


def test_a_row_that_fails_becomes_an_error(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Session.step

    def failing(self: Session) -> list[Finished]:
        return [
            replace(one, error="no numbers") if one.request.prompt == "b" else one
            for one in step(self)
        ]

    monkeypatch.setattr(Session, "step", failing)
    work(worker(tiny_folder, tmp_path), assignment(0, ["a", "b", "c"]))
    rows = read(tmp_path, 0)
    assert [row["error_type"] for row in rows] == [None, "NotFinite", None]
    assert rows[1]["error"] == "no numbers"
    assert rows[1]["image"] is None


def test_slots_are_filled_from_the_next_shard(tiny_folder: Path, tmp_path: Path) -> None:
    reports = work(
        worker(tiny_folder, tmp_path, slots=4), assignment(0, ["a"] * 5), assignment(1, ["b"] * 3)
    )
    together = [{shard for shard, _ in report.in_flight} for report in reports]
    assert {0, 1} in together
    assert reports[-1].wants_shard
    assert [len(read(tmp_path, shard)) for shard in (0, 1)] == [5, 3]


def test_the_next_image_is_made_while_one_is_compressed(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, more = worker(tiny_folder, tmp_path, slots=1), Event()
    save = Image.Image.save

    def patient(image: Image.Image, *rest: Any, **options: Any) -> None:
        assert more.wait(20), "the first picture was waited for"
        save(image, *rest, **options)

    monkeypatch.setattr(Image.Image, "save", patient)
    in_flight = made.work([assignment(0, ["a", "b"])]).in_flight
    while (0, 1) not in in_flight:
        in_flight = made.work([]).in_flight
    assert (0, 0) in in_flight  # this process may still die of it
    more.set()
    while made._engine.in_flight:
        made.work([])
    assert all(row["image"] for row in read(tmp_path, 0))


def test_a_report_comes_before_the_first_pass_over_new_rows(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, known = worker(tiny_folder, tmp_path, slots=2), set[Any]()
    step = Session.step

    def checked(session: Session) -> Any:
        assert set(made._engine.in_flight) <= known
        return step(session)

    monkeypatch.setattr(Session, "step", checked)
    todo = [assignment(0, ["a"] * 5)]
    report = made.work(todo)
    while not report.files:
        known.update(report.in_flight)
        report = made.work([])
    assert len(known) == 5


def test_bad_rows_become_errors_and_the_others_images(tiny_folder: Path, tmp_path: Path) -> None:
    made = worker(tiny_folder, tmp_path)
    reports = work(
        made,
        assignment(0, ["fine", " ", "long " * 1000, "also fine"]),
        assignment(1, ["p"], negative_prompt="ugly"),
        assignment(2, ["p"], top_p=7.0),
        assignment(3, ["p"], error="seed must be whole"),
    )
    rows = read(tmp_path, 0)
    assert [bool(row["image"]) for row in rows] == [True, False, False, True]
    assert "is empty" in rows[1]["error"]
    assert "reads up to" in rows[2]["error"]
    assert rows[2]["prompt"] == "long " * 1000
    assert "no negative prompt" in read(tmp_path, 1)[0]["error"]
    assert "top_p must be" in read(tmp_path, 2)[0]["error"]
    assert read(tmp_path, 3)[0]["error"] == "seed must be whole"
    assert {row["error_type"] for row in rows} == {None, "InvalidRow"}
    total = defaultdict(Counts)
    for report in reports:
        for shard, counts in report.counts.items():
            total[shard] += counts
    assert total == {shard: counts for report in reports for shard, counts in report.files.items()}
    assert total[0].failed == 2


def test_files_have_the_format_and_size_that_a_row_asks_for(
    tiny_folder: Path, tmp_path: Path
) -> None:
    made = worker(tiny_folder, tmp_path)
    formats = {0: "jpeg", 1: "webp", 2: None}
    for shard, format in formats.items():
        work(made, assignment(shard, ["p"], output_format=format, size="12x12"))
        [row] = read(tmp_path, shard)
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert image.format == (format or "png").upper()
    small, large = (
        assignment(shard, ["p"], output_format="jpeg", output_compression=quality)
        for shard, quality in ((3, 1), (4, 100))
    )
    work(made, small, large)
    sizes = [len(read(tmp_path, shard)[0]["image"]["bytes"]) for shard in (3, 4)]
    assert sizes[0] < sizes[1]
    work(made, assignment(5, ["p"], size="1024x1024"))
    assert "size is '1024x1024', and this job makes 12x12" in read(tmp_path, 5)[0]["error"]


def test_a_stored_picture_says_what_made_it(tiny_folder: Path, tmp_path: Path) -> None:
    work(worker(tiny_folder, tmp_path), assignment(0, ["a cup"], guidance=2.5, top_k=9))
    [row] = read(tmp_path, 0)
    (tmp_path / "a.png").write_bytes(row["image"]["bytes"])
    origin = read_origin(tmp_path / "a.png")
    assert (origin.request.prompt, origin.request.seed) == ("a cup", row["seed"])
    assert (origin.request.guidance, origin.request.sampler.top_k) == (2.5, 9)
    assert origin.tokens_sha256 == row["tokens_sha256"]
    assert origin.maker.model_revision == row["model_revision"]


def test_the_device_and_its_numbers_are_known(tiny_folder: Path, tmp_path: Path) -> None:
    provenance = worker(tiny_folder, tmp_path).provenance()
    assert (provenance.device, provenance.dtype) == ("cpu", "float32")


def test_rows_without_guidance_take_the_short_way(tiny_folder: Path, tmp_path: Path) -> None:
    made = worker(tiny_folder, tmp_path, guided=False)
    work(made, assignment(0, ["p"], guidance=1.0))
    [session] = made._engine._pipeline.sessions
    assert isinstance(session, Session)
    assert not session.guided
    [row] = read(tmp_path, 0)
    assert row["sampler"]["guidance"] == 1.0


def test_suspects_run_alone_and_the_convicted_not_at_all(tiny_folder: Path, tmp_path: Path) -> None:
    strikes = {1: (1, "x"), 3: (2, "x"), 4: (3, "SIGSEGV")}
    made = worker(tiny_folder, tmp_path, slots=4)
    reports = work(made, assignment(0, ["a"] * 8, strikes=strikes))
    flights = [{place for _, place in report.in_flight} for report in reports]
    assert {3} in flights
    assert all(flight == {3} for flight in flights if 3 in flight)
    assert {0, 2, 5, 6} in flights
    assert not any(4 in flight for flight in flights)
    rows = read(tmp_path, 0)
    assert [row["id"] for row in rows] == [f"0-{place}" for place in range(8)]
    assert [place for place in range(8) if rows[place]["error"]] == [4]
    assert rows[4]["error"] == "took 3 workers with it: SIGSEGV"


def test_out_of_memory_halves_the_slots_and_says_so(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Session.step

    def scarce(session: Session) -> Any:
        if session.slots > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(session)

    monkeypatch.setattr(Session, "step", scarce)
    reports = work(worker(tiny_folder, tmp_path, slots=4), assignment(0, ["a"] * 5))
    notes = [note for report in reports for note in report.notes]
    assert notes == [
        "out of memory: 4 slots become 2",
        "out of memory: 2 slots become 1",
    ]
    assert all(row["image"] for row in read(tmp_path, 0))


def test_a_row_too_large_for_a_single_slot_becomes_an_error(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: Session) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(Session, "step", none)
    work(worker(tiny_folder, tmp_path, slots=2), assignment(0, ["a", "b", "c"]))
    assert {row["error_type"] for row in read(tmp_path, 0)} == {"OutOfMemory"}


def test_pictures_for_the_sheet_are_the_first(tiny_folder: Path, tmp_path: Path) -> None:
    reports = work(worker(tiny_folder, tmp_path), assignment(0, ["a"] * 4))
    assert {key for report in reports for key in report.pictures} == {(0, 0), (0, 1)}
