"""Memory of keys and values, from a model's configuration before anything is loaded."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import ChameleonConfig, Emu3Config, JanusConfig, LlamaConfig

from hawk.decoding.cache import Layout, Room
from hawk.decoding.decoder import layout_of
from hawk.decoding.grid import Grid
from hawk.targets.chameleon import LUMINA_SIZE
from hawk.targets.decoder_target import PROMPT_LIMIT
from hawk.targets.emu3 import SIZE
from hawk.targets.row_ends import image_entries

NODES = 96  # nodes of the largest tree of any drafter
BRANCHES = 2  # rows of an image, with guidance
ROW_ENDS = ("emu3", "lumina_mgpt")  # families that write a token after every row
SIZES = {"emu3": SIZE, "lumina_mgpt": LUMINA_SIZE}
CPU = torch.device("cpu")


def image_bytes(
    layout: Layout, grid: Grid, *, row_ends: bool, prompt: int, prompt_limit: int = PROMPT_LIMIT
) -> int:
    """Bytes of the keys and values of an image in flight, with guidance.

    Args:
        layout: Keys and values of one token.
        grid: Grid of the image.
        row_ends: True where the model writes a token after every row.
        prompt: Tokens of the longest prompt in flight.
        prompt_limit: Tokens of the longest prompt that the target reads.
    """
    room = Room(prompt_limit=prompt_limit, image=image_entries(grid, NODES, row_ends=row_ends))
    return BRANCHES * room.capacity(prompt) * layout.token_bytes


def least_image_bytes(
    config: Mapping[str, Any], size: tuple[int, int] | None, dtype: torch.dtype
) -> int:
    """`image_bytes` with short prompts, of a model that is not loaded yet.

    Args:
        config: Contents of its config.json.
        size: (height, width) of images in pixels; None is the model's own.
        dtype: Type of keys and values.
    """
    family = str(config.get("hawk_family", config["model_type"]))
    row_ends = family in ROW_ENDS
    if family == "llamagen":
        decoder: Any = LlamaConfig(**config)
        grid = Grid(height=config["grid"], width=config["grid"])
    else:
        kind = {"janus": JanusConfig, "emu3": Emu3Config}.get(family, ChameleonConfig)
        whole: Any = kind.from_dict(dict(config))
        decoder = whole.get_text_config()
        grid = _grid(whole.vq_config, size or config.get("hawk_size") or SIZES.get(family))
    most = decoder.max_position_embeddings - image_entries(grid, 0, row_ends=row_ends)
    return image_bytes(
        layout_of(decoder, dtype, CPU),
        grid,
        row_ends=row_ends,
        prompt=1,
        prompt_limit=min(PROMPT_LIMIT, most),
    )


def _grid(vq: Any, size: tuple[int, int] | None) -> Grid:
    patch = 2 ** (len(vq.channel_multiplier) - 1)
    if size is not None:
        return Grid(height=size[0] // patch, width=size[1] // patch)
    cells = vq.num_patches if hasattr(vq, "num_patches") else vq.resolution // patch
    return Grid(height=cells, width=cells)
