"""LlamaGen text to image (Sun et al., arXiv 2406.06525), loaded from what `hawk convert` wrote.

Facts from `autoregressive/models/gpt.py`, `autoregressive/models/generate.py`,
`autoregressive/sample/sample_t2i.py` and `language/t5.py` of github.com/FoundationVision/LlamaGen
at 5a50452. It is a Llama whose prompt is a T5 encoding (an MLP fits it to the model's width), whose
rotary positions are the row and the column of a cell, and whose guidance leads away from a learned
null prompt. The rotary factors of the prompt are zero, not one: its queries and keys vanish, and
attention to it yields the mean of its values. Official code pads the prompt to 120 places on the
left and masks the padding; without positions that is the same as no padding.

Official code cleans prompts of links, markup and odd signs; here they are put in lower case with
single spaces, which is all that it does to a plain sentence.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerBase, T5EncoderModel
from transformers.models.janus.configuration_janus import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAE

from hawk.decoding.cache import Cache
from hawk.decoding.grid import Grid
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.target import Branches
from hawk.targets import codebook, preflight
from hawk.targets.decoder_target import DecoderTarget, TargetSpec, to_uint8
from hawk.targets.prompt_checks import no_negative, plain_text, token_id, within
from hawk.targets.source import Source
from hawk.targets.weight_shapes import text_source

MODEL_FILE, VQ_FILE = "model.safetensors", "vq.safetensors"
PATCH = 16  # pixels a cell
END_OF_TEXT = "</s>"  # token that T5 reads behind every text
NULL = -1  # id of a place of the null prompt
OUTSIDE = 2**31  # position of prompt tokens, behind all cells, as they have none


class LlamaGenModel(nn.Module):
    """The transformer with its prompt embedding.

    Args:
        config: `LlamaConfig` with `text_tokens` and `text_width`, the shape of a T5 encoding, and
            `grid`, the cells of a side.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        extra: Any = config
        self.decoder: Any = LlamaModel(config)
        head_size = config.hidden_size // config.num_attention_heads
        theta = extra.rope_parameters["rope_theta"]
        self.decoder.rotary_emb = GridRotary(extra.grid, head_size, theta)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.fc1 = nn.Linear(extra.text_width, config.hidden_size, bias=False)
        self.fc2 = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.null = nn.Parameter(torch.empty(extra.text_tokens, extra.text_width))

    def fit_text(self, text: Tensor) -> Tensor:
        """T5 encodings [..., text_width] as embeddings [..., D]."""
        return self.fc2(gelu(self.fc1(text), approximate="tanh"))


