"""What Hawk makes of the files that an official loop left, and how far the two agree.

Letters: I images, T tokens, V vocabulary.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.official import janus_layout
from hawk import Pipeline, SamplerConfig
from hawk.targets import load_target
from hawk.targets.base import Target
from hawk.tree import Shapes, Tree

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
    record = torch.load(folder / "record.pt", weights_only=True)
    target = LOADERS[family](folder)
    rows = [target.encode(prompt)[0] for prompt in record["prompts"]]
    laws = torch.stack(
        [
            _laws(target, prompt, tokens.tolist(), record["guidance"])
            for prompt, tokens in zip(record["prompts"], record["tokens"], strict=True)
        ]
    )
    law_difference = (laws - record["laws"]).abs().max().item()
    found: dict[str, Any] = {
        "prompts_equal": rows == record["rows"],
        "guidance_equal": target.default_guidance == record["guidance"],
        "law_difference": law_difference,
        "tokens": record["tokens"].numel(),
    }
    good = [found["prompts_equal"], found["guidance_equal"], law_difference < LAW_TOLERANCE]
    for drafter in ("plain", "jacobi"):
        made = _tokens(target, record, drafter)
        found[f"{drafter}_tokens_differ"] = int((made != record["tokens"]).sum())
        good.append(found[f"{drafter}_tokens_differ"] == 0)
    if record["pixels"] is not None:
        pixels = target.pixels(record["tokens"]).float()
        found["pixel_difference"] = (pixels - record["pixels"]).abs().max().item()
        good.append(found["pixel_difference"] < PIXEL_TOLERANCE)
    return found | {"agrees": all(good)}


@torch.inference_mode()
def _laws(target: Target, prompt: str, tokens: list[int], guidance: float) -> Tensor:
    """Probabilities [T, V] of each image token after those before it."""
    cache = target.new_cache(slots=1, branches=2, nodes=1)
    scale = torch.tensor([guidance])
    logits = [target.prefill([target.encode(prompt)], [0], scale, cache).logits_BNV[0, 0]]
    shapes, first = Shapes.chain(0, CPU), torch.zeros(1, dtype=torch.int64)
    for token in tokens[:-1]:
        tree = Tree(shapes=shapes, shape_B=first, tokens_BN=torch.tensor([[token]]))
        logits.append(target.forward(tree, scale, cache).logits_BNV[0, 0])
        cache.keep(shapes.path_TND[first, 0], [1], move=False)
    return torch.stack(logits).softmax(-1)


def _tokens(target: Target, record: dict[str, Any], drafter: str) -> Tensor:
    pipeline = Pipeline(target, drafter=drafter, rule="coupled", slots=2)
    result = pipeline(record["prompts"], seed=0, guidance=record["guidance"], sampler=GREEDY)
    return torch.tensor([picture.tokens for picture in result.pictures])


def _load(folder: Path, **settings: Any) -> Target:
    return load_target(str(folder), dtype=torch.float32, device=CPU, **settings)


def _janus(folder: Path) -> Target:
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "mlp_ratio": 1}
    vq = {"channel_multiplier": [1, 1], "latent_channels": 32}
    janus_layout.convert(
        folder,
        folder / "converted",
        vision=vision | {"image_size": 12, "patch_size": 2},
        vq=vq,
    )
    (folder / "converted" / "chat_template.jinja").write_text(TEMPLATE)
    return _load(folder / "converted")


LOADERS: dict[str, Callable[[Path], Target]] = {
    "janus": _janus,
}
