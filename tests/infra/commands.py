"""Command lines as a shell would split them, and whether the programs that they call take them.

Nothing is run: `hawk` and `ray` parse their options as they would, `aws` is held against the models
that boto3 has of Amazon's services.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import botocore.session
import click
import typer

from hawk.cli.app import app

# Typer has a click of its own, and a name for its usage errors only by way of one of them.
USAGE_ERRORS: Any = (click.UsageError, typer.BadParameter.__bases__[0])
SEPARATORS = frozenset({"&&", "||", "|", ";", "&"})


def syntax_error(text: str) -> str:
    """What bash has against a script; empty where it is well formed."""
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    return done.stderr


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a line and of its $(...), without assignments before them."""
    while inner := re.search(r"\$\(([^()]*)\)", line):
        yield from simple_commands(inner[1])
        line = line.replace(inner[0], "VALUE")
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in SEPARATORS:
            if words:
                yield words
            words = []
        elif words[-1:] == [">"]:
            words.pop()  # a redirection and its file
        elif words or not (word == "export" or re.match(r"^\w+=", word)):
            words.append(word)


def refusal(words: list[str]) -> str | None:
    """What the program would say to these arguments; None where it takes them."""
    program, *arguments = words
    if program == "hawk":
        return click_refusal(typer.main.get_command(app), arguments)
    if program == "ray":
        from ray.scripts.scripts import cli

        return click_refusal(cli, arguments)
    if program == "aws":
        return aws_refusal(arguments)
    return None


def click_refusal(command: Any, arguments: list[str]) -> str | None:
    """The usage error of a click command, or of the one below it that the arguments name."""
    while below := getattr(command, "commands", None):
        if not arguments or arguments[0] not in below:
            return f"no command {arguments[:1]} of {sorted(below)}"
        command, arguments = below[arguments[0]], arguments[1:]
    try:
        command.make_context(command.name, list(arguments))
    except USAGE_ERRORS as error:
        return str(error)
    return None


def aws_refusal(arguments: list[str]) -> str | None:
    """What the AWS CLI would have against an operation and its options' names."""
    service, operation, *rest = arguments
    model = botocore.session.get_session().get_service_model(service)
    operations: Any = model.operation_names
    names = {_kebab(name): name for name in operations}
    if operation not in names:
        return f"{service} has no operation {operation}"
    shape: Any = model.operation_model(names[operation]).input_shape
    known = {_kebab(name) for name in (shape.members if shape else ())}
    known |= {"output", "query", "region"}
    options = {word.removeprefix("--") for word in rest if word.startswith("--")}
    required = {_kebab(name) for name in (shape.required_members if shape else ())}
    if options - known or required - options:
        return f"unknown {sorted(options - known)}, missing {sorted(required - options)}"
    return None


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()
