"""`hawk check` as a stranger types it: lines, JSON, exit codes, and a report to send."""

import getpass
import json
import platform
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from hawk.cli.app import app
from tests.check.models import save_tiny


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def hawk(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def report(number: int = 1) -> dict[str, Any]:
    return json.loads(Path(f"hawk-check/report-{number}.json").read_text("utf-8"))


@pytest.mark.slow
def test_the_embedded_model_passes() -> None:
    stdout, _ = hawk("emoji", "--json", "--seed", 3, "--dtype", "float32", "--device", "cpu")
    found = json.loads(stdout.splitlines()[-1])
    assert found["passed"] is True
    assert found["counts"]["failed"] == 0
    assert found | {"report": None} == report() | {"report": None}
    assert found["model"]["name"] == "emoji"
    assert found["settings"]["seed"] == 3
    assert {"cpu", "cores", "device"} <= found["machine"].keys()
    assert {"hawk-t2i", "torch", "transformers"} <= found["versions"].keys()
    drafting = next(check for check in found["checks"] if check["name"] == "drafting")
    assert drafting["numbers"]["tokens_per_forward"] > 1.2
    with Image.open("hawk-check/picture-1.png") as picture:
        assert picture.size == (64, 64)


def test_a_broken_folder_fails_and_leaves_a_report_without_names(tmp_path: Path) -> None:
    folder = save_tiny("janus", tmp_path / "private")
    (folder / "tokenizer.json").write_text("{broken")
    stdout, stderr = hawk(folder, "--device", "cpu", code=1)
    *lines, last = stdout.splitlines()
    assert [line[:9] for line in lines] == ["BAD load:"]
    assert last == "0 passed, 1 failed, 0 not applicable; report: hawk-check/report-1.json"
    assert "Traceback" not in stderr
    text = Path("hawk-check/report-1.json").read_text("utf-8")
    assert report()["passed"] is False
    assert report()["model"] == {"name": "model"}
    for secret in (str(tmp_path), platform.node()):
        assert secret not in text
    assert f'"{getpass.getuser()}"' not in text
    hawk(folder, "--device", "cpu", code=1)  # the first report stays
    assert report(2)["passed"] is False


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["somebody/model"], "no model 'somebody/model' on this machine, and the hub cannot be"),
        (["no-such-folder"], "no model 'no-such-folder'"),
        (["emoji", "--drafter", "psychic"], "no drafter 'psychic'"),
        (["emoji", "--dtype", "int8"], "no dtype 'int8'"),
        (["emoji", "--device", "abacus"], "no device 'abacus'"),
        (["emoji", "--size", "big"], "size must be WIDTHxHEIGHT"),
        (["emoji", "--seed", "-1"], "seed must be between 0"),
        (["emoji", "--prompt", " "], "the prompt is empty"),
        (["emoji", "--out", "/proc/nowhere"], "/proc/nowhere"),
        ([], "Missing argument 'MODEL'"),
    ],
)
def test_bad_usage_gets_one_sentence_and_no_report(arguments: list[str], complaint: str) -> None:
    stdout, stderr = hawk(*arguments, code=2)
    assert complaint in stderr
    assert stdout == ""
    assert not list(Path().glob("hawk-check/*"))
