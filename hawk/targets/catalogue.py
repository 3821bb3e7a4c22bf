"""Catalogue: published models that Hawk can load, and what to expect of each.

Any other checkpoint of a family loads as well; these are the ones worth naming.
"""

from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table

from hawk.cache import Layout
from hawk.grid import Grid
from hawk.sampler import SamplerConfig
from hawk.targets import FAMILIES, room

REAL, TOY = "real weights", "toy size only"
PROMPT_TOKENS = 128  # assumed for the memory of an image in flight
HALF_BYTES = 2  # bfloat16
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published model.

    Attributes:
        name: for people.
        checkpoint: what `--model` takes, or what `hawk convert` reads where `convert` names a
            converter.
        family: key of `FAMILIES`.
        billions: parameters, all parts that are loaded.
        grid, pixels: (height, width) at its usual size.
        guidance, sampler: defaults of its own generation_config; None is the family's.
        vocabulary: image tokens.
        hidden, intermediate: widths of the decoder.
        layers, heads, head_size: what the decoder stores for one token.
        tried: `REAL` or `TOY`: whether it was run, or its family with small random weights only.
    """

    name: str
    checkpoint: str
    family: str
    billions: float
    grid: tuple[int, int]
    pixels: tuple[int, int]
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    head_size: int
    convert: str | None = None
    guidance: float | None = None
    sampler: SamplerConfig | None = None
    tried: str = TOY

    @property
    def slug(self) -> str:
        """The name as one word of a command line."""
        return self.name.lower().replace(" ", "-")

    @property
    def weights_gib(self) -> float:
        """In bfloat16."""
        return self.billions * 1e9 * HALF_BYTES / GIB

    @property
    def image_gib(self) -> float:
        """Keys and values of one image in flight, with guidance, in bfloat16."""
        layout = Layout(
            layers=self.layers,
            heads=self.heads,
            head_size=self.head_size,
            dtype=torch.bfloat16,
            device=torch.device("cpu"),
        )
        height, width = self.grid
        grid, row_ends = Grid(height=height, width=width), self.family in room.ROW_ENDS
        return room.image_bytes(layout, grid, row_ends=row_ends, prompt=PROMPT_TOKENS) / GIB


CATALOGUE = (
    Entry(
        name="emoji",
        checkpoint="emoji",
        family="janus",
        billions=0.0144,
        grid=(16, 16),
        pixels=(64, 64),
        vocabulary=1024,
        hidden=384,
        intermediate=1024,
        layers=6,
        heads=6,
        head_size=64,
        guidance=3.0,
        sampler=SamplerConfig(top_p=0.85),
        tried=REAL,
    ),
    Entry(
        name="Janus-Pro 1B",
        checkpoint="deepseek-community/Janus-Pro-1B",
        family="janus",
        billions=2.1,
        grid=(24, 24),
        pixels=(384, 384),
        vocabulary=16384,
        hidden=2048,
        intermediate=5632,
        layers=24,
        heads=16,
        head_size=128,
    ),
    Entry(
        name="Janus-Pro 7B",
        checkpoint="deepseek-community/Janus-Pro-7B",
        family="janus",
        billions=7.4,
        grid=(24, 24),
        pixels=(384, 384),
        vocabulary=16384,
        hidden=4096,
        intermediate=11008,
        layers=30,
        heads=32,
        head_size=128,
    ),
    Entry(
        name="Emu3-Gen 8B",
        checkpoint="BAAI/Emu3-Gen-hf",
        family="emu3",
        billions=8.8,
        grid=(90, 90),
        pixels=(720, 720),
        vocabulary=32768,
        hidden=4096,
        intermediate=14336,
        layers=32,
        heads=8,
        head_size=128,
    ),
    Entry(
        name="Lumina-mGPT 7B",
        checkpoint="Alpha-VLLM/Lumina-mGPT-7B-768",
        family="lumina_mgpt",
        billions=7.1,
        grid=(48, 48),
        pixels=(768, 768),
        vocabulary=8192,
        hidden=4096,
        intermediate=11008,
        layers=32,
        heads=32,
        head_size=128,
        convert="lumina",
    ),
    Entry(
        name="Anole 7B",
        checkpoint="leloy/Anole-7b-v0.1-hf",
        family="chameleon",
        billions=7.1,
        grid=(32, 32),
        pixels=(512, 512),
        vocabulary=8192,
        hidden=4096,
        intermediate=11008,
        layers=32,
        heads=32,
        head_size=128,
        convert="anole",
    ),
    Entry(
        name="LlamaGen T2I XL",
        checkpoint="t2i_XL_stage2_512.pt",
        family="llamagen",
        billions=2.1,
        grid=(32, 32),
        pixels=(512, 512),
        vocabulary=16384,
        hidden=1280,
        intermediate=3584,
        layers=36,
        heads=20,
        head_size=64,
        convert="llamagen",
    ),
)


def find(slug: str) -> Entry:
    """The entry of a name such as `janus-pro-7b`; ValueError lists those that exist."""
    for entry in CATALOGUE:
        if entry.slug == slug:
            return entry
    known = ", ".join(entry.slug for entry in CATALOGUE)
    raise ValueError(f"no published model {slug!r}: give one of {known}")


def report() -> list[dict[str, Any]]:
    """The catalogue, ready for JSON."""
    made = []
    for entry in CATALOGUE:
        family = FAMILIES[entry.family]
        sampler = entry.sampler or family.default_sampler
        made.append(
            {
                "name": entry.name,
                "checkpoint": entry.checkpoint,
                "convert": entry.convert,
                "family": entry.family,
                "grid": list(entry.grid),
                "pixels": list(entry.pixels),
                "guidance": entry.guidance or family.default_guidance,
                "temperature": sampler.temperature,
                "top_k": sampler.top_k,
                "top_p": sampler.top_p,
                "weights_gib": round(entry.weights_gib, 2),
                "image_gib": round(entry.image_gib, 3),
                "tried": entry.tried,
            }
        )
    return made


def table() -> Table:
    """The catalogue for people."""
    heads = ("model", "checkpoint", "pixels", "grid", "defaults", "GiB", "+ an image", "tried with")
    title = (
        f"Memory in bfloat16: weights, and each image in flight, with guidance and prompts of up "
        f"to {PROMPT_TOKENS} tokens"
    )
    shown = Table(*heads, title=title)
    for entry in report():
        height, width = entry["pixels"]
        rows, columns = entry["grid"]
        source = entry["checkpoint"]
        if entry["convert"]:
            source += f" (hawk convert {entry['convert']})"
        shown.add_row(
            entry["name"],
            source,
            f"{width}x{height}",
            f"{columns}x{rows}",
            _defaults(entry),
            f"{entry['weights_gib']:.2f}",
            f"{entry['image_gib']:.2f}",
            entry["tried"],
        )
    return shown


def _defaults(entry: dict[str, Any]) -> str:
    parts = [f"cfg {entry['guidance']:g}", f"T {entry['temperature']:g}"]
    parts += [f"top-k {entry['top_k']}"] if entry["top_k"] else []
    parts += [f"top-p {entry['top_p']:g}"] if entry["top_p"] < 1 else []
    return ", ".join(parts)
