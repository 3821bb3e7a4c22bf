"""Places: folders on disk and on S3 that tests fill and look into alike."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

from hawk.prompts.inputs import PromptFiles, find
from hawk.storage import s3
from hawk.storage.folder import Folder, Location, locate
from tests.batch.flaky_s3 import FlakyS3
from tests.batch.runs import S3_ENVIRONMENT

BUCKET = "hawk"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder.

    Attributes:
        url: where it is.
        endpoint: of its S3.
    """

    url: str
    endpoint: str | None

    @property
    def local(self) -> bool:
        return self.endpoint is None

    def put(self, name: str, data: bytes | str = b"a prompt\n") -> str:
        """Write a file and say where."""
        content = data.encode() if isinstance(data, str) else data
        if self.endpoint is None:
            path = Path(self.url) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            key = self.at(name).removeprefix(f"s3://{BUCKET}/")
            _client(self.endpoint).put_object(Bucket=BUCKET, Key=key, Body=content)
        return self.at(name)

    def at(self, name: str) -> str:
        return f"{self.url}/{name}"

    def location(self, name: str = "") -> Location:
        return locate(self.at(name) if name else self.url, endpoint=self.endpoint)

    def found(self, name: str = "") -> PromptFiles:
        return find(self.location(name))

    def folder(self, name: str) -> Folder:
        return Folder(self.at(name), endpoint=self.endpoint)


@cache
def _client(endpoint: str) -> Any:
    return boto3.client("s3", endpoint_url=endpoint)


@contextmanager
def s3_server() -> Iterator[FlakyS3]:
    """An S3 with a bucket, and what a client needs to reach it in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**S3_ENVIRONMENT, "AWS_EC2_METADATA_DISABLED": "true"}.items():
            patch.setenv(name, value)
        for name in s3.ENDPOINT_VARIABLES:
            patch.delenv(name, raising=False)
        with FlakyS3() as server:
            boto3.client("s3", endpoint_url=server.url).create_bucket(Bucket=BUCKET)
            yield server


def place_on(kind: str, tmp_path: Path, server: FlakyS3) -> Place:
    """A new folder of a kind, `disk` or `s3`."""
    if kind == "disk":
        return Place(url=str(tmp_path / "place"), endpoint=None)
    name = os.path.relpath(tmp_path, tmp_path.parent)
    return Place(url=f"s3://{BUCKET}/{name}", endpoint=server.url)
