"""Command: a function as a command of `hawk`, with an option for every field of its settings."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from hawk.cli.options import DebugOption, errors_reported
from hawk.settings import Setting


class Omit:
    """Fields of a settings class that a command has no options for, as in
    `Annotated[ModelSettings, Omit("slots")]`."""

    def __init__(self, *names: str) -> None:
        self.names = names


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function for typer: parameters of settings classes become options, one a field, whose
    defaults are those of the parameter's own default; what it raises becomes a sentence."""
    signature = inspect.signature(function, eval_str=True)
    groups = {
        name: group
        for name, parameter in signature.parameters.items()
        if (group := _group(parameter)) is not None
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += groups[name].options() if name in groups else [parameter]
    debug = inspect.Parameter("debug", KEYWORD, default=False, annotation=DebugOption)
    parameters = [parameter.replace(kind=KEYWORD) for parameter in parameters] + [debug]

    @functools.wraps(function)
    def run(*, debug: bool, **given: Any) -> None:
        with errors_reported(debug=debug):
            made = {name: group.taken(given) for name, group in groups.items()}
            function(**given, **made)

    # What typer reads.
    run.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


KEYWORD = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Settings with some defaults, but for the fields in `omitted`."""

    default: Any
    omitted: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [field.name for field in fields(self.default) if field.name not in self.omitted]

    def options(self) -> list[inspect.Parameter]:
        kinds = get_type_hints(type(self.default), include_extras=True)
        return [self._option(name, *get_args(kinds[name])) for name in self.names]

    def _option(self, name: str, kind: Any, setting: Setting) -> inspect.Parameter:
        flags = [f"--{name.replace('_', '-')}"] if kind is bool else []  # without its --no- twin
        option = typer.Option(
            *flags,
            help=setting.help,
            show_default=setting.default or True,
            rich_help_panel=type(self.default).__name__.removesuffix("Settings"),
        )
        default = getattr(self.default, name)
        return inspect.Parameter(name, KEYWORD, default=default, annotation=Annotated[kind, option])

    def taken(self, given: dict[str, Any]) -> Any:
        """The settings of some options, which are taken out."""
        return replace(self.default, **{name: given.pop(name) for name in self.names})


def _group(parameter: inspect.Parameter) -> _Group | None:
    kind, marks = parameter.annotation, ()
    if get_origin(kind) is Annotated:
        kind, *marks = get_args(kind)
    if not is_dataclass(kind):
        return None
    omitted = [name for mark in marks if isinstance(mark, Omit) for name in mark.names]
    return _Group(default=parameter.default, omitted=tuple(omitted))
