"""Published models load, as far as that can be known without their weights.

Each is loaded on the meta device from files of its published layout (`facts`), after `hawk convert`
where it needs one. What is compared was read from official code, not from ours.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer

from hawk import SamplerConfig
from hawk.targets import catalogue, chameleon, emu3, kv_memory, llamagen, load_target
from hawk.targets.convert import convert
from hawk.targets.emu3_tokenizer import split_as_trained
from hawk.targets.row_ends import RowEndCache
from tests.targets.facts import FOLDER, Facts, hollow
from tests.tiny_families import save_tiny_chameleon, tokenizer

# Published configurations name settings as transformers did when they were written.
pytestmark = pytest.mark.filterwarnings("ignore:.rope_scaling. is deprecated:FutureWarning")
NAMES = sorted(file.stem for file in FOLDER.glob("*.yaml"))
META = torch.device("meta")
ROW_ENDS = {"emu3": emu3.END_OF_LINE, "lumina_mgpt": chameleon.NEW_LINE}


class Loaded:
    """A published model on the meta device.

    Attributes:
        reports: what transformers said when it read the weights.
        words: its tokenizer.
    """

    def __init__(self, name: str, folder: Path) -> None:
        facts = Facts.read(name)
        self.entry, self.said = catalogue.find(name), facts.said
        facts.save(folder / "published")
        with hollow() as self.reports:
            model = self._converted(folder)
            self.target: Any = load_target(str(model), dtype=torch.bfloat16, device=META)
        own = getattr(self.target, "tokenizer", None)  # that of Emu3 takes seconds to load
        self.words: Any = own or AutoTokenizer.from_pretrained(folder / "published")

    def _converted(self, folder: Path) -> Path:
        published, wanted = folder / "published", self.said.get("convert")
        if wanted is None:
            return published
        assert self.entry.convert is not None
        convert(
            self.entry.convert,
            published / wanted.get("checkpoint", ""),
            folder / "converted",
            vq=published / wanted["vq"],
            size=wanted.get("size"),
            text_encoder=str(published / "text_encoder"),
        )
        return folder / "converted"


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return Loaded(request.param, tmp_path_factory.mktemp("published"))


def test_all_of_the_catalogue_but_the_embedded_model_is_here() -> None:
    assert {entry.slug for entry in catalogue.CATALOGUE} - set(NAMES) == {"emoji"}


def test_every_tensor_is_read_or_known_to_be_of_no_use(model: Loaded) -> None:
    """None that the model has is missing, or of another shape: loading would have failed."""
    assert model.reports
    unread = [name for report in model.reports for name in report["unexpected_keys"]]
    ignored = model.said["ignored"]
    assert [name for name in unread if not any(re.match(part, name) for part in ignored)] == []
    for part in ignored:
        assert any(re.match(part, name) for name in unread), f"{part} is read, or not there"


def test_grid_guidance_and_sampler_are_the_official_ones(model: Loaded) -> None:
    target, official = model.target, model.said["official"]
    assert [target.grid.height, target.grid.width] == official["grid"]
    assert target.default_guidance == official["guidance"]
    assert target.default_sampler == SamplerConfig(**official["sampler"])


def test_prompts_are_the_official_ones(model: Loaded) -> None:
    conditional, unconditional = model.target.encode("a red apple")
    prompt, other = (model.said["official"][name] for name in ("prompt", "unconditional"))
    assert model.words.decode(conditional) == prompt
    if other == "pads":
        pads = [model.words.pad_token_id] * (len(conditional) - 2)
        assert unconditional == [conditional[0], *pads, conditional[-1]]
    elif other == "learned":
        assert unconditional == [llamagen.NULL] * len(conditional)
    else:
        assert model.words.decode(unconditional) == other


def test_rows_end_as_the_official_ones(model: Loaded) -> None:
    row_end = model.said["official"]["row_end"]
    cache = model.target.new_cache(slots=1, branches=2, nodes=1)
    assert isinstance(cache, RowEndCache) == (row_end is not None)
    if row_end is not None:
        assert model.words.get_vocab()[ROW_ENDS[model.entry.family]] == row_end


def test_weights_take_what_is_told(model: Loaded) -> None:
    taken = storage_bytes(model.target)
    assert taken / catalogue.GIB == pytest.approx(model.entry.weights_gib, rel=0.02)


@pytest.mark.parametrize("images", [1, 8])
def test_images_in_flight_take_what_is_told(model: Loaded, images: int) -> None:
    cache = model.target.new_cache(slots=images, branches=2, nodes=kv_memory.NODES)
    prompt = min(catalogue.PROMPT_TOKENS, model.target.prompt_limit)
    cache.begin_prompts(range(images), torch.full((images, 2), prompt))
    told = images * model.entry.image_gib
    assert storage_bytes(cache) / catalogue.GIB == pytest.approx(told, rel=0.02)


def test_emu3_splits_text_as_its_own_tokenizer() -> None:
    """`PAT_STR` of emu3/mllm/tokenization_emu3.py; the copy for transformers cuts "-up" in two."""
    words: Any = tokenizer(["<s>", "<pad>"], bos="<s>", pad="<pad>")
    split_as_trained(words)
    pieces = words.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a close-up (of) 12 cats\n\nx")
    spelled = [piece.replace("Ġ", " ").replace("Ċ", "\n") for piece, _ in pieces]
    assert spelled == [
        *("a", " close", "-up", " (", "of", ")", " ", "1", "2", " cats", "\n\n", "x")
    ]


@pytest.mark.parametrize("shape", [(4, 16), (1, 16), (16,)], ids=["now", "shards", "first"])
def test_norms_of_chameleon_have_had_three_shapes(shape: tuple[int, ...], tmp_path: Path) -> None:
    """One for each head, for each shard of the official model, or one in all (its first copies)."""
    hf, vqgan, out = tmp_path / "hf", tmp_path / "vqgan.ckpt", tmp_path / "out"
    save_tiny_chameleon(hf, vqgan, resolution=10)
    weights = load_file(hf / "model.safetensors")
    norm = "model.layers.0.self_attn.q_norm.weight"
    weights[norm] = torch.arange(math.prod(shape)).view(shape).float()
    save_file(weights, hf / "model.safetensors", metadata={"format": "pt"})
    convert("anole", hf, out, vq=vqgan, size=None, text_encoder="")
    made = load_file(out / "model.safetensors")[norm]
    assert torch.equal(made, weights[norm].expand(4, 16))


def storage_bytes(owner: Any) -> int:
    """Of all tensors that an object holds, each storage once."""
    found = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors_of(owner)}
    return sum(found.values())


def tensors_of(owner: Any) -> Iterator[Tensor]:
    for value in vars(owner).values():
        if isinstance(value, nn.Module):
            yield from value.parameters()
            yield from value.buffers()
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Tensor):
                yield part
