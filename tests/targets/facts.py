"""Published models as files: what would be downloaded, but for the weights themselves.

`published/` says what each consists of. Here that is written to a folder: configurations and
tokenizers as they are, safetensors whose data is a hole of the right size, pickles of tensors on
the meta device. `hollow` lets the code that loads and converts read and write them.
"""

import argparse
import json
import math
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedModel, core_model_loading

FOLDER = Path(__file__).parent / "published"
DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LOAD_STATE_DICT = nn.Module.load_state_dict
SHARD_BYTES = 5 * 10**9
Shapes = dict[str, tuple[int, ...]]


def expand(pattern: str) -> list[str]:
    """Names that a pattern with `{a,b}` and `{0..31}` stands for."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    limits = re.fullmatch(r"(\d+)\.\.(\d+)", braces[1])
    if limits is None:
        middles = braces[1].split(",")
    else:
        first, last = limits.groups()
        width = len(first) if first.startswith("0") else 0
        middles = [f"{n:0{width}d}" for n in range(int(first), int(last) + 1)]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [name for middle in middles for name in expand(before + middle + after)]


@dataclass(frozen=True)
class Facts:
    """A file of `published/`; its README says what the fields mean."""

    said: dict[str, Any]

    @classmethod
    def read(cls, name: str) -> "Facts":
        return cls(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))

    def save(self, folder: Path) -> None:
        """Write all its files."""
        folder.mkdir(parents=True)
        self._save_tokenizer(folder)
        if "config" in self.said:
            _save_shards(folder, _shapes(self.said), self.said["dtype"])
            config = dict(self.said["config"])
            if self.said.get("vocabulary_map"):
                config["vocabulary_map"] = self._words()
            _write(folder / "config.json", config)
        if "generation_config" in self.said:
            _write(folder / "generation_config.json", self.said["generation_config"])
        if "chat_template" in self.said:
            (folder / "chat_template.jinja").write_text(self.said["chat_template"])
        for name, said in self.said.get("pickles", {}).items():
            _save_pickle(folder / name, said, DTYPES[self.said["dtype"]])
        if "text_encoder" in self.said:
            encoder = folder / "text_encoder"
            encoder.mkdir()
            self._save_tokenizer(encoder)
            save_hollow(encoder / "model.safetensors", _shapes(self.said["text_encoder"]), "F32")
            _write(encoder / "config.json", self.said["text_encoder"]["config"])

    def _words(self) -> dict[str, int]:
        """The vocabulary: what has an id of its own, and the bytes in the first ids left over."""
        said = self.said["tokenizer"]
        words: dict[str, int] = {}
        for pattern, first in said["words"].items():
            words |= {word: first + place for place, word in enumerate(expand(pattern))}
        if "image_words" in said:  # of Chameleon: letters in place of digits
            letters = str.maketrans("0123456789", "ABCDEFGHIJ")
            for code in range(8192):
                words[f"IMGIMG{str(code).translate(letters)}Z"] = said["image_words"] + code
        taken = set(words.values())
        free = (id for id in range(len(words) + 256) if id not in taken)
        return words | dict(zip(sorted(pre_tokenizers.ByteLevel.alphabet()), free, strict=False))

    def _save_tokenizer(self, folder: Path) -> None:
        said, words = self.said["tokenizer"], self._words()
        made = _sentence_pieces(words) if said["class"].startswith("T5") else _bytes(words)
        around = [said.get("prepend"), said.get("append")]
        if any(around):
            first, last = around
            made.post_processor = processors.TemplateProcessing(
                single=" ".join(part for part in (first, "$A", last) if part),
                special_tokens=[(word, words[word]) for word in around if word],
            )
        made.save(str(folder / "tokenizer.json"))
        settings = {name: said[name] for name in said if name.endswith(("_token", "_length"))}
        _write(folder / "tokenizer_config.json", settings | {"tokenizer_class": said["class"]})


def _bytes(words: dict[str, int]) -> Tokenizer:
    made = Tokenizer(models.BPE(vocab=words, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = [word for word in words if word.startswith("<") and len(word) > 1]
    made.add_special_tokens([AddedToken(word, special=True) for word in special])
    return made


def _sentence_pieces(words: dict[str, int]) -> Tokenizer:
    pieces = [*sorted(words, key=words.__getitem__), "▁"]
    made = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=words["<unk>"]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return made


def _shapes(said: dict[str, Any]) -> Shapes:
    """Tensors of a file by its patterns and parts."""
    found: Shapes = {}
    for prefix, part in said.get("include", {}).items():
        patterns = yaml.safe_load((FOLDER / "parts" / f"{part}.yaml").read_text(encoding="utf-8"))
        for pattern, shape in patterns.items():
            found |= {prefix + name: tuple(shape) for name in expand(pattern)}
    if "without" in said:
        found = {name: s for name, s in found.items() if not re.match(said["without"], name)}
    for pattern, shape in said.get("tensors", {}).items():
        found |= {name: tuple(shape) for name in expand(pattern)}
    return found


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")


def _save_pickle(file: Path, said: dict[str, Any], dtype: torch.dtype) -> None:
    weights = {
        name: torch.empty(shape, dtype=dtype, device="meta")
        for name, shape in _shapes(said).items()
    }
    options = {"args": argparse.Namespace(epochs=1)} if said.get("options") else {}
    torch.save({said["wrapper"]: weights} | options, file)


def _save_shards(folder: Path, shapes: Shapes, dtype: str) -> None:
    """Files of at most `SHARD_BYTES` and their index, as `save_pretrained` writes them."""
    shards: list[Shapes] = [{}]
    room = SHARD_BYTES
    for name, shape in shapes.items():
        size = math.prod(shape) * DTYPES[dtype].itemsize
        if size > room:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = shape
        room -= size
    places = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_hollow(folder / file, shard, dtype)
        places |= dict.fromkeys(shard, file)
    total = sum(math.prod(shape) for shape in shapes.values()) * DTYPES[dtype].itemsize
    index = {"metadata": {"total_size": total}, "weight_map": places}
    _write(folder / "model.safetensors.index.json", index)


def save_hollow(file: Path, shapes: Shapes, dtype: str) -> None:
    """A safetensors file whose data takes no room on the disk."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end, size = 0, DTYPES[dtype].itemsize
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + end)