class GridRotary(nn.Module):
    """Replacement of `LlamaRotaryEmbedding`: half of the pairs turn with the row, half with the
    column.

    Args:
        width: Cells in a row.
        head_size: Numbers of an attention head.
        theta: Base of the frequencies.
    """

    def __init__(self, width: int, head_size: int, theta: float) -> None:
        super().__init__()
        self._width, self._head_size, self._theta = width, head_size, theta

    def forward(self, like: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [R, N, head size] of cells; zeros behind the last of them."""
        half = self._head_size // 2
        steps_X = torch.arange(0, half, 2, dtype=torch.float32, device=position_ids.device) / half
        frequencies_X = self._theta**-steps_X
        cells = position_ids[..., None]
        rows = (cells // self._width) * frequencies_X
        columns = (cells % self._width) * frequencies_X
        turns = torch.cat([rows, columns, rows, columns], -1)
        inside = cells < self._width**2
        return (turns.cos() * inside).to(like.dtype), (turns.sin() * inside).to(like.dtype)


class CellCache(Cache):
    """Cache whose positions are cells of the image; prompts have none."""

    @cached_property
    def _prompts_SG(self) -> Tensor:
        """Lengths of the prompts."""
        return torch.zeros_like(self.lengths_SG)

    def begin_prompts(self, slots: range, lengths_BG: Tensor) -> tuple[Tensor, Tensor]:
        self._prompts_SG[slots.start : slots.stop] = lengths_BG
        positions_RE, mask = super().begin_prompts(slots, lengths_BG)
        return torch.full_like(positions_RE, OUTSIDE), mask

    def place(self, depths_BE: Tensor, ancestors_BEE: Tensor) -> tuple[Tensor, Tensor]:
        positions_RE, mask = super().place(depths_BE, ancestors_BEE)
        prompts_R1 = self._prompts_SG.reshape(-1, 1)[: len(positions_RE)]
        return positions_RE - prompts_R1, mask

    def move_slot(self, source: int, target: int) -> None:
        super().move_slot(source, target)
        self._prompts_SG[target] = self._prompts_SG[source]


class LlamaGen(DecoderTarget):
    """Target of LlamaGen."""

    cache_type = CellCache
    feature_maps: ClassVar[float] = 3.01
    default_guidance = 7.5
    default_sampler = SamplerConfig(top_k=1000)

    def __init__(
        self,
        model: LlamaGenModel,
        vq: Any,
        text_encoder: T5EncoderModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
    ) -> None:
        config = model.decoder.config
        spec = TargetSpec(
            name=name,
            grid=Grid(height=config.grid, width=config.grid),
            vocabulary=config.vocab_size,
            prompt_limit=config.text_tokens,
        )
        super().__init__(spec, model.decoder)
        self.model, self.vq = model.eval(), vq.eval()
        self.text_encoder, self._tokenizer = text_encoder, tokenizer
        self._end = token_id(tokenizer, END_OF_TEXT, name)

    @classmethod
    def load(cls, source: Source) -> "LlamaGen":
        """Load a folder that `hawk convert` wrote."""
        source.refuse_size("LlamaGen")
        own = source.config()
        text = text_source(source, own)
        try:
            preflight.config(text)
            text = preflight.fetch(text, None)
        except ValueError as error:
            raise ValueError(f"of its text encoder: {error}") from error
        tokenizer = text.tokenizer()  # refused before the weights are read
        model, vq = load_empty(own), load_empty_vq(own)
        for part, file in ((model, MODEL_FILE), (vq, VQ_FILE)):
            weights = source.weights(file)
            if weights is None:
                raise ValueError(f"there is no {file} in it: run `hawk convert` again")
            try:
                part.load_state_dict(weights, assign=True)
            except RuntimeError as error:
                raise ValueError(f"{file} does not fit config.json: {error}") from error
        source.place(model.to(source.dtype), model.decoder)
        vq.to(source.device, torch.float32)  # the official script decodes images so
        encoder = text.model(T5EncoderModel, attention="eager")
        return cls(model, vq, encoder, tokenizer, source.name)

    @classmethod
    def canvas(cls, config: Any, size: tuple[int, int] | None) -> tuple[int, int]:
        vq = JanusVQVAEConfig(**config["vq"])
        return vq.base_channels * vq.channel_multiplier[0], (config["grid"] * PATCH) ** 2

    @property
    def codebook_VD(self) -> Tensor:
        vectors = self.vq.quantize.embedding.weight.detach()
        return nn.functional.normalize(vectors.float(), dim=-1)  # as its decoder does

    @torch.inference_mode()
    def codes(self, pixels_BHW3: Tensor) -> Tensor:
        """Tokens int64 [B, T] of uint8 pictures."""
        size = (self.grid.height * PATCH, self.grid.width * PATCH)
        images_B3HW = codebook.scaled(pixels_BHW3, size, self.name).to(self.vq.dtype)
        latents = self.vq.quant_conv(self.vq.encoder(images_B3HW))
        return codebook.nearest(latents, self.codebook_VD)

    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches:
        """Token ids of both branches; the other has as many places of the null prompt."""
        no_negative(negative_prompt, self.name, "a learned null prompt")
        plain_text(prompt, self._tokenizer, self.name)
        text = " ".join(prompt.lower().split())
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ids = [*ids, self._end]  # written here, as not every copy of the tokenizer writes it
        within(ids, self.prompt_limit, prompt, self.name)
        return [ids, [NULL] * len(ids)]

    def embed_prompts(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        embeds = [self.model.fit_text(self._encoding(ids)) for ids in rows]
        lengths_R = torch.tensor([len(ids) for ids in rows], device=self.device)
        return nn.utils.rnn.pad_sequence(embeds, batch_first=True), lengths_R

    def _encoding(self, ids: list[int]) -> Tensor:
        """T5 encoding [E, text_width] of a row's prompt."""
        if ids[0] == NULL:
            return self.model.null[-len(ids) :]
        encoded = self.text_encoder(input_ids=torch.tensor([ids], device=self.device))
        return encoded.last_hidden_state[0]

    @property
    def head_VX(self) -> Tensor:
        return self.model.head.weight

    def embed_image(self, tokens_BN: Tensor) -> Tensor:
        return self.model.decoder.embed_tokens(tokens_BN)

    def head(self, hidden_RND: Tensor) -> Tensor:
        return self.model.head(hidden_RND)

    @torch.inference_mode()
    def pixels(self, tokens_BT: Tensor) -> Tensor:
        return to_uint8(self.vq.decode(tokens_BT))


def load_empty(own: dict[str, Any]) -> LlamaGenModel:
    """Transformer of a config.json, without weights."""
    settings: dict[str, Any] = own | {"attn_implementation": "sdpa"}
    with torch.device("meta"):
        return LlamaGenModel(LlamaConfig(**settings))


def load_empty_vq(own: dict[str, Any]) -> nn.Module:
    """Image tokenizer of a config.json, without weights."""
    with torch.device("meta"):
        return JanusVQVAE(JanusVQVAEConfig(**own["vq"]))
