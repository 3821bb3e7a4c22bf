"""docs/clusters.md keeps its word: its commands parse, its files are there and can be filled in."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from typer.testing import CliRunner

import hawk
from hawk.cli.app import app
from tests.infra.commands import refusal, simple_commands, syntax_error
from tests.infra.test_kuberay import mistakes

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]
PROGRAMS = {
    "aws", "base64", "cat", "cp", "curl", "docker", "hawk", "helm", "kubectl", "make", "mkdir",
    "openssl", "pip", "ray", "sed",
}  # fmt: skip
FILLED_IN = {
    "AMI": "ami-0123456789abcdef0",
    "AWS_REGION": "eu-west-1",
    "BUCKET": "pictures",
    "GROUP": "sg-0123456789abcdef0",
    "IMAGE": "registry.example.org/us/hawk",
}


def test_there_are_commands_for_all_three_places() -> None:
    headings = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert headings == ["A laptop", "Kubernetes", "AWS", "What was tried"]
    assert len(BLOCKS) >= 10


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_are_shell(block: str) -> None:
    assert syntax_error(block) == ""


@pytest.mark.parametrize("line", LINES)
def test_programs_take_what_they_are_given(line: str) -> None:
    for words in simple_commands(line):
        assert words[0] in PROGRAMS, f"unknown program {words[0]}"
        assert refusal(words) is None


def test_files_are_there() -> None:
    made = set(re.findall(r"> (\S+)", "\n".join(LINES)))
    named = set(re.findall(r"(?:infra|examples|docs)/[\w./-]+\w", TEXT))
    named |= {f"docs/{name}" for name in re.findall(r"\]\(([\w-]+\.\w+)\)", TEXT)}
    assert [name for name in sorted(named - made) if not (ROOT / name).exists()] == []
    versions = set(re.findall(r"hawk_t2i-([\d.]+)-py3|:([\d.]+)-cuda", TEXT))
    assert {one or other for one, other in versions} == {hawk.__version__}


def filled(line: str, folder: Path) -> list[Path]:
    """Run a `sed` line of the page here; the files it wrote."""
    moved = re.sub(r"> (\S+)", rf"> {folder}/\1", line)
    subprocess.run(
        ["bash", "-ec", moved], cwd=ROOT, env=FILLED_IN | {"PATH": "/usr/bin:/bin"}, check=True
    )
    return list(folder.iterdir())


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("sed ")])
def test_manifests_can_be_filled_in(line: str, tmp_path: Path) -> None:
    [path] = filled(line, tmp_path)
    text = path.read_text()
    assert "MY_" not in re.sub(r"#.*", "", text)
    assert "registry.example.com" not in text
    content: Any = yaml.safe_load(text)  # JSON too
    if content.get("kind") in ("RayCluster", "RayJob", "RayService"):
        assert mistakes(content["kind"], content["spec"]) == []
    elif "available_node_types" in content:
        validate_config(prepare_config(content))
        assert content["provider"]["region"] == "eu-west-1"
    else:
        assert content["Statement"][0]["Resource"] == "arn:aws:s3:::pictures"


def test_the_plan_is_what_hawk_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    [line, printed] = re.findall(r"```(?:bash)?\n(hawk plan.*?|1,000,000.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, line.split()[1:])
    assert (result.exit_code, result.stdout) == (0, printed)
