"""What Hawk makes of the files that an official loop left, and how far the two agree.

Letters: T tokens, V vocabulary.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.official import chameleon_layout, emu3_layout, janus_layout
from benchmarks.official.theirs import RECORD
from hawk import Pipeline, SamplerConfig
from hawk.decoding.target import Target
from hawk.decoding.tree import Shapes, Tree
from hawk.targets import load_target
from hawk.targets.convert import convert

Loader = Callable[[tuple[int, int]], Target]  # by (height, width) in pixels
CPU = torch.device("cpu")
LAW_TOLERANCE = 1e-4  # of a probability, float32 on both sides
PIXEL_TOLERANCE = 1.01  # of 255: official code rounds down
TEMPLATE = (
    "{% for turn in messages %}<|User|>: {{ turn['content'][0]['text'] | trim }}\n\n{% endfor %}"
    "<|Assistant|>:"
)
GREEDY = SamplerConfig(temperature=0.0)


def compare(family: str, folder: Path) -> dict[str, Any]:
    """Whether prompts, laws, tokens and pixels agree, with the largest differences."""
    record = torch.load(folder / RECORD, weights_only=True)
    load, guidance = LOADERS[family](folder), record["guidance"]
    found: dict[str, Any] = {
        "prompts_differ": 0,
        "law_difference": 0.0,
        "tokens": 0,
        "plain_tokens_differ": 0,
        "jacobi_tokens_differ": 0,
        "pixel_difference": 0.0,
    }
    for image in record["images"]:
        target = load(tuple(image["pixels"].shape[:2]))
        found["guidance"] = [guidance, target.default_guidance]
        found["sampler_equal"] = target.default_sampler == SamplerConfig(**record["sampler"])
        prompt, tokens_T = image["prompt"], image["tokens_T"]
        found["prompts_differ"] += target.encode(prompt)[0] != image["row"]
        laws = _laws(target, prompt, tokens_T.tolist(), guidance)
        found["law_difference"] = _worse(found["law_difference"], laws, image["laws_TV"])
        found["tokens"] += len(tokens_T)
        for drafter in ("plain", "jacobi"):
            made = _tokens(target, prompt, guidance, drafter)
            found[f"{drafter}_tokens_differ"] += int((made != tokens_T).sum())
        pixels = target.pixels(tokens_T[None])[0].float()
        found["pixel_difference"] = _worse(found["pixel_difference"], pixels, image["pixels"])
    for text, row in record["spelled"].items():  # of the size of the first image
        target = load(tuple(record["images"][0]["pixels"].shape[:2]))
        found["prompts_differ"] += target.encode(text)[0] != row
    agrees = (
        not any(found[f"{name}_differ"] for name in ("prompts", "plain_tokens", "jacobi_tokens"))
        and found["guidance"][0] == found["guidance"][1]
        and found["sampler_equal"]
        and found["law_difference"] < LAW_TOLERANCE
        and found["pixel_difference"] < PIXEL_TOLERANCE
    )
    return found | {"agrees": agrees}


def _worse(before: float, ours: Tensor, official: Tensor) -> float:
    return max(before, (ours - official).abs().max().item())


@torch.inference_mode()
def _laws(target: Target, prompt: str, tokens: list[int], guidance: float) -> Tensor:
    """Probabilities [T, V] of each image token after those before it, which are a draft of one
    pass."""
    cache = target.new_cache(slots=1, branches=2, nodes=len(tokens))
    scale = torch.tensor([guidance])
    first = target.prefill([target.encode(prompt)], range(1), scale, cache)
    tree = Tree(
        shapes=Shapes.chain(len(tokens) - 2, CPU),
        shape_B=torch.zeros(1, dtype=torch.int64),
        tokens_BN=torch.tensor([tokens[:-1]]),
    )
    rest = target.forward(tree, scale, cache)
    return torch.cat([first.logits_BNV[0], rest.logits_BNV[0]]).softmax(-1)


def _tokens(target: Target, prompt: str, guidance: float, drafter: str) -> Tensor:
    pipeline = Pipeline(target, drafter=drafter, rule="coupled", slots=1)
    result = pipeline([prompt], seed=0, guidance=guidance, sampler=GREEDY)
    return torch.tensor(result.pictures[0].tokens)


def _one(folder: Path) -> Loader:
    """Of a family whose images have one size."""
    target = load_target(str(folder), dtype=torch.float32, device=CPU)
    return lambda _: target


def _sized(folder: Path) -> Loader:
    return lambda size: load_target(str(folder), dtype=torch.float32, device=CPU, size=size)


def _janus(folder: Path) -> Loader:
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "mlp_ratio": 1}
    vq = {"channel_multiplier": [1, 1], "latent_channels": 32}
    janus_layout.convert(
        folder,
        folder / "converted",
        vision=vision | {"image_size": 12, "patch_size": 2},
        vq=vq,
    )
    (folder / "converted" / "chat_template.jinja").write_text(TEMPLATE)
    return _one(folder / "converted")


def _llamagen(folder: Path) -> Loader:
    convert(
        "llamagen",
        folder / "gpt.pt",
        folder / "converted",
        vq=folder / "vq.pt",
        size="80x80",
        text_encoder=str(folder / "text_encoder"),
    )
    return _one(folder / "converted")


def _emu3(folder: Path) -> Loader:
    emu3_layout.convert(folder, folder / "converted")
    return _sized(folder / "converted")


def _lumina(folder: Path) -> Loader:
    vqgan = folder / "ckpts" / "chameleon" / "tokenizer" / "vqgan.ckpt"
    convert("lumina", folder, folder / "converted", vq=vqgan, size="64x96", text_encoder="")
    return _sized(folder / "converted")


def _anole(folder: Path) -> Loader:
    vqgan, hub = folder / "vqgan.ckpt", folder / "hf"
    chameleon_layout.convert(folder, hub)
    convert("anole", hub, folder / "converted", vq=vqgan, size=None, text_encoder="")
    return _one(folder / "converted")


LOADERS: dict[str, Callable[[Path], Loader]] = {
    "janus": _janus,
    "llamagen": _llamagen,
    "emu3": _emu3,
    "lumina": _lumina,
    "anole": _anole,
}
