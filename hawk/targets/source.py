"""Source: the place of a model's files, and how they are read: safetensors only, no remote code."""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from hawk.decoding.grid import Grid
from hawk.targets import hub
from hawk.targets.layer_placement import place_layers
from hawk.targets.weight_files import check_file

EMBEDDED = {"emoji": Path(__file__).parent.parent / "assets" / "emoji"}
# Other files of a repository that are read: settings, tokenizers, outputs of `hawk convert`.
OTHER_FILES = (
    "*.json",
    "*.jinja",
    "*.txt",
    "*.model",
    "vq*.safetensors",
    "text_encoder/*",
    "drafters/*",
)
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json")
NO_TOKENIZER = (
    "there is no tokenizer in it: copy tokenizer.json and tokenizer_config.json of the model that "
    "it was made from"
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model to load.

    Attributes:
        location: Folder or hub id.
        name: Name that the user gave.
        revision: Commit, tag or branch of a hub id; None is its main branch.
        size: (height, width) of images in pixels; None is the model's own.
        dtype: Type of the loaded weights.
        device: Device of the loaded weights.
        others: Further devices that share the decoder's layers.
    """

    location: str | Path
    name: str
    revision: str | None
    size: tuple[int, int] | None
    dtype: torch.dtype
    device: torch.device
    others: tuple[torch.device, ...] = ()

    def file(self, name: str) -> Path | None:
        """Path of a file of the model, fetched from a hub; None where the model has none."""
        found = cached_file(
            str(self.location),
            name,
            revision=self.revision,
            _raise_exceptions_for_missing_entries=False,
        )
        return None if found is None else Path(found)

    @property
    def local(self) -> Path | None:
        """The location as a folder; None where it is a hub id."""
        folder = Path(self.location)
        return folder if folder.is_dir() else None

    def fetched(self, weights: Collection[str]) -> "Source":
        """The same model in a folder of this machine, downloaded where needed. The hub, whose main
        branch may move, is not asked again.

        Args:
            weights: Names or patterns of the weight files.
        """
        if self.local is not None:
            return self
        folder = hub.download(str(self.location), self.folder().name, [*OTHER_FILES, *weights])
        return replace(self, location=folder, revision=None)

    def listing(self) -> dict[str, int] | None:
        """Bytes of the model's files by name; None where neither folder nor hub tells."""
        if self.local is None:
            return hub.listing(str(self.location), self.revision)
        return {file.name: file.stat().st_size for file in self.local.iterdir() if file.exists()}

    def weights(self, name: str) -> dict[str, Tensor] | None:
        """Tensors of a safetensors file of the model; None where there is no such file. ValueError
        where it is broken."""
        file = self.file(name)
        if file is None:
            return None
        check_file(file)
        return load_file(file)

    def folder(self) -> Path:
        """Folder of the files on this machine. OSError, with its cause, where there are none."""
        found = cached_file(str(self.location), "config.json", revision=self.revision)
        if found is None:
            raise FileNotFoundError(f"no config.json in {self.location}")
        return Path(found).parent

    def config(self) -> Any:
        """Contents of config.json. OSError, with its cause, where there is none."""
        return json.loads((self.folder() / "config.json").read_text(encoding="utf-8"))

    def refuse_size(self, family: str) -> None:
        """ValueError where the user gave a size and the family has only one."""
        if self.size is not None:
            raise ValueError(f"images of {family} have one size: leave the size out")

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer. ValueError where the model has none: transformers makes an empty one for
        some families."""
        if not any(self.file(name) for name in VOCABULARIES):
            raise ValueError(NO_TOKENIZER)
        try:
            return AutoTokenizer.from_pretrained(self.location)
        except Exception as error:  # tokenizers raise bare Exception
            why = str(error).splitlines()[0]
            raise ValueError(f"its tokenizer is broken ({why}): get its files again") from error

    def model(
        self, kind: type[PreTrainedModel], *, attention: str = "sdpa", precise: str | None = None
    ) -> Any:
        """A transformers model in evaluation mode. ValueError where weights are missing.

        Args:
            kind: Class of the model.
            attention: Attention of its modules.
            precise: Name of the part that is float32, whatever `dtype` is.
        """
        if precise is not None:  # name and module stay: transformers looks for its own by them
            own = {"__module__": kind.__module__, "_keep_in_fp32_modules_strict": {precise}}
            kind = type(kind.__name__, (kind,), own)
        model, report = kind.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            self.location,
            dtype=self.dtype,
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
        )
        missing = sorted(report["missing_keys"])
        if missing:
            raise ValueError(f"{len(missing)} weights are missing, {missing[0]} among them")
        self.place(model)
        return model.eval()

    def place(self, model: Any, decoder: Any = None) -> None:
        """Move a model to its devices; `decoder` is given where the model does not know its own."""
        if self.others:
            place_layers(model, decoder or model.get_decoder(), (self.device, *self.others))
        else:
            model.to(self.device)


def whole_cells(size: tuple[int, int], step: int, family: str) -> Grid:
    """Grid of cells of `step` pixels in a size. ValueError where the size has a fraction of one."""
    height, width = size
    if height % step or width % step:
        raise ValueError(
            f"sizes of {family} are multiples of {step} pixels, got {width} x {height}"
        )
    return Grid(height=height // step, width=width // step)
