"""Launch plans: arithmetic by hand, requests as S3 counts them, growth as Ray has it."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from typer.testing import CliRunner

from hawk.batch.job_settings import WorkerSettings
from hawk.batch.schema import IMAGES
from hawk.batch.shard import Counts, ShardWriter, damage, read_counts
from hawk.cli.app import app
from hawk.planning.estimate import Load, estimate, parse_duration, puts, reads, with_workers
from hawk.planning.growth import growth
from hawk.planning.speed import measured
from hawk.settings import DraftSettings
from hawk.storage.folder import Folder
from hawk.storage.layout import MANIFEST
from tests.batch.flaky_s3 import FlakyS3

WORKER = WorkerSettings(cpus_per_worker=4, gpus_per_worker=1)
COLOCATED = WORKER.bundles(DraftSettings())
PAIR = WORKER.bundles(DraftSettings(placement="pair"))
INFRA = Path(__file__).parents[2] / "infra"
AWS, KUBERAY = INFRA / "aws" / "cluster.yaml", INFRA / "kuberay" / "rayjob.yaml"


def load(**changes: Any) -> Load:
    made: dict[str, Any] = {
        **{"images": 1_000_000, "width": 384, "height": 384, "rate": 1.4},
        **{"deadline_s": 24 * 3600, "start_s": 600, "gpus_per_worker": 1},
    }
    return Load(**(made | changes))


def test_a_million_images_in_a_day() -> None:
    made = estimate(load())
    # 1e6 / 1.4 / 0.9 = 793,651 worker seconds in 85,800 s: 9.25 workers
    assert (made.workers, made.gpus) == (10, 10)
    assert made.hours == pytest.approx((600 + 79_365.08) / 3600)
    assert made.gpu_hours == pytest.approx(10 * made.hours)
    assert (made.rows_per_file, made.files) == (303, 3301)  # 128 MiB of raw pixels a file
    assert made.storage_bytes == 2 * 384 * 384 * 1_000_000
    assert made.put_requests == 3301 * (2 + 9)  # 89.4 MB in parts of 10 MiB
    assert made.get_requests == 62719
    assert made.list_requests == 8 * 4


def test_pairs_take_two_gpus_and_fewer_workers_take_longer() -> None:
    assert estimate(load(gpus_per_worker=2)).gpus == 20
    assert with_workers(load(), 5).hours > 24 > estimate(load()).hours
    assert estimate(load(images=3, deadline_s=601)).workers == 3  # never more than images


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 0}, "must be more than 0"),
        ({"rate": 0.0}, "more than 0"),
        ({"rate": float("nan")}, "more than 0"),
        ({"deadline_s": 600.0}, "leaves no time"),
    ],
)
def test_nonsense_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load(**change)


def test_durations() -> None:
    assert [parse_duration(text) for text in ("90m", "24h", "1d12h", "1.5h", "30s")] == [
        5400, 86400, 129600, 5400, 30,
    ]  # fmt: skip
    for wrong in ("", "24", "1w", "h", "-1h", "1h x"):
        with pytest.raises(ValueError, match="a duration is like"):
            parse_duration(wrong)


class CountingS3(FlakyS3):
    """Notes the kinds of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def _serve(self, environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        self.seen[environ["REQUEST_METHOD"]] += 1
        return super()._serve(environ, respond)


def test_requests_are_those_that_s3_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = CountingS3()
    with s3:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        boto3.client("s3", endpoint_url=s3.url).create_bucket(Bucket="plan")
        folder = Folder("s3://plan/images")
        for size in (1000, 9 * 2**20, 11 * 2**20, 25 * 2**20):
            s3.seen.clear()
            draft = folder.begin("part")
            draft.file.write(bytes(size))
            draft.publish()
            assert s3.seen["PUT"] + s3.seen["POST"] == s3.seen.total() == puts(size)
        folder.write(MANIFEST, b'{"job": "job"}')
        for size in (1000, 9 * 2**20, 17 * 2**20):
            s3.seen.clear()
            writer = ShardWriter(folder, "part-0", rows=1, job="job")
            picture = {"bytes": os.urandom(size), "path": None}
            row = dict.fromkeys(IMAGES.names) | {"id": "a", "image": picture}
            writer.add(0, row, Counts(rows=1))
            assert read_counts(folder, "part-0", rows=1, job="job")
            assert damage(folder, "part-0") is None
            assert s3.seen["HEAD"] + s3.seen["GET"] == reads(size)


@pytest.mark.parametrize(
    ("cluster", "workers", "pair", "nodes", "fit"),
    [
        (AWS, 8, True, {"pair": 4}, 8),
        (AWS, 9, True, {"pair": 4}, 8),
        (AWS, 3, False, {"single": 3}, 3),
        (AWS, 13, False, {"pair": 3, "single": 1}, 13),
        (AWS, 40, False, {"pair": 4, "single": 8}, 24),
        (AWS, 10**7, False, {"pair": 4, "single": 8}, 24),
        (KUBERAY, 1, True, {"pair": 1}, 1),
        (KUBERAY, 3, False, {"pair": 1, "single": 1}, 3),
        (KUBERAY, 40, False, {"pair": 4, "single": 8}, 16),
    ],
)
def test_a_cluster_grows_as_ray_grows_it(
    cluster: Path, workers: int, pair: bool, nodes: dict[str, int], fit: int
) -> None:
    """Numbers are those of the autoscaler of Ray 2.60, asked about the same files."""
    found = growth(cluster, workers=workers, bundles=PAIR if pair else COLOCATED)
    assert (found.nodes, found.workers) == (nodes, fit)


def test_the_limit_of_the_whole_cluster_holds(tmp_path: Path) -> None:
    file = changed_aws(tmp_path, max_workers=2)
    for workers, nodes, fit in (
        (5, {"pair": 1, "single": 1}, 5),
        (6, {"pair": 1, "single": 1}, 5),
        (9, {"pair": 2}, 8),
    ):
        found = growth(file, workers=workers, bundles=COLOCATED)
        assert (found.nodes, found.workers) == (nodes, fit)


def changed_aws(folder: Path, **changes: Any) -> Path:
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(AWS.read_text()) | changes))
    return file


