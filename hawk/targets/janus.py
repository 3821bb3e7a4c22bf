"""Janus and Janus-Pro (Chen et al., arXiv 2501.17811), and the embedded model `emoji`."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import JanusConfig, JanusForConditionalGeneration, PreTrainedTokenizerBase

from hawk.decoding.grid import Grid
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.target import Branches
from hawk.targets import codebook, guidance
from hawk.targets.decoder_target import DecoderTarget, TargetSpec
from hawk.targets.janus_prompt import JanusPrompt
from hawk.targets.prompt_checks import no_negative, within
from hawk.targets.source import Source

LEGACY_TEMPLATE = "chat_template.json"  # file of older processors, before chat_template.jinja


class Janus(DecoderTarget):
    """Target of Janus and Janus-Pro.

    A checkpoint's own generation_config goes before the defaults, which are the official script's.
    """

    feature_maps: ClassVar[float] = 3.01
    default_guidance = 5.0
    default_sampler = SamplerConfig()
    patches: codebook.Patches | None = None  # patches that tokens stand for, where that is known

    def __init__(
        self,
        model: JanusForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
    ) -> None:
        decoder: Any = model.model.language_model
        model.model.vqmodel.float()  # half precision costs colours, and gains nothing
        vq = model.model.vqmodel.config
        grid = Grid(height=vq.num_patches, width=vq.num_patches)
        positions = decoder.config.max_position_embeddings
        spec = TargetSpec(
            name=name,
            grid=grid,
            vocabulary=int(vq.num_embeddings),
            prompt_limit=min(positions - grid.cells, tokenizer.model_max_length),
        )
        super().__init__(spec, decoder)
        own = model.generation_config
        self.default_guidance = float(own.guidance_scale or self.default_guidance)
        self.default_sampler = SamplerConfig(
            temperature=1.0 if own.temperature is None else own.temperature,
            top_k=own.top_k or 0,
            top_p=own.top_p or 1.0,
        )
        self.model = model.eval()
        self._form = JanusPrompt(tokenizer, name)
        # A lookup of each token replaces the two-layer aligner in every pass.
        with torch.no_grad():
            codes = torch.arange(self.vocabulary, device=model.device)
            self._image_embeds_VD = model.prepare_embeddings_for_image_generation(codes)

    @classmethod
    def load(cls, source: Source) -> "Janus":
        """Load from a folder or hub id."""
        source.refuse_size("Janus")
        tokenizer = source.tokenizer()
        legacy = None if tokenizer.chat_template else source.file(LEGACY_TEMPLATE)
        if legacy is not None:
            tokenizer.chat_template = json.loads(legacy.read_text("utf-8"))["chat_template"]
        JanusPrompt(tokenizer, source.name)  # refused before the weights are read
        model = source.model(JanusForConditionalGeneration, precise="vqmodel")
        target = cls(model, tokenizer, source.name)
        target.patches = codebook.Patches.load(source)
        return target

    @classmethod
    def canvas(cls, config: Any, size: tuple[int, int] | None) -> tuple[int, int]:
        vq: Any = JanusConfig.from_dict(config).vq_config
        width = vq.num_patches * 2 ** (len(vq.channel_multiplier) - 1)
        return vq.base_channels * vq.channel_multiplier[0], width**2

    @property
    def codebook_VD(self) -> Tensor:
        vectors = self.model.model.vqmodel.quantize.embedding.weight.detach()
        return torch.nn.functional.normalize(vectors.float(), dim=-1)  # as its decoder does

    @torch.inference_mode()
    def codes(self, pixels_BHW3: Tensor) -> Tensor:
        """Tokens int64 [B, T] of uint8 pictures, by patches where the model has some."""
        vq: Any = self.model.model.vqmodel
        side = self.grid.height * 2 ** (len(vq.config.channel_multiplier) - 1)
        images_B3HW = codebook.scaled(pixels_BHW3, (side, side), self.name)
        if self.patches is not None:
            return self.patches.codes(images_B3HW)
        latents = vq.quant_conv(vq.encoder(images_B3HW.to(vq.dtype)))
        return codebook.nearest(latents, self.codebook_VD)

    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches:
        no_negative(negative_prompt, self.name, "a prompt of pads")
        ids = within(self._form.encode(prompt), self.prompt_limit, prompt, self.name)
        return [ids, self._form.unconditional(ids)]

    def embed_prompts(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        ids_RE, lengths_R = guidance.pad(rows, self._form.pad, self.device)
        return self.model.get_input_embeddings()(ids_RE), lengths_R

    @property
    def head_VX(self) -> Tensor:
        return self.model.model.generation_head.vision_head.weight

    def embed_image(self, tokens_BN: Tensor) -> Tensor:
        return self._image_embeds_VD[tokens_BN]

    def head(self, hidden_RND: Tensor) -> Tensor:
        return self.model.model.generation_head(hidden_RND)

    @torch.inference_mode()
    def pixels(self, tokens_BT: Tensor) -> Tensor:
        decoded = self.model.decode_image_tokens(tokens_BT).float()
        return decoded.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
