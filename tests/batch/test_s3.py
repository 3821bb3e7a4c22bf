"""S3: what is wrong with a bucket is said at once, and a bad connection is borne."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from hawk.batch.inspection import inspect
from hawk.batch.shard import ShardWriter
from hawk.prompts.columns import ColumnChoice
from hawk.prompts.inputs import find
from hawk.prompts.survey import Survey
from hawk.storage import s3
from hawk.storage.folder import Folder, StorageError, locate
from hawk.storage.layout import CARD, MANIFEST, SHEET, SIDE, SUCCESS, shard_name
from tests.batch.flaky_s3 import FlakyS3
from tests.batch.runs import S3_ENVIRONMENT, assert_made_by_the_model_alone, job, run_here
from tests.batch.test_files import counts, row


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyS3]:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in s3.ENDPOINT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with FlakyS3() as server:
        client = boto3.client("s3", endpoint_url=server.url)
        client.create_bucket(Bucket="hawk")
        yield server


def test_a_folder_on_s3_is_like_one_on_disk(server: FlakyS3) -> None:
    folder = Folder("s3://hawk/some/where", endpoint=server.url)
    folder.prepare()
    assert folder.names() == []
    assert folder.create("manifest.json", b"first")
    assert not folder.create("manifest.json", b"second")
    assert folder.read("manifest.json") == b"first"
    writer = ShardWriter(folder, "part-00000.parquet", rows=2, job="job")
    writer.add(0, row(0), counts())
    assert folder.names() == ["manifest.json"]
    assert writer.add(1, row(1), counts())
    folder.sweep()
    assert folder.names() == ["manifest.json", "part-00000.parquet"]
    folder.delete("manifest.json")
    assert folder.names() == ["part-00000.parquet"]


def test_prompts_are_read_from_s3(server: FlakyS3) -> None:
    Folder("s3://hawk/in", endpoint=server.url).write("a.txt", b"one\ntwo\n")
    for url in ("s3://hawk/in", "s3://hawk/in/a.txt", "s3://hawk/in/*.txt"):
        entries = Survey(find(locate(url, endpoint=server.url)), ColumnChoice()).entries()
        assert [entry.values["prompt"] for entry in entries] == ["one", "two"]


def test_large_files_survive_slow_downs_and_resets(server: FlakyS3) -> None:
    folder, data = Folder("s3://hawk/out", endpoint=server.url), os.urandom(25 * 2**20)
    server.slow_down_every, server.reset_every = 3, 4
    folder.write("large", data)
    assert folder.read("large") == data
    assert server.faults > 2


@pytest.mark.parametrize(
    ("url", "region", "denies", "complaint"),
    [
        ("s3://nowhere/x", "us-east-1", False, "no bucket 'nowhere': make it first"),
        ("s3://hawk/x", "us-east-1", True, "access to bucket 'hawk' is denied: check AWS_ACCESS"),
        ("s3://hawk/x", "eu-west-1", False, "bucket 'hawk' is in us-east-1, not in eu-west-1"),
        ("s3:///x", "us-east-1", False, "names no bucket"),
    ],
)
def test_a_wrong_bucket_is_said_within_seconds(
    server: FlakyS3,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    region: str,
    denies: bool,
    complaint: str,
) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    server.denies = denies
    with pytest.raises(ValueError, match=complaint):
        Folder(url, endpoint=server.url).prepare()


def test_a_server_that_is_not_there_is_said_within_seconds(server: FlakyS3) -> None:
    with pytest.raises(ValueError, match="bucket 'hawk' does not answer"):
        Folder("s3://hawk/x", endpoint="http://127.0.0.1:9").prepare()


def test_a_server_that_never_answers_is_said(
    server: FlakyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "CHECK_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(ValueError, match="bucket 'hawk' does not answer: Read timeout"):
            Folder("s3://hawk/x", endpoint=endpoint).prepare()


def test_missing_credentials_are_said(server: FlakyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(ValueError, match="no AWS credentials"):
        Folder("s3://hawk/x", endpoint=server.url).prepare()


def test_uploads_that_nobody_finished_are_swept(server: FlakyS3) -> None:
    """moto dates all uploads many years back."""
    client = boto3.client("s3", endpoint_url=server.url)
    for key in ("out/part-00000.parquet", "outer/part-00000.parquet"):
        client.create_multipart_upload(Bucket="hawk", Key=key)
    Folder("s3://hawk/out", endpoint=server.url).sweep()
    left = client.list_multipart_uploads(Bucket="hawk")["Uploads"]
    assert [upload["Key"] for upload in left] == ["outer/part-00000.parquet"]


def test_uploads_that_may_not_be_listed_stay(server: FlakyS3) -> None:
    for status, code in (("403 Forbidden", "AccessDenied"), ("501 No", "NotImplemented")):
        server.refusal = lambda environ, told=(status, code): (
            told if "uploads" in environ["QUERY_STRING"] else None
        )
        Folder("s3://hawk/out", endpoint=server.url).sweep()
    server.refusal = lambda environ: ("403 Forbidden", "InvalidAccessKeyId")
    with pytest.raises(ValueError, match="access to bucket 'hawk' is denied"):
        Folder("s3://hawk/out", endpoint=server.url).sweep()


def test_a_new_file_where_s3_knows_no_conditions(server: FlakyS3) -> None:
    server.refusal = lambda environ: (
        ("501 Not Implemented", "NotImplemented") if "HTTP_IF_NONE_MATCH" in environ else None
    )
    folder = Folder("s3://hawk/out", endpoint=server.url)
    assert folder.create("manifest.json", b"first")
    assert not folder.create("manifest.json", b"second")
    assert folder.create("manifest", b"a shorter name")
    assert folder.read("manifest.json") == b"first"


def test_access_that_is_lost_names_the_file(server: FlakyS3) -> None:
    folder = Folder("s3://hawk/out", endpoint=server.url)
    folder.prepare()
    server.denies = True
    with pytest.raises(StorageError, match=r"cannot write part-00000\.parquet: .*ACCESS_DENIED"):
        folder.write("part-00000.parquet", b"")
    with pytest.raises(ValueError, match="access to bucket 'hawk' is denied"):
        folder.create("manifest.json", b"")


def test_arrow_finds_the_endpoint_in_the_usual_variables(
    server: FlakyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    found = s3.filesystem(None).get_file_info("hawk")
    assert found.type == pyarrow.fs.FileType.Directory


@pytest.mark.ray
def test_a_run_on_s3_bears_slow_downs_and_resets(
    address: str, tiny_folder: Path, server: FlakyS3
) -> None:
    client = boto3.client("s3", endpoint_url=server.url)
    prompts = [{"id": f"row-{number}", "prompt": "a red apple"} for number in range(20)]
    lines = "".join(json.dumps(prompt) + "\n" for prompt in prompts)
    client.put_object(Bucket="hawk", Key="in/p.jsonl", Body=lines.encode())
    server.slow_down_every, server.reset_every = 5, 7
    asked = job(
        tiny_folder,
        "s3://hawk/in",
        "s3://hawk/runs/first",
        rows_per_file=6,
        s3_endpoint=server.url,
    )
    summary, _ = run_here(asked)
    assert server.faults > 5
    assert summary["images"] == 20
    server.slow_down_every = server.reset_every = 0
    folder = Folder(asked.out, endpoint=server.url)
    parts = [shard_name(shard) for shard in range(4)]
    assert folder.names() == parts
    beside = [f"{SIDE}/{name}" for name in folder.names(SIDE)]
    assert beside == sorted([CARD, SUCCESS, SHEET, MANIFEST])
    rows = [
        row
        for part in parts
        for row in pq.read_table(pa.BufferReader(folder.read(part))).to_pylist()
    ]
    assert [row["id"] for row in rows] == [prompt["id"] for prompt in prompts]
    assert_made_by_the_model_alone(rows, tiny_folder)
    folder.delete(parts[2])
    data = bytearray(folder.read(parts[1]))
    data[1000:1064] = bytes(64)
    folder.write(parts[1], bytes(data))
    summary, screen = run_here(asked)
    assert f"{parts[1]} is damaged" in screen
    assert summary["images"] == 20
    assert inspect(folder, verify=True)["success"]