def test_drafters_on_nodes_with_another_accelerator(tmp_path: Path) -> None:
    types = yaml.safe_load(AWS.read_text())["available_node_types"]
    types["single"]["labels"] = {"ray.io/accelerator-type": "L4"}
    file = changed_aws(tmp_path, available_node_types=types, max_workers=6)
    found = growth(file, workers=10, bundles=PAIR, draft_accelerator="L4")
    # with a fifth drafter's node and a second node of four targets there are seven nodes
    assert (found.nodes, found.workers) == ({"single": 4, "pair": 1}, 4)
    assert growth(file, workers=10, bundles=PAIR, draft_accelerator="A10G").workers == 0


def test_resources_of_a_worker_group(tmp_path: Path) -> None:
    manifest = yaml.safe_load(KUBERAY.read_text())
    single, pair = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    single["rayStartParams"] |= {"num-cpus": "3"}  # too few
    pair |= {"numOfHosts": 2, "resources": {"CPU": "3500m", "GPU": "4"}}
    file = tmp_path / "rayjob.yaml"
    file.write_text(yaml.safe_dump(manifest))
    found = growth(file, workers=100, bundles=COLOCATED)
    assert (found.nodes, found.workers) == ({"pair": 8}, 8)


def test_a_worker_that_fits_nowhere() -> None:
    assert growth(KUBERAY, workers=2, bundles=[*COLOCATED, *PAIR]).workers == 0
    assert growth(AWS, workers=2, bundles=[{"CPU": 64, "GPU": 1}]).workers == 0


def test_a_drafted_model_is_planned_by_what_was_measured(tmp_path: Path) -> None:
    bench = tmp_path / "bench.json"
    rows = [
        {"drafter": "plain", "batch": 1, "seconds_per_image": 4.0},
        {"drafter": "jacobi", "batch": 4, "seconds_per_image": 2.0},
        {"drafter": "jacobi", "batch": 4, "seconds_per_image": 1.0},
        {"drafter": "transformers", "batch": 1, "seconds_per_image": 0.5},
    ]
    details = [{"exact": True}, {"exact": True}, {"exact": False}, {}]
    report = {"rows": rows, "details": details, "machine": {"device": "cuda"}}
    bench.write_text(json.dumps(report | {"settings": {"model": "m"}}))
    speed = measured(bench)
    assert speed.rate == 0.5
    assert "jacobi on cuda, m, 4 in flight" in speed.source
    bench.write_text("{}")
    with pytest.raises(ValueError, match="not what `hawk bench --json` prints"):
        measured(bench)


def hawk(*arguments: object) -> Any:
    command = ["plan", "--images", "1000000", "--model", "janus-pro-7b", "--deadline", "24h"]
    return CliRunner().invoke(app, [*command, *map(str, arguments)])


def test_the_command_says_whether_it_fits() -> None:
    enough = hawk("--rate", 1.4, "--cluster", AWS, "--json")
    report = json.loads(enough.stdout.splitlines()[-1])
    assert enough.exit_code == 0, enough.output
    assert (report["workers"], report["fits"], report["speed"]) == (10, True, "given")
    short = hawk("--rate", 1.4, "--cluster", KUBERAY, "--placement", "pair")
    assert short.exit_code == 1
    assert "grows to 4 pair, with room for 4 workers: 55.28 hours" in short.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", 1, "--bench", "x"], "one of --rate and --bench"),
        ([], "one of --rate and --bench"),
        (["--bench", "/nowhere.json"], "nowhere.json"),
        (["--rate", 1, "--cluster", INFRA / "grafana.json"], "is no cluster file"),
        (["--rate", 1, "--cluster", "/nowhere.yaml"], "nowhere.yaml"),
        (["--rate", 1, "--placement", "apart"], "no placement 'apart'"),
        (["--rate", 1, "--start", "soon"], "a duration is like"),
    ],
)
def test_mistakes_are_told(arguments: list[object], words: str) -> None:
    result = hawk(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