@contextmanager
def hollow() -> Iterator[list[dict[str, Any]]]:
    """All that is read from and written to safetensors is on the meta device.

    Yields what transformers says of each model that it loads: keys that are missing, unexpected or
    of another shape.
    """
    reports: list[dict[str, Any]] = []
    from_pretrained: Any = PreTrainedModel.from_pretrained

    def load(kind: type[PreTrainedModel], *args: Any, **given: Any) -> Any:
        loaded = from_pretrained.__func__(kind, *args, **given)
        reports.append(loaded[1])
        return loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreTrainedModel, "from_pretrained", classmethod(load))
        patch.setattr(core_model_loading, "_materialize_copy", _materialize)
        patch.setattr(nn.Module, "load_state_dict", _assign)
        ours = [module for name, module in sys.modules.items() if name.startswith("hawk.targets")]
        for module in ours:
            if hasattr(module, "load_file"):
                patch.setattr(module, "load_file", _load_file)
            if hasattr(module, "save_file"):
                patch.setattr(module, "save_file", _save_file)
        yield reports


def _empty(stored: Any, dtype: torch.dtype | None = None) -> Tensor:
    own = DTYPES[stored.get_dtype()]
    return torch.empty(stored.get_shape(), dtype=dtype or own, device="meta")


def _materialize(stored: Any, device: object = None, dtype: torch.dtype | None = None) -> Tensor:
    return _empty(stored, dtype)


def _load_file(file: Path) -> dict[str, Tensor]:
    with safe_open(file, "pt") as tensors:
        names = list(tensors.keys())
        return {name: _empty(tensors.get_slice(name)) for name in names}


def _save_file(weights: dict[str, Tensor], file: Path, metadata: object = None) -> None:
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    save_hollow(file, shapes, NAMES[next(iter(weights.values())).dtype])


def _assign(module: nn.Module, weights: dict[str, Tensor], *, assign: bool = True) -> object:
    """In place of a copy, as there is nothing to copy."""
    return LOAD_STATE_DICT(module, weights, assign=True)
