"""Catalogue: what it says is what the code does, where that can be checked without a download."""

import torch

from hawk.targets import EMBEDDED, FAMILIES, catalogue, chameleon, emu3, load_target, memory
from hawk.targets.janus import Janus
from hawk.targets.source import Source


def entry(name: str) -> catalogue.Entry:
    return next(found for found in catalogue.CATALOGUE if found.name == name)


def test_every_family_is_in_it() -> None:
    assert {entry.family for entry in catalogue.CATALOGUE} == set(FAMILIES)


def test_only_the_embedded_model_was_run_with_its_weights() -> None:
    tried = {entry.name for entry in catalogue.CATALOGUE if entry.tried == catalogue.REAL}
    assert tried == {"emoji"}


def test_default_sizes_are_those_of_the_families() -> None:
    assert entry("Emu3-Gen 8B").pixels == emu3.SIZE
    assert entry("Lumina-mGPT 7B").pixels == chameleon.LUMINA_SIZE


def test_the_embedded_model_is_as_described() -> None:
    described, cpu = entry("emoji"), torch.device("cpu")
    target = load_target("emoji", dtype=torch.float32, device=cpu)
    assert isinstance(target, Janus)
    assert (target.grid.height, target.grid.width) == described.grid
    assert target.default_guidance == described.guidance
    assert target.default_sampler == described.sampler
    layout = target.layout
    assert (layout.layers, layout.heads, layout.head_size) == (
        described.layers,
        described.heads,
        described.head_size,
    )
    source = Source(
        location=EMBEDDED["emoji"],
        name="emoji",
        revision=None,
        size=None,
        dtype=torch.float32,
        device=cpu,
    )
    numbers = memory.weights_in(source)
    assert numbers is not None
    assert abs(numbers / 1e9 - described.billions) < 0.0001


def test_the_report_has_a_line_for_each_model() -> None:
    report = catalogue.report()
    assert len(report) == catalogue.table().row_count == len(catalogue.CATALOGUE)
    anole = next(line for line in report if line["name"] == "Anole 7B")
    assert (anole["guidance"], anole["temperature"], anole["top_p"]) == (3.0, 0.7, 0.9)
    assert anole["convert"] == "anole"
