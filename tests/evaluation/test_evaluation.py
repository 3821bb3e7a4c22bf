"""Evaluation: a judge that knows good images from bad ones, and a command that says so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from hawk.batch.job_settings import JobSettings
from hawk.batch.manifest import Manifest
from hawk.batch.schema import PROMPTS
from hawk.batch.worker import Worker
from hawk.batch.worker_messages import Assignment
from hawk.cli.app import app
from hawk.evaluation.encoder import Encoder
from hawk.evaluation.frechet import Cloud, frechet_distance
from hawk.evaluation.judge import Classifier, Judge, whitening
from hawk.evaluation.real_images import RealImages
from hawk.settings import ModelSettings
from hawk.storage import layout
from hawk.storage.folder import Folder
from tests.shapes import COLOURS, CONCEPTS, PIXELS, STYLES


@pytest.fixture(scope="session")
def real(real_file: Path) -> RealImages:
    return RealImages.load(real_file)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return Encoder()


def test_rows_with_a_skin_tone_are_left_out(real: RealImages) -> None:
    assert len(real) == len(CONCEPTS) * len(COLOURS) * len(STYLES)


def test_held_out_prompts_are_of_pairs_never_trained_on(real: RealImages) -> None:
    asked = real.held_out(6)
    assert len(asked) == 6
    assert len(real.held_out(1000)) == 12
    relatives = real.relatives(asked)
    assert len(relatives) == 6 * 2
    assert set(relatives.concepts_I) == set(asked.concepts_I)
    pairs = set(zip(asked.concepts_I, asked.styles_I, strict=True))
    assert not pairs & set(zip(relatives.concepts_I, relatives.styles_I, strict=True))
    trained = np.flatnonzero(real.splits_I == "train")
    known = real.rows(trained[[0, 2]])  # of two concepts with two trained styles each
    others = real.relatives(known)
    assert len(others) == 2
    assert not {*zip(known.concepts_I, known.styles_I, strict=True)} & {
        *zip(others.concepts_I, others.styles_I, strict=True)
    }
    with pytest.raises(ValueError, match="no other styles"):
        real.relatives(real.rows(trained[:2]))
    assert real.captioned([asked.prompts[0], "no such thing"])[1] is None
    [place] = real.captioned(asked.prompts[:1])
    assert place is not None
    assert real.concepts_I[place] == asked.concepts_I[0]


def test_a_judge_prefers_what_was_asked_for(real: RealImages, encoder: Encoder) -> None:
    asked = real.held_out(12)
    judge = Judge(encoder, real, asked)
    right = judge.quality(list(asked.pixels_IHWC), range(12))
    assert right == judge.ceiling
    wrong = judge.quality(list(asked.pixels_IHWC), [(place + 4) % 12 for place in range(12)])
    rng = np.random.default_rng(0)
    noise = judge.quality(
        list(rng.integers(0, 255, (12, PIXELS, PIXELS, 3), dtype=np.uint8)), range(12)
    )
    assert right.concept_at_5 > 0.9 > wrong.concept_at_5 + 0.3
    assert right.concept_at_1 > wrong.concept_at_1
    assert right.group >= 0.75 > wrong.group
    assert right.style >= 0.75
    assert noise.concept_at_1 <= 0.3
    assert noise.frechet > 2 * right.frechet
    assert wrong.frechet == pytest.approx(right.frechet)  # the same images, in another order


def test_the_frechet_distance_is_that_of_the_fitted_laws() -> None:
    """Against the formula with a matrix root, for many and for few vectors."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(40, 5)), rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + 1
    for first, second in ((a, b), (a[:4], b)):
        s, t = np.cov(first.T), np.cov(second.T)
        values = np.linalg.eigvals(s @ t).astype(complex)
        root = float(np.real(np.sqrt(values)).sum())
        between = np.square(first.mean(0) - second.mean(0)).sum()
        expected = between + np.trace(s) + np.trace(t) - 2 * root
        assert frechet_distance(Cloud.of(first), Cloud.of(second)) == pytest.approx(
            expected, rel=1e-4
        )
    assert frechet_distance(Cloud.of(a), Cloud.of(a)) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="2 images, got 1"):
        Cloud.of(a[:1])


def test_whitening_evens_out_what_one_label_varies_in() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(50), 4)
    vectors = rng.normal(size=(50, 3))[labels] + rng.normal(size=(200, 3)) * [9.0, 1.0, 0.1]

    def spread(points: np.ndarray) -> np.ndarray:
        inside = [points[labels == n] - points[labels == n].mean(0) for n in range(50)]
        return np.linalg.eigvalsh(np.cov(np.concatenate(inside).T))

    before, after = spread(vectors), spread(vectors @ whitening(vectors, labels))
    assert before[-1] / before[-2] > 50
    assert after[-1] / after[-2] < 5
    assert after[-1] == pytest.approx(1, abs=0.1)


def test_a_classifier_tells_clusters_apart() -> None:
    rng = np.random.default_rng(3)
    labels = np.array(["a", "b", "c"])[np.arange(90) % 3]
    centres = {"a": (0, 0), "b": (4, 0), "c": (0, 4)}
    vectors = np.array([centres[name] for name in labels]) + rng.normal(size=(90, 2)) * 0.5
    classify = Classifier(vectors[:60], labels[:60])
    assert (classify(vectors[60:]) == labels[60:]).all()


