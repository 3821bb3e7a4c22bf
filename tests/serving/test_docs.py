"""docs/serve.md keeps its word: its marked examples run as printed; the dashboard asks for metrics
that there are."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from hawk.serving.app import build_app
from hawk.serving.config import check_config

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
PRINTED = "http://127.0.0.1:8000"
BLOCKS = re.findall(r"<!-- test -->\n```(bash|python)\n(.*?)```", DOCS, re.DOTALL)
TIMEOUT_S = 300


def test_there_are_examples_in_both_languages() -> None:
    assert {language for language, _ in BLOCKS} == {"bash", "python"}
    assert all(PRINTED in text for _, text in BLOCKS)


@pytest.mark.parametrize(("language", "text"), BLOCKS, ids=[language for language, _ in BLOCKS])
def test_examples_run_as_printed(language: str, text: str, url: str, tmp_path: Path) -> None:
    if language == "bash" and shutil.which("curl") is None:
        pytest.skip("no curl: apt-get install curl")
    command = {"bash": ["bash", "-ec"], "python": [sys.executable, "-c"]}[language]
    done = subprocess.run(
        [*command, text.replace(PRINTED, url)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stdout
    assert ("b64_json" if language == "bash" else "image_generation.completed") in done.stdout


def test_the_cluster_file_is_one_that_serve_and_we_can_read() -> None:
    text = (ROOT / "serve" / "application.yaml").read_text()
    [application] = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
    assert application.import_path == "hawk.serving.app:build_app"
    config = check_config(application.args, "docs")
    assert (config.replicas.ceiling, config.keys) == (4, "required")
    assert build_app(application.args)
    with pytest.raises(ValueError, match="args: unknown key modle"):
        build_app({"modle": {}})


def test_the_dashboard_asks_for_what_there_is(url: str) -> None:
    body = {"prompt": "a"}
    assert httpx.post(f"{url}/v1/images/generations", json=body, timeout=TIMEOUT_S).is_success
    page = httpx.get(f"{url}/metrics").text
    board = json.loads((ROOT / "infra" / "grafana.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"hawk_\w+", target["expr"])
    }
    there = set(re.findall(r"^# TYPE (hawk_\w+)", page, re.MULTILINE))
    there |= set(re.findall(r"^(hawk_\w+)", page, re.MULTILINE))
    assert asked <= there
