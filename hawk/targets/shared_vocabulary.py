"""Words: families whose image tokens are words of the text vocabulary (Emu3, Chameleon)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedTokenizerBase

from hawk.targets import guidance
from hawk.targets.decoder_target import DecoderTarget, TargetSpec


class SharedVocabularyTarget(DecoderTarget):
    """Embeds image tokens as words, and asks the head for image words only.

    Args:
        spec: see `DecoderTarget`.
        model: a transformers model with a head over the whole text vocabulary.
        decoder: its decoder stack.
        tokenizer: its tokenizer.
        word_of_code: word id of each image token, from 0 without gaps.
        row_end: word id of the token after each row, if the model writes one.
    """

    def __init__(
        self,
        spec: TargetSpec,
        model: Any,
        decoder: Any,
        tokenizer: PreTrainedTokenizerBase,
        word_of_code: Mapping[int, int],
        row_end: int | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._embed: Tensor = decoder.embed_tokens.weight.detach()
        super().__init__(spec, decoder, None if row_end is None else self._embed[row_end])
        words = [word_of_code[code] for code in range(spec.vocabulary)]
        self._words_V = torch.tensor(words, device=self._embed.device)
        head: Tensor = model.lm_head.weight.detach()
        consecutive = words == list(range(words[0], words[0] + len(words)))
        self._head_VD = head[words[0] : words[-1] + 1] if consecutive else head[self._words_V]

    def embed_prompts(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        ids_RE, lengths_R = guidance.pad(rows, rows[0][0], self.device)  # any word will do
        return self._embed[ids_RE], lengths_R

    @property
    def head_VX(self) -> Tensor:
        return self._head_VD

    def embed_image(self, tokens_BN: Tensor) -> Tensor:
        return self._embed[self._words_V[tokens_BN]]

    def head(self, hidden_RND: Tensor) -> Tensor:
        return linear(hidden_RND, self._head_VD)