def evaluate(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def report_of(*arguments: object) -> dict[str, Any]:
    return json.loads(evaluate(*arguments, "--json").splitlines()[-1])


def test_methods_are_judged_and_identical_ones_only_once(
    tiny_folder: Path, real_file: Path
) -> None:
    common = ("--real", real_file, "--model", tiny_folder, "--prompts", 4, "--compare", 3)
    found = report_of(
        *common, "--drafters", "jacobi,plain", "--rules", "coupled,typical", "--guidance", "1,3"
    )
    rows = {(r["guidance"], r["drafter"], r["rule"]): r for r in found["rows"]}
    assert len(rows) == 8
    for guidance in (1.0, 3.0):
        first, second = (rows[guidance, name, "coupled"] for name in ("jacobi", "plain"))
        assert first["measured"]
        assert not second["measured"]
        assert first["quality"] == second["quality"]
        assert first["same_as_plain"] == first["compared_with_plain"] == 3
        lossy = rows[guidance, "jacobi", "typical"]
        assert (lossy["exact"], lossy["measured"]) == (False, True)
    lossy_same = [rows[guidance, "jacobi", "typical"]["same_as_plain"] for guidance in (1.0, 3.0)]
    assert sum(lossy_same) < 6  # which drafts there are depends on the machine's speed
    assert rows[1.0, "jacobi", "coupled"]["quality"] != rows[3.0, "jacobi", "coupled"]["quality"]
    assert found["real"]["concept_at_1"] > found["rows"][0]["quality"]["concept_at_1"]
    assert found["versions"]["torch"]
    shown = evaluate(*common, "--drafters", "jacobi,plain")
    assert "the same" in shown
    assert "jacobi by coupled, plain by coupled: tokens identical to plain decoding" in shown


@pytest.fixture
def run_folder(tiny_folder: Path, real: RealImages, tmp_path: Path) -> Path:
    """What a batch job leaves: five captions of real images, by two guidances, and two rows that
    do not count."""
    captions = real.held_out(5).prompts
    prompts = [*captions, "an apple", ""]
    blank = dict.fromkeys(PROMPTS.names)
    table = pa.Table.from_pylist(
        [
            blank | {"id": str(place), "prompt": prompt, "seed": place, "guidance": 1 + place // 3}
            for place, prompt in enumerate(prompts)
        ],
        schema=PROMPTS,
    )
    folder = Folder(str(tmp_path / "run"))
    folder.prepare()
    model = ModelSettings(model=str(tiny_folder), dtype="float32", slots=4, device="cpu")
    settings = JobSettings(model=model)
    worker = Worker(settings, folder, guided=True)
    rows = len(prompts)
    manifest = Manifest(
        settings=settings.identity(),
        inputs="",
        rows=rows,
        rows_per_file=rows,
        provenance=worker.provenance(),
    )
    folder.write(layout.MANIFEST, manifest.to_json())
    due = [Assignment(shard=0, job=manifest.job, rows=table, strikes={}, sheet=0)]
    while not worker.work(due).files:
        due = []
    return tmp_path / "run"


def test_a_run_folder_is_judged_by_its_captions(run_folder: Path, real_file: Path) -> None:
    found = report_of(run_folder, "--real", real_file, "--compare", 2)
    assert [(row["guidance"], row["images"]) for row in found["rows"]] == [(1.0, 3), (2.0, 2)]
    for row in found["rows"]:
        assert row["same_as_plain"] == row["compared_with_plain"] == 2
        assert row["tokens_per_forward"] >= 1
        assert row["quality"]["frechet"] > 0
    few = report_of(run_folder, "--real", real_file, "--compare", 0, "--prompts", 3)
    assert [row["images"] for row in few["rows"]] == [3]


def test_tokens_that_are_not_plain_decodings_are_seen(
    run_folder: Path, real_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hawk.batch.run_evaluation.tokens_sha256", lambda tokens: str(tokens[0]))
    found = report_of(run_folder, "--real", real_file, "--compare", 2)
    assert [row["same_as_plain"] for row in found["rows"]] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--real", "nothing.npz"], "no file nothing.npz: python -m jobs.emoji.build"),
        (["--real", "other.npz"], "other.npz is no file of python -m jobs.emoji.build"),
        (["--real", "text.npz"], "text.npz is no file of python -m jobs.emoji.build"),
        (["--prompts", "1"], "prompts must be 2 or more, got 1"),
        (["--guidance", "high"], "guidance must be numbers with commas, got 'high'"),
        (["--guidance", "0.5"], "guidance must be between 1 (none) and 100, got 0.5"),
        (["--rules", "none"], "no rule 'none'"),
        (["--compare", "-1"], "images to compare must be 0 or more, got -1"),
        (["empty"], "empty is no run folder"),
        (["empty", "--seed", "1", "--dtype", "auto"], "already: leave out --dtype, --seed"),
    ],
)
def test_bad_input_gets_one_sentence(
    tiny_folder: Path,
    real_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("other.npz", images=np.zeros(3))
    Path("text.npz").write_text("no archive")
    Path("empty").mkdir()
    if "--real" not in arguments:
        arguments = [*arguments, "--real", str(real_file)]
    if "empty" not in arguments:
        arguments = [*arguments, "--model", str(tiny_folder)]
    assert complaint in evaluate(*arguments, code=2)


def test_a_missing_extra_is_named(real_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hawk.evaluation.encoder.PACKAGES", ("no_such_package",))
    assert "pip install 'hawk-t2i[evaluate]'" in evaluate("--real", real_file, code=2)
