"""Oracle: the processor and the modules of transformers, loaded from the target's files, with which
the target is compared.
"""

import gc
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Never

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from hawk.check.finding import NotApplicable
from hawk.decoding.grid import Grid
from hawk.targets.source import Source

Branches = list[list[int]]  # token ids, those of the conditional branch first


class Oracle(ABC):
    """Transformers' own computation of a model.

    Args:
        source: Source of the model's files.
        grid: Grid of the image.
        family: Name of the target's family.

    Attributes:
        kind: Class of the modules.
        processor: Name of the class that reads prompts.
        model: The modules; None until they are loaded.
    """

    kind: type[PreTrainedModel]
    processor: str

    def __init__(self, source: Source, grid: Grid, family: str) -> None:
        self.source, self.grid, self.family = source, grid, family
        self.model: Any = None

    @abstractmethod
    def branches(self, prompt: str) -> Branches:
        """Token ids of a prompt by the family's processor. NotApplicable where there is none."""

    @abstractmethod
    def logits(self, ids: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Logits float32 [T + 1, V] after a branch of the prompt and after each of the tokens."""

    @abstractmethod
    def decoded(self, tokens_1T: Tensor) -> Tensor:
        """Images [1, 3, height, width] from -1 to 1. NotApplicable where there is no decoder."""

    def load(self, dtype: torch.dtype, device: torch.device) -> None:
        """Load the weights, those of the image tokenizer in float32, as official scripts do."""
        precise: Any = type(
            self.kind.__name__,
            (self.kind,),
            {"__module__": self.kind.__module__, "_keep_in_fp32_modules_strict": {"vqmodel"}},
        )
        self.model = precise.from_pretrained(
            self.source.location, revision=self.revision, dtype=dtype, use_safetensors=True
        )
        self.model.to(device).eval()

    def free(self) -> None:
        """Free the memory of the weights."""
        self.model = None
        gc.collect()
        torch.cuda.empty_cache()

    @torch.inference_mode()
    def pixels(self, tokens: Sequence[int]) -> Tensor:
        """Pixels uint8 [height, width, 3] of an image's tokens.

        NotApplicable where there is no decoder, or nothing is loaded.
        """
        if self.model is None:
            raise NotApplicable("no modules of transformers are loaded")
        images = self.decoded(torch.tensor([list(tokens)], device=self.model.device)).float()
        return images[0].add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)

    def tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self.source.location, revision=self.revision)

    @property
    def revision(self) -> str:
        return self.source.revision or "main"


class NoOracle(Oracle):
    """Oracle of a family that transformers does not have."""

    def branches(self, prompt: str) -> Branches:
        self._refuse()

    def load(self, dtype: torch.dtype, device: torch.device) -> None:
        self._refuse()

    def logits(self, ids: Sequence[int], tokens: Sequence[int]) -> Tensor:
        self._refuse()

    def decoded(self, tokens_1T: Tensor) -> Tensor:
        self._refuse()

    def pixels(self, tokens: Sequence[int]) -> Tensor:
        self._refuse()

    def _refuse(self) -> Never:
        raise NotApplicable(f"transformers has no {self.family}")
