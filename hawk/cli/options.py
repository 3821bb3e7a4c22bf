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

from hawk.prompts.lines import prompt_lines

if TYPE_CHECKING:
    from rich.table import Table

USAGE_ERRORS = (ValueError, FileNotFoundError, PermissionError, FileExistsError, NotADirectoryError)
screen = Console(stderr=True)  # for people; stdout is for results

_MODEL = "Embedded model, folder, or hub id, as id or id@revision."
_SLOTS = "Images in flight at most."
_PROMPT_LIMIT = "Longest prompt in tokens; memory grows with the prompts that are there."
_DEVICE = "auto, cpu, cuda, ...; cuda:0,cuda:1 divides the layers of a model among them."
_DTYPE = "auto, float32, bfloat16 or float16."
_COMPILE = "Compile the model's layers: faster passes on a GPU after half a minute; for long work."
_DETERMINISTIC = (
    "Pad every pass to one shape, so that half precision rounds alike whatever drafts; slower."
)
_PLACEMENT = (
    "colocated, or pair: the drafter in a process or on a GPU of its own (needs Ray); parameters "
    "as in pair:lanes=2:draft_gpus=0.5."
)

ModelOption = Annotated[str, typer.Option(help=_MODEL)]
DrafterOption = Annotated[str, typer.Option(help="auto, a name, or the folder of a trained one.")]
RuleOption = Annotated[
    str,
    typer.Option(
        help="coupled, residual, typical, neighbour or cluster; parameters as in typical:delta=0.2."
    ),
]
DeterministicOption = Annotated[bool, typer.Option("--deterministic", help=_DETERMINISTIC)]
PlacementOption = Annotated[str, typer.Option(help=_PLACEMENT)]
SlotsOption = Annotated[int, typer.Option(help=_SLOTS)]
PromptLimitOption = Annotated[
    int | None, typer.Option(help=_PROMPT_LIMIT, show_default="512, or the model's")
]
DeviceOption = Annotated[str, typer.Option(help=_DEVICE)]
DtypeOption = Annotated[str, typer.Option(help=_DTYPE)]
CompileOption = Annotated[bool, typer.Option("--compile", help=_COMPILE)]
SeedOption = Annotated[int, typer.Option(help="Seed of the first image of every prompt.")]
GuidanceOption = Annotated[
    float | None, typer.Option(help="Classifier-free guidance, 1 is none.", show_default="model's")
]
NegativeOption = Annotated[
    str | None, typer.Option(help="What to lead away from (Emu3).", show_default="model's")
]
SizeOption = Annotated[
    str | None,
    typer.Option(help="WIDTHxHEIGHT in pixels (Emu3, Lumina-mGPT).", show_default="model's"),
]
TemperatureOption = Annotated[
    float | None, typer.Option(help="0 takes the likeliest token.", show_default="model's")
]
TopKOption = Annotated[
    int | None, typer.Option(help="Keep the k likeliest tokens, 0 all.", show_default="model's")
]
TopPOption = Annotated[
    float | None, typer.Option(help="Keep the likeliest mass p.", show_default="model's")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Last line of stdout is a JSON object.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]

# The same where a file of settings speaks first; what is shown is the default of that file.
FileModelOption = Annotated[str | None, typer.Option(help=_MODEL, show_default="emoji")]
FileSlotsOption = Annotated[int | None, typer.Option(help=_SLOTS, show_default="16")]
FileDeviceOption = Annotated[str | None, typer.Option(help=_DEVICE, show_default="auto")]
FilePlacementOption = Annotated[str | None, typer.Option(help=_PLACEMENT, show_default="colocated")]
FileCompileOption = Annotated[
    bool | None, typer.Option("--compile", help=_COMPILE, show_default="no")
]
FileDtypeOption = Annotated[str | None, typer.Option(help=_DTYPE, show_default="auto")]


@contextlib.contextmanager
def errors_reported(*, debug: bool) -> Generator[None, None, None]:
    """A sentence a mistake on stderr: exit 2 for what the user gave, 1 for what went wrong.

    What nobody expected is a sentence too, with a file that has the trace.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
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


def refuse(context: typer.Context, options: Sequence[str], why: str) -> None:
    """ValueError where some of these options were given, which would change nothing."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in options
        if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"
    ]
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
