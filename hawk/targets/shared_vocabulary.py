"""SharedVocabularyTarget: families whose image tokens are part of the text vocabulary."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedTokenizerBase

from hawk.targets import guidance
from hawk.targets.decoder_target import DecoderTarget, TargetSpec


class SharedVocabularyTarget(DecoderTarget):
    """Target that embeds image tokens as text tokens, with a head over image tokens alone.

    Args:
        spec: Attributes of the target.
        model: Transformers model with a head over the whole text vocabulary.
        decoder: Its decoder stack.
        tokenizer: Its tokenizer.
        word_of_code: Id in the text vocabulary of each image token, from 0 without gaps.
        row_end: Id of the token after each row; None where the model writes none.
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
        ids_RE, lengths_R = guidance.pad(rows, rows[0][0], self.device)  # any filler will do
        return self._embed[ids_RE], lengths_R

    @property
    def head_VX(self) -> Tensor:
        return self._head_VD

    def embed_image(self, tokens_BN: Tensor) -> Tensor:
        return self._embed[self._words_V[tokens_BN]]

    def head(self, hidden_RND: Tensor) -> Tensor:
        return linear(hidden_RND, self._head_VD)
