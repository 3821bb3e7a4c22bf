"""The `hawk` command: files, JSON, exit codes, and one sentence for what goes wrong."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from hawk.cli.app import app
from hawk.decoding.request import Finished
from hawk.decoding.session import Session
from hawk.pipeline import Pipeline
from hawk.targets.decoder_target import DecoderTarget

runner = CliRunner()


def hawk(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def generate_json(*arguments: object) -> dict[str, Any]:
    stdout, _ = hawk("generate", *arguments, "--json")
    return json.loads(stdout.splitlines()[-1])


def test_generate_writes_pictures_and_says_what_they_cost(
    tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "folder"
    report = generate_json("a", "b c", "--model", tiny_folder, "--out", out, "-n", 2)
    assert set(report) == {
        "images", "exact", "tokens", "forwards", "tokens_per_forward", "seconds",
        "images_per_second", "model", "drafter", "rule", "contact_sheet", "nodes_per_forward",
        "failures",
    }  # fmt: skip
    assert [image["prompt"] for image in report["images"]] == ["a", "a", "b c", "b c"]
    assert [image["seed"] for image in report["images"]] == [0, 1, 0, 1]
    for image in report["images"]:
        with Image.open(image["path"]) as picture:
            assert picture.size == (12, 12)
    with Image.open(report["contact_sheet"]) as sheet:
        assert sheet.width > 128
    assert report["exact"] is True


def test_tokens_are_the_same_in_any_company(tiny_folder: Path, tmp_path: Path) -> None:
    prompt, common = "a red apple", ("--model", tiny_folder, "--seed", 7, "--out", tmp_path)
    runs = [
        generate_json(prompt, *common, "--drafter", "plain", "--slots", 1),
        generate_json(prompt, *common, "--drafter", "jacobi", "--slots", 8),
        generate_json(prompt, *"abcdefg", *common, "--drafter", "jacobi", "--slots", 3),
        generate_json(prompt, *"abcdefg", *common, "--drafter", "plain", "--slots", 8),
    ]
    assert len({run["images"][0]["tokens_sha256"] for run in runs}) == 1
    assert len({image["tokens_sha256"] for image in runs[2]["images"]}) == 8


def test_compare_shows_plain_decoding_beside(tiny_folder: Path, tmp_path: Path) -> None:
    stdout, _ = hawk("generate", "a", "b", "--model", tiny_folder, "--out", tmp_path, "--compare")
    assert "2 of 2 images identical" in stdout


def test_prompts_come_from_files_too(tiny_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffone\n\n  two  \r\nthrée\n", encoding="utf-8")
    report = generate_json(
        "zero", "--prompts-file", file, "--model", tiny_folder, "--out", tmp_path
    )
    assert [image["prompt"] for image in report["images"]] == ["zero", "one", "two", "thrée"]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ([], 2, "no prompts: give some"),
        ([""], 2, "the prompt is empty"),
        (["a" * 5000], 2, "reads up to"),
        (["a", "--drafter", "psychic"], 2, "choose from auto, jacobi, hawk, plain"),
        (["a", "--rule", "lenient"], 2, "choose from coupled"),
        (["a", "--seed", "-1"], 2, "seed must be between 0"),
        (["a", "--top-p", "0"], 2, r"top_p must be in (0, 1], got 0.0"),
        (["a", "--top-p", "1.5"], 2, r"top_p must be in (0, 1], got 1.5"),
        (["a", "--top-k", "-2"], 2, "top_k must be between 0 (off) and"),
        (["a", "--guidance", "nan"], 2, "guidance must be between 1 (none) and 100, got nan"),
        (["a", "-n", "0"], 2, "n must be 1 or more"),
        (["a", "--slots", "0"], 2, "slots must be 1 or more"),
        (["a", "--model", "no-such-model"], 2, "no model 'no-such-model' on this machine"),
        (["a", "--device", "abacus"], 2, "no device 'abacus'"),
        (["--prompts-file", "no-such-file"], 2, "hawk: no-such-file: No such file or directory"),
        (["a", "--out", "/proc/nowhere"], 2, "/proc/nowhere"),
        (["a", "--no-such-option"], 2, "No such option"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_bad_input_gets_one_sentence(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in arguments else ["--model", str(tiny_folder)]
    stdout, stderr = hawk("generate", *arguments, *model, code=code)
    assert complaint in stderr
    assert "Traceback" not in stderr
    assert stdout == ""


def test_a_prompt_file_that_is_not_text_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"\xff\xfe\x00broken")
    _, stderr = hawk(
        "generate", "--prompts-file", file, "--model", tiny_folder, "--out", tmp_path, code=2
    )
    assert "not UTF-8" in stderr


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you ...")],
    ids=["MemoryError", "torch"],
)
def test_out_of_memory_says_what_to_lower(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Pipeline, "run", fail)
    _, stderr = hawk("generate", "a", "--model", tiny_folder, "--out", tmp_path, code=1)
    assert "lower --slots" in stderr


def test_layers_are_compiled_where_asked(
    tiny_folder: Path, tmp_path: Path, compiled: list[DecoderTarget]
) -> None:
    arguments = ["generate", "a", "--model", tiny_folder, "--out", tmp_path]
    hawk(*arguments)
    assert not compiled
    hawk(*arguments, "--compile")
    assert len(compiled) == 1


def test_compiling_without_a_compiler_says_what_to_install(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    arguments = ["generate", "a", "--model", tiny_folder, "--out", tmp_path, "--compile"]
    _, stderr = hawk(*arguments, code=1)
    assert "C++ compiler" in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("broken", ["b", "ab"])
def test_images_that_fail_are_named_and_the_others_written(
    broken: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(session: Session, honest: Any = Session.step) -> list[Finished]:
        return [
            replace(made, error="bad logits") if made.request.prompt in broken else made
            for made in honest(session)
        ]

    monkeypatch.setattr(Session, "step", step)
    arguments = ["generate", "a", "b", "--model", tiny_folder, "--out", tmp_path, "--compare"]
    stdout, stderr = hawk(*arguments, code=1)
    assert stderr.endswith("hawk: no image of 'b': bad logits\n")
    if broken == "ab":
        assert "hawk: no image of 'a': bad logits\n" in stderr
        return
    assert "1 of 1 images identical" in stdout
    assert len(list(tmp_path.glob("image-*.png"))) == 1


def test_debug_shows_where_it_broke(tiny_folder: Path, tmp_path: Path) -> None:
    arguments = ["generate", "a", "--top-p", "0", "--model", tiny_folder, "--out", tmp_path]
    result = runner.invoke(app, [*map(str, arguments), "--debug"])
    assert isinstance(result.exception, ValueError)


def test_models_and_doctor_answer() -> None:
    stdout, _ = hawk("models", "--json")
    assert "emoji" in [line["checkpoint"] for line in json.loads(stdout)]
    assert "Lumina-mGPT 7B" in hawk("models")[0]
    stdout, _ = hawk("doctor")
    assert "ok  torch" in stdout
    assert "ok  model emoji" in stdout
    stdout, _ = hawk("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(stdout)}
    assert checks["model emoji"]["fine"]


def test_what_nobody_expected_is_a_sentence_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object, **__: object) -> None:
        raise KeyError("a\nsurprise")

    monkeypatch.setattr(Pipeline, "load", surprise)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _, stderr = hawk("generate", "a", "--out", tmp_path / "out", code=1)
    [line] = stderr.splitlines()
    [log] = tmp_path.glob("hawk-*.log")
    assert line == f"hawk: something unexpected: KeyError: 'a\\nsurprise'; its trace is in {log}"
    assert "in surprise" in log.read_text()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    _, stderr = hawk("generate", "a", "--out", tmp_path / "out", code=1)
    assert stderr.endswith("; --debug shows its trace\n")
