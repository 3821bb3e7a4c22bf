"""What commands share: options, prompts from files, progress, reports, how errors are told."""

import contextlib
import io
import json
import sys
import tempfile
import traceback
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typer.exceptions import TyperException

from hawk.prompts.lines import prompt_lines

if TYPE_CHECKING:
    from rich.table import Table

USAGE_ERRORS = (ValueError, FileNotFoundError, PermissionError, FileExistsError, NotADirectoryError)
screen = Console(stderr=True)  # for people; stdout is for results

SeedOption = Annotated[int, typer.Option(help="Seed of the first image of every prompt.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Last line of stdout is a JSON object.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@contextlib.contextmanager
def errors_reported(*, debug: bool) -> Generator[None, None, None]:
    """A sentence a mistake on stderr: exit 2 for what the user gave, 1 for what went wrong.

    What nobody expected is a sentence too, with a file that has the trace.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, TyperException, BrokenPipeError):
        raise
    except (ValueError, OSError, MemoryError, ArithmeticError, RuntimeError) as error:
        if debug:
            raise
        for line in _sentence(error).splitlines():
            typer.echo(f"hawk: {line}", err=True)
        raise typer.Exit(2 if isinstance(error, USAGE_ERRORS) else 1) from error
    except Exception as error:  # whoever meets it has more use for a sentence than for a trace
        if debug:
            raise
        typer.echo(f"hawk: {_unexpected(error)}", err=True)
        raise typer.Exit(1) from error


def _unexpected(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    told = f"something unexpected: {type(error).__name__}{text and f': {text}'}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="hawk-", suffix=".log", encoding="utf-8", errors="replace", delete=False
        ) as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:  # a full disk
        return f"{told}; --debug shows its trace"
    return f"{told}; its trace is in {file.name}"


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    # torch.OutOfMemoryError by its name: torch takes a second to import
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if out_of_memory or "not enough memory" in text:
        return "out of memory: lower --slots, or use --dtype bfloat16"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return text


def read_prompts(
    arguments: Sequence[str] | None, file: Path | None, *, needed: bool = True
) -> list[str]:
    """Prompts of the command line, then those of the file; its blank lines are passed over.

    ValueError where some are needed and there are none, or the file is not text.
    """
    texts = list(arguments or [])
    if file is not None:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        try:
            texts += [prompt for _, prompt in prompt_lines(io.BytesIO(raw))]
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 text: {error}") from error
    if not texts and needed:
        raise ValueError("no prompts: give some as arguments or with --prompts-file")
    return texts


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f} images/s" if task.speed else "")


def was_given(context: typer.Context, name: str) -> bool:
    """Whether the user gave an option, instead of leaving it to its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def refuse(context: typer.Context, options: Sequence[str], why: str) -> None:
    """ValueError where some of these options were given, which would change nothing."""
    given = [f"--{name.replace('_', '-')}" for name in options if was_given(context, name)]
    if given:
        raise ValueError(f"{why}: leave out {', '.join(given)}")


def quiet_transformers() -> None:
    """One bar at a time, and it is ours; downloads from the hub keep theirs."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def show(report: Any, table: "Table", *, as_json: bool) -> None:
    """A report on stdout, for programs or for people."""
    if as_json:
        typer.echo(json.dumps(report))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(table)


def progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
    return Progress(*columns, TimeRemainingColumn(), console=screen)
