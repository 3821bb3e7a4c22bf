"""Settings: bounds, what decides images, and options derived from fields."""

from dataclasses import fields
from typing import Annotated, Any, get_args, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.cli.command import Omit, command
from hawk.serving.config import check_config
from hawk.settings import (
    RUNTIME,
    DraftSettings,
    ModelSettings,
    SamplerSettings,
    Setting,
    changed,
    identity,
)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: ModelSettings(slots=0), "slots must be 1 or more"),
        (lambda: ModelSettings(prompt_limit=0), "prompt_limit must be 1 or more"),
        (lambda: ModelSettings(size="big"), "WIDTHxHEIGHT"),
        (lambda: SamplerSettings(guidance=1e39), "guidance must be between"),
        (lambda: SamplerSettings(top_p=7), "top_p must be in"),
        (lambda: JobSettings(drafting=DraftSettings(placement="apart")), "no placement 'apart'"),
        (
            lambda: JobSettings(
                model=ModelSettings(deterministic=True), drafting=DraftSettings(placement="pair")
            ),
            "got placement pair: leave out one of them",
        ),
        (
            lambda: check_config(
                {"model": {"deterministic": True}, "replicas": {"placement": "pair:lanes=1"}}, "t"
            ),
            "got placement pair:lanes=1: leave out one of them",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_once(wrong: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()


def test_what_only_changes_speed_is_no_part_of_an_identity() -> None:
    slow = identity(ModelSettings(slots=1, device="cpu"), DraftSettings(placement="pair"))
    assert slow == identity(ModelSettings(slots=9, compile=True), DraftSettings())
    assert not RUNTIME & slow.keys()
    for other in (ModelSettings(dtype="bfloat16"), ModelSettings(size="64x64")):
        assert identity(other, DraftSettings()) != slow


def test_rows_of_deterministic_passes_depend_on_the_slots() -> None:
    few, many = (ModelSettings(deterministic=True, slots=slots) for slots in (1, 9))
    assert identity(few) != identity(many)


def test_values_go_to_the_settings_that_have_the_field() -> None:
    values = {"dtype": "float16", "drafter": "plain", "top_k": 5, "out": "x"}
    assert changed(ModelSettings(slots=3), values) == ModelSettings(slots=3, dtype="float16")
    assert changed(DraftSettings(), values) == DraftSettings(drafter="plain")
    assert changed(SamplerSettings(), values) == SamplerSettings(top_k=5)


@pytest.mark.parametrize("kind", [ModelSettings, DraftSettings, SamplerSettings, WorkerSettings])
def test_every_field_has_its_sentence(kind: Any) -> None:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        [setting] = [part for part in get_args(hints[field.name]) if isinstance(part, Setting)]
        assert setting.help.endswith(".")


def run(*arguments: str) -> tuple[int, list[Any], str]:
    """Exit code, what the function got, and stderr of a command with settings."""
    got: list[Any] = []
    app = typer.Typer()

    @app.command()
    @command
    def show(
        name: str,
        model: Annotated[ModelSettings, Omit("model", "slots")] = ModelSettings(
            device="cpu", slots=3
        ),
        drafting: DraftSettings = DraftSettings(),
    ) -> None:
        """Show."""
        if name == "broken":
            raise RuntimeError("it broke")
        got.extend([name, model, drafting])

    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, got, result.stdout + result.stderr


def test_fields_become_options_and_come_back_as_settings() -> None:
    code, got, _ = run("x", "--dtype", "float16", "--deterministic", "--drafter", "plain")
    expected = ModelSettings(device="cpu", slots=3, dtype="float16", deterministic=True)
    assert (code, got) == (0, ["x", expected, DraftSettings(drafter="plain")])


def test_omitted_fields_keep_the_default_and_have_no_option() -> None:
    assert run("x")[1][1] == ModelSettings(device="cpu", slots=3)
    code, _, told = run("x", "--slots", "2")
    assert code == 2
    assert "No such option: --slots" in told


def test_errors_become_a_sentence() -> None:
    code, _, told = run("x", "--size", "large")
    assert (code, told.count("\n")) == (2, 1)
    assert told.startswith("hawk: size must be WIDTHxHEIGHT")
    code, _, told = run("broken")
    assert (code, told) == (1, "hawk: it broke\n")
    assert run("broken", "--debug")[2] == ""  # the exception itself
