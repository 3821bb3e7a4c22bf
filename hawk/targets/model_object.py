"""A target around a transformers model object that the caller has loaded or made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hawk.decoding.grid import Identity
from hawk.targets import FAMILIES
from hawk.targets.decoder_target import DecoderTarget
from hawk.targets.source import Source


@dataclass(frozen=True, kw_only=True)
class ModelObject(Source):
    """A source whose model and tokenizer are in memory; files hold the other parts.

    Attributes:
        held: Model object.
        held_tokenizer: Its tokenizer.
    """

    held: Any
    held_tokenizer: PreTrainedTokenizerBase

    def file(self, name: str) -> Path | None:
        return super().file(name) if Path(self.location).is_dir() else None

    def config(self) -> Any:
        return self.held.config.to_dict()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.held_tokenizer

    def model(
        self, kind: type[PreTrainedModel], *, attention: str = "sdpa", precise: str | None = None
    ) -> Any:
        if not isinstance(self.held, kind):
            raise ValueError(
                f"{type(self.held).__name__} does not draw: load it as {kind.__name__}"
            )
        self.held.set_attn_implementation(attention)
        if precise is not None:
            self.held.get_submodule(f"model.{precise}").float()
        return self.held.eval()


def target_of(
    model: Any,
    tokenizer: Any,
    *,
    revision: str,
    name: str | None,
    files: str | Path | None,
    size: tuple[int, int] | None,
) -> DecoderTarget:
    """Target around a model object; arguments as in `Pipeline.from_model`."""
    device, dtype = _check(model, tokenizer)
    origin = str(getattr(model.config, "_name_or_path", ""))
    source = ModelObject(
        location=origin if files is None else files,
        name=name or origin or type(model).__name__,
        revision=None,
        size=size,
        dtype=dtype,
        device=device,
        held=model,
        held_tokenizer=tokenizer,
    )
    if files is not None and not Path(files).is_dir():
        raise ValueError(f"{files} is no folder: give the one that `hawk convert` wrote")
    target = FAMILIES[_family(model)].load(source)
    target.identity = Identity(
        name=source.name,
        revision=revision,
        grid=target.grid,
        vocabulary=target.vocabulary,
        hidden_size=target.hidden_size,
        drafters={},
    )
    return target


def _family(model: PreTrainedModel) -> str:
    return str(getattr(model.config, "hawk_family", None) or model.config.model_type)


def _check(model: Any, tokenizer: Any) -> tuple[torch.device, torch.dtype]:
    """Device and type of the weights. ValueError where the model cannot be run as it is."""
    if getattr(model, "peft_config", None) or getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(
            "the model has adapters that are not merged: give what merge_and_unload() returns"
        )
    if not isinstance(model, PreTrainedModel) or _family(model) not in FAMILIES:
        raise ValueError(
            f"Hawk runs models of transformers of the families {', '.join(FAMILIES)}, "
            f"got {type(model).__name__}"
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(
            f"tokenizer must be one of transformers, got {type(tokenizer).__name__}; of a "
            f"processor, give processor.tokenizer"
        )
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) != 1 or torch.device("meta") in devices:
        raise ValueError(
            f"the model has to be on one device, got {', '.join(sorted(map(str, devices)))}: "
            f"move it there, or load it by Pipeline.from_pretrained(..., device='cuda:0,cuda:1')"
        )
    for part in ("get_input_embeddings", "get_output_embeddings"):
        _check_plain(getattr(model, part)())
    return devices.pop(), model.dtype


def _check_plain(part: nn.Module | None) -> None:
    """ValueError where an embedding or a head, of which parts are used, is quantised."""
    weight = getattr(part, "weight", None)
    if part is not None and type(weight) not in (torch.Tensor, nn.Parameter):
        raise ValueError(
            f"the weight of {type(part).__name__} is quantised ({type(weight).__name__}): leave "
            f"embeddings and head as they are, quantise the layers"
        )
