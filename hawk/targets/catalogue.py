"""Catalogue: published models that Hawk loads, with their memory and default settings.

Other checkpoints of the same families load as well.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table

from hawk.decoding.cache import Layout
from hawk.decoding.grid import Grid
from hawk.decoding.sampler import SamplerConfig
from hawk.targets import FAMILIES, kv_memory
from hawk.targets.memory_estimate import FULL_BYTES, GIB, HALF_BYTES, decoding_bytes

REAL, TOY = "real weights", "toy size only"
PROMPT_TOKENS = 128  # assumed for the memory of an image in flight
# float32 numbers for each image, node of a pass and image token: laws, noise, masks.
PASS_NUMBERS = 10
IMAGES = (1, 8)  # numbers of images in flight whose memory is reported


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One published model.

    Attributes:
        name: Name for people.
        checkpoint: Value of `--model`, or input of `hawk convert` where `convert` names a
            converter.
        family: Key of `FAMILIES`.
        billions: Billions of weights, in half precision, without the image tokenizer.
        tokenizer_millions: Millions of weights of the image tokenizer, which are float32.
        channels: Channels of the last block of the decoder of pixels.
        grid, pixels: (height, width) at its usual size.
        vocabulary: Number of image tokens.
        hidden: Size of the decoder's hidden states.
        intermediate: Width of its gated product.
        layers, heads, head_size: Layers, heads of keys, and numbers of a head.
        convert: Converter of its checkpoint; None where it loads as it is.
        guidance, sampler: Defaults of its own generation_config; None is the family's.
        tried: `REAL` where it was run, `TOY` where its family was run with random weights.
    """

    name: str
    checkpoint: str
    family: str
    billions: float
    tokenizer_millions: float
    channels: int
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
        """Name as one word of a command line."""
        return self.name.lower().replace(" ", "-")

    @property
    def weights_gib(self) -> float:
        """GiB of the weights, in bfloat16 except for the image tokenizer."""
        return (self.billions * 1e9 * HALF_BYTES + self.tokenizer_millions * 1e6 * FULL_BYTES) / GIB

    @property
    def decoding_gib(self) -> float:
        """Peak GiB of decoding one image to pixels."""
        family = FAMILIES[self.family]
        return decoding_bytes(family, self.channels, math.prod(self.pixels)) / GIB

    def peak_gib(self, images: int) -> float:
        """Peak GiB with `images` images in flight, guidance included."""
        passes = images * kv_memory.NODES * self.vocabulary * PASS_NUMBERS * FULL_BYTES / GIB
        return self.weights_gib + images * self.image_gib + max(passes, self.decoding_gib)

    @property
    def image_gib(self) -> float:
        """GiB of the keys and values of one image in flight, with guidance, in bfloat16."""
        layout = Layout(
            layers=self.layers,
            heads=self.heads,
            head_size=self.head_size,
            dtype=torch.bfloat16,
            device=torch.device("cpu"),
        )
        height, width = self.grid
        grid, row_ends = Grid(height=height, width=width), self.family in kv_memory.ROW_ENDS
        return kv_memory.image_bytes(layout, grid, row_ends=row_ends, prompt=PROMPT_TOKENS) / GIB


CATALOGUE = (
    CatalogueEntry(
        name="emoji",
        checkpoint="emoji",
        family="janus",
        billions=0.013307,
        tokenizer_millions=1.4185,
        channels=32,
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
    CatalogueEntry(
        name="Janus-Pro 1B",
        checkpoint="deepseek-community/Janus-Pro-1B",
        family="janus",
        billions=2.0383,
        tokenizer_millions=71.883,
        channels=128,
        grid=(24, 24),
        pixels=(384, 384),
        vocabulary=16384,
        hidden=2048,
        intermediate=5632,
        layers=24,
        heads=16,
        head_size=128,
    ),
    CatalogueEntry(
        name="Janus-Pro 7B",
        checkpoint="deepseek-community/Janus-Pro-7B",
        family="janus",
        billions=7.403,
        tokenizer_millions=71.883,
        channels=128,
        grid=(24, 24),
        pixels=(384, 384),
        vocabulary=16384,
        hidden=4096,
        intermediate=11008,
        layers=30,
        heads=32,
        head_size=128,
    ),
    CatalogueEntry(
        name="Emu3-Gen 8B",
        checkpoint="BAAI/Emu3-Gen-hf",
        family="emu3",
        billions=8.492,
        tokenizer_millions=270.74,
        channels=256,
        grid=(90, 90),
        pixels=(720, 720),
        vocabulary=32768,
        hidden=4096,
        intermediate=14336,
        layers=32,
        heads=8,
        head_size=128,
    ),
    CatalogueEntry(
        name="Lumina-mGPT 7B",
        checkpoint="Alpha-VLLM/Lumina-mGPT-7B-768",
        family="lumina_mgpt",
        billions=7.0137,
        tokenizer_millions=70.881,
        channels=128,
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
    CatalogueEntry(
        name="Anole 7B",
        checkpoint="leloy/Anole-7b-v0.1-hf",
        family="chameleon",
        billions=7.0137,
        tokenizer_millions=70.881,
        channels=128,
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
    CatalogueEntry(
        name="LlamaGen T2I XL",
        checkpoint="t2i_XL_stage2_512.pt",
        family="llamagen",
        billions=2.0015,
        tokenizer_millions=71.883,
        channels=128,
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


def find(slug: str) -> CatalogueEntry:
    """Entry of a name such as `janus-pro-7b`. ValueError, with all names, where there is none."""
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
                "decoding_gib": round(entry.decoding_gib, 2),
                "peak_gib": {str(images): round(entry.peak_gib(images), 2) for images in IMAGES},
                "tried": entry.tried,
            }
        )
    return made


def table() -> Table:
    """The catalogue for people."""
    heads = ("model", "checkpoint", "pixels", "grid", "defaults", "weights", "+ an image")
    peaks = [f"peak of {images}" for images in IMAGES]
    title = (
        f"GiB in bfloat16, image tokenizers float32; images in flight with guidance and prompts of "
        f"up to {PROMPT_TOKENS} tokens"
    )
    shown = Table(*heads, *peaks, "tried with", title=title)
    shown.columns[1].no_wrap = True
    for entry in report():
        height, width = entry["pixels"]
        rows, columns = entry["grid"]
        source = entry["checkpoint"]
        if entry["convert"]:
            source += f"\n(hawk convert {entry['convert']})"
        shown.add_row(
            entry["name"],
            source,
            f"{width}x{height}",
            f"{columns}x{rows}",
            _defaults(entry),
            f"{entry['weights_gib']:.2f}",
            f"{entry['image_gib']:.2f}",
            *(f"{peak:.1f}" for peak in entry["peak_gib"].values()),
            entry["tried"],
        )
    return shown


def _defaults(entry: dict[str, Any]) -> str:
    parts = [f"cfg {entry['guidance']:g}", f"T {entry['temperature']:g}"]
    parts += [f"top-k {entry['top_k']}"] if entry["top_k"] else []
    parts += [f"top-p {entry['top_p']:g}"] if entry["top_p"] < 1 else []
    return ", ".join(parts)
