"""What a run of official code needs: its functions without its scripts, and a record of its loop.

These modules run under an interpreter with the packages of the official code, in a process of their
own, and import nothing of Hawk. Letters: R rows, T tokens,
V vocabulary.
"""

import ast
import importlib.abc
import importlib.machinery
import inspect
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

RECORD = "record.pt"


class Recorder:
    """Stands in for the sampler: takes the most probable token and keeps what it was taken from.

    Attributes:
        laws: probabilities [R, V] of every call.
        forced: tokens of the first calls, whatever their laws.
    """

    def __init__(self) -> None:
        self.begin([])

    def begin(self, forced: list[int], later: dict[int, int] | None = None) -> None:
        """Start anew.

        Args:
            later: more forced tokens, by their call.
        """
        self.laws: list[Tensor] = []
        self.forced = forced
        self._forced = dict(enumerate(forced)) | (later or {})

    def __call__(self, probs: Tensor, num_samples: int = 1, **_: object) -> Tensor:
        call = len(self.laws)
        self.laws.append(probs.detach().float().clone())
        if call in self._forced:
            return torch.full((len(probs), 1), self._forced[call])
        return probs.argmax(-1, keepdim=True)


def record_multinomial() -> Recorder:
    """Replaces `torch.multinomial` in this process."""
    recorder = Recorder()
    torch.multinomial = recorder  # type: ignore[assignment]
    return recorder


def on_cpu() -> None:
    """Makes `.cuda()`, and devices called "cuda", mean the CPU."""
    for kind in (torch.Tensor, torch.nn.Module):
        kind.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
        kind.to = _elsewhere(kind.to)  # type: ignore[method-assign]
    for name in ("tensor", "arange", "zeros", "full", "ones"):
        setattr(torch, name, _elsewhere(getattr(torch, name)))


def _elsewhere(call: Any) -> Any:
    def called(*args: Any, **given: Any) -> Any:
        args = tuple("cpu" if _is_cuda(value) else value for value in args)
        if _is_cuda(given.get("device")):
            given["device"] = "cpu"
        return call(*args, **given)

    return called


def _is_cuda(value: object) -> bool:
    return isinstance(value, (str, torch.device)) and str(value).startswith("cuda")


def functions(file: Path, *names: str) -> dict[str, Any]:
    """Functions and imports of a script that would load a model where it is imported."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kept: list[ast.stmt] = [
        statement
        for statement in tree.body
        if isinstance(statement, (ast.Import, ast.ImportFrom))
        or (isinstance(statement, ast.FunctionDef) and statement.name in names)
    ]
    found: dict[str, Any] = {"__name__": file.stem}
    exec(compile(ast.Module(kept, []), str(file), "exec"), found)
    return found


def options(file: Path) -> dict[str, Any]:
    """Defaults of a script's command line options, by their names."""
    found = {}
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
            name = ast.literal_eval(call.args[0]).lstrip("-")
            for keyword in call.keywords:
                if keyword.arg == "default" and isinstance(keyword.value, ast.Constant):
                    found[name] = keyword.value.value
    return found


def defaults(function: Any) -> dict[str, Any]:
    """Defaults of a function's parameters."""
    return {name: given.default for name, given in inspect.signature(function).parameters.items()}


class _Anything(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class _Empty(types.ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {"__init__": lambda self, *_, **__: None})


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name.split(".")[0] not in self._names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def absent(*packages: str) -> None:
    """Empty stand-ins for packages that official code imports and does not need to draw."""
    sys.meta_path.insert(0, _Absent(packages))


def spread(model: torch.nn.Module, scales: dict[str, float], seed: int = 0) -> None:
    """Random weights that make laws depend on their context, and neither flat nor sharp.

    Args:
        scales: factor for weights whose name contains a key, on top of 1 / sqrt(inputs).
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.state_dict().items():
        if not weight.is_floating_point() or "running_" in name:  # statistics of batch norms
            continue
        drawn = torch.randn(weight.shape, generator=generator)
        if weight.ndim < 2:  # norms and biases
            drawn = drawn * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        else:
            drawn /= weight[0].numel() ** 0.5
        factor = next((scale for part, scale in scales.items() if part in name), 1.0)
        weight.copy_(drawn * factor)


@dataclass(frozen=True, kw_only=True)
class Image:
    """What the loop made of one prompt.

    Attributes:
        prompt: text of the prompt, as a user of Hawk gives it.
        row: its ids as the model reads them, without guidance.
        tokens_T: image tokens from 0.
        laws_TV: probabilities of image tokens, after guidance.
        pixels: [H, W, 3] from 0 to 255.
    """

    prompt: str
    row: list[int]
    tokens_T: Tensor
    laws_TV: Tensor
    pixels: Tensor


def save(
    out: Path,
    guidance: float,
    sampler: dict[str, float],
    images: Sequence[Image],
    spelled: dict[str, list[int]] | None = None,
) -> None:
    """Write what a loop did.

    Args:
        guidance, sampler: defaults of the official code; the sampler's by the names of
            `hawk.SamplerConfig`.
        spelled: ids of more prompts, of no images.
    """
    record = {"guidance": guidance, "sampler": sampler, "spelled": spelled or {}}
    torch.save(record | {"images": [vars(image) for image in images]}, out / RECORD)
