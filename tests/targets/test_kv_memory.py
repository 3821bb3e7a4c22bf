"""Room: what is told of keys and values before a model is loaded is what its cache takes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hawk.decoding.cache import PROMPT_STEP, Cache, Layout, Room
from hawk.drafters import DRAFTERS
from hawk.targets import EMBEDDED, catalogue, kv_memory, load_target, memory_estimate
from hawk.targets.row_ends import image_entries
from tests.targets.test_end_to_end import hawk, published

CPU, META = torch.device("cpu"), torch.device("meta")
SIZES = {"emu3": (10, 8), "lumina": (32, 64)}


def cache_bytes(cache: Cache) -> int:
    return sum(memory.nbytes for memory in cache._layers)


@pytest.mark.parametrize("family", ["janus", "emu3", "anole", "lumina", "llamagen"])
def test_it_is_told_from_a_configuration(family: str, tmp_path: Path) -> None:
    folder = EMBEDDED["emoji"] if family == "janus" else tmp_path / "converted"
    if family != "janus" and (conversion := published(family, tmp_path)):
        hawk("convert", *conversion)
    size = SIZES.get(family)
    target: Any = load_target(str(folder), dtype=torch.bfloat16, device=CPU, size=size)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told = kv_memory.least_image_bytes(config, size, torch.bfloat16)
    for slots in (1, 3):
        cache = target.new_cache(slots=slots, branches=2, nodes=kv_memory.NODES)
        assert cache_bytes(cache) == slots * told


@pytest.mark.parametrize("entry", catalogue.CATALOGUE, ids=lambda entry: entry.slug)
@pytest.mark.parametrize("images", [1, 8])
def test_published_models_take_what_is_listed(entry: catalogue.CatalogueEntry, images: int) -> None:
    """On the meta device, with a prompt of `PROMPT_TOKENS` in the last slot."""
    layout = Layout(
        layers=entry.layers, heads=entry.heads, head_size=entry.head_size,
        dtype=torch.bfloat16, device=CPU, layer_devices=(META,) * entry.layers,
    )  # fmt: skip
    cells, rows = entry.grid[0] * entry.grid[1], entry.grid[0]
    ends = rows + kv_memory.NODES if entry.family in kv_memory.ROW_ENDS else 0
    behind = Room(prompt_limit=512, image=cells + kv_memory.NODES + ends)
    cache = Cache(layout, slots=images, branches=2, room=behind)
    cache.begin_prompts(range(images - 1, images), torch.full((1, 2), catalogue.PROMPT_TOKENS))
    assert cache_bytes(cache) / catalogue.GIB == pytest.approx(images * entry.image_gib)


def test_janus_pro_with_eight_images_fits_a_card_of_24_gigabytes() -> None:
    """Room for every position of the model would take 120 GiB."""
    entry = catalogue.find("janus-pro-7b")
    assert 4 < 8 * entry.image_gib < 8


def test_the_largest_tree_is_that_of_a_drafter() -> None:
    assert max(drafter.most_nodes for drafter in DRAFTERS.values()) == kv_memory.NODES


def test_images_in_flight_count_before_loading(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = sum(file.stat().st_size for file in tiny_folder.glob("*.safetensors"))
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda _: weights + 4 * 2**20)
    load_target(str(tiny_folder), dtype=torch.float32, device=CPU, slots=2)
    with pytest.raises(ValueError, match=r"keys and values \(100 in flight\) .* fewer --slots"):
        load_target(str(tiny_folder), dtype=torch.float32, device=CPU, slots=100)


def test_the_prompt_limit_can_be_set(tiny_folder: Path) -> None:
    def load(limit: int | None) -> Any:
        return load_target(str(tiny_folder), dtype=torch.float32, device=CPU, prompt_limit=limit)

    most = load(None).prompt_limit
    assert load(7).prompt_limit == 7
    with pytest.raises(ValueError, match="reads up to 7"):
        load(7).encode("a red apple " * 5)
    for limit in (0, most + 1):
        with pytest.raises(ValueError, match=f"must be from 1 to {most} tokens, got {limit}"):
            load(limit)


def test_every_node_may_end_a_row() -> None:
    grid = load_target("emoji", dtype=torch.float32, device=CPU).grid
    assert image_entries(grid, 5, row_ends=False) == grid.cells + 5
    assert image_entries(grid, 5, row_ends=True) == grid.cells + grid.height + 10
    assert Room(prompt_limit=512, image=0).capacity(PROMPT_STEP + 1) == 2 * PROMPT_STEP
