"""Chameleon (arXiv 2405.09818) that was taught to draw: Anole and Lumina-mGPT.

Facts of Anole (Chern et al., arXiv 2407.06135) from `chameleon/inference/chameleon.py` and
`text2image.py` of github.com/GAIR-NLP/anole at 16b958a. Its guidance has three branches (text and
image, image alone, neither); with no image in the prompt the last two read the same tokens, so that
two branches and the text scale are all there is.

Facts of Lumina-mGPT (Liu et al., arXiv 2408.02657) from `lumina_mgpt/inference_solver.py` and
`lumina_mgpt/data/item_processor.py` of github.com/Alpha-VLLM/Lumina-mGPT at 250b9cf: size tokens
before the image, a newline token after each row, and an unconditional branch that begins with the
image, positions included.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    PreTrainedTokenizerBase,
)

from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.target import Branches
from hawk.targets import codebook
from hawk.targets.decoder_target import TargetSpec, to_uint8
from hawk.targets.prompt_checks import no_negative, plain_text, token_id, within
from hawk.targets.shared_vocabulary import SharedVocabularyTarget
from hawk.targets.source import Source, whole_cells
from hawk.targets.vq import FILE, VQDecoder

IMAGE_START, END_OF_TURN = "<racm3:break>", "<reserved08706>"
NEW_LINE, FIRST_SIZE = "<reserved08799>", 8800  # a size of n x 32 pixels is <reserved(8800 + n)>
SIZE_STEP = 32
LUMINA_SIZE = (768, 768)
LUMINA_CLASS = "ChameleonXLLMXForConditionalGeneration"  # in config.json of its checkpoints
VQGAN = "vqgan.ckpt"
VQGAN_SOURCES = (
    f"{VQGAN} is in `original_tokenizers` of Alpha-VLLM/Chameleon_7B_mGPT and in `tokenizer` of "
    f"GAIR/Anole-7b-v0.1, both on the hub, and in Meta's Chameleon release"
)


class Chameleon(SharedVocabularyTarget):
    """Target of Anole."""

    feature_maps: ClassVar[float] = 4.03
    default_guidance = 3.0
    default_sampler = SamplerConfig(temperature=0.7, top_p=0.9)

    def __init__(
        self,
        model: ChameleonForConditionalGeneration,
        vq: VQDecoder,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        *,
        size: tuple[int, int] | None = None,
        row_end: str | None = None,
    ) -> None:
        config: Any = model.config
        patch = 2 ** (len(config.vq_config.channel_multiplier) - 1)
        resolution = config.vq_config.resolution
        grid = whole_cells(size or (resolution, resolution), patch, "Anole")
        ends = grid.height if row_end else 0
        spec = TargetSpec(
            name=name,
            grid=grid,
            vocabulary=int(config.vq_config.num_embeddings),
            prompt_limit=config.max_position_embeddings - grid.cells - ends,
        )
        super().__init__(
            spec,
            model,
            model.model,
            tokenizer,
            model.model.vocabulary_mapping.img2bpe,
            None if row_end is None else token_id(tokenizer, row_end, name),
        )
        self.vq = vq
        self._bos = token_id(tokenizer, str(tokenizer.bos_token), name)
        self._turn = token_id(tokenizer, END_OF_TURN, name)
        self._start = [token_id(tokenizer, IMAGE_START, name)]

    @classmethod
    def load(cls, source: Source) -> "Chameleon":
        """Load a folder that `hawk convert` wrote."""
        source.refuse_size("Anole")
        return cls(*_load(source), source.name)

    @classmethod
    def canvas(cls, config: Any, size: tuple[int, int] | None) -> tuple[int, int]:
        vq: Any = ChameleonConfig.from_dict(config).vq_config
        height, width = size or config.get("hawk_size") or (vq.resolution, vq.resolution)
        return vq.base_channels * vq.channel_multiplier[0], height * width

    @property
    def codebook_VD(self) -> Tensor:
        return self.vq.quantize.embedding.weight.detach().float()

    @torch.inference_mode()
    def codes(self, pixels_BHW3: Tensor) -> Tensor:
        """Tokens int64 [B, T] of uint8 pictures."""
        encoder: Any = self.model.model.vqmodel
        patch = 2 ** (len(encoder.config.channel_multiplier) - 1)
        size = (self.grid.height * patch, self.grid.width * patch)
        images_B3HW = codebook.scaled(pixels_BHW3, size, self.name).to(encoder.dtype)
        latents = encoder.quant_conv(encoder.encoder(images_B3HW))
        return codebook.nearest(latents, self.codebook_VD)

    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches:
        """Token ids of both branches; the unconditional one is BOS and the start of the image."""
        no_negative(negative_prompt, self.name, "an empty prompt")
        return [self._ids(prompt, prompt), [self._bos, *self._start]]

    def _ids(self, prompt: str, text: str) -> list[int]:
        plain_text(prompt, self.tokenizer, self.name, (IMAGE_START, END_OF_TURN))
        words = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ids = [self._bos, *words, self._turn, *self._start]
        return within(ids, self.prompt_limit, prompt, self.name)

    @torch.inference_mode()
    def pixels(self, tokens_BT: Tensor) -> Tensor:
        return to_uint8(self.vq(tokens_BT.view(-1, self.grid.height, self.grid.width)))


class Lumina(Chameleon):
    """Target of Lumina-mGPT."""

    default_guidance = 4.0
    default_sampler = SamplerConfig(top_k=2000)

    def __init__(
        self,
        model: ChameleonForConditionalGeneration,
        vq: VQDecoder,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        *,
        size: tuple[int, int] = LUMINA_SIZE,
    ) -> None:
        super().__init__(model, vq, tokenizer, name, size=size, row_end=NEW_LINE)
        self._size = size
        for pixels in size:
            step = FIRST_SIZE + pixels // SIZE_STEP
            self._start.append(token_id(tokenizer, f"<reserved{step:05d}>", name))

    @classmethod
    def load(cls, source: Source) -> "Lumina":
        """Load a folder that `hawk convert` wrote."""
        height, width = source.size or source.config().get("hawk_size", LUMINA_SIZE)
        whole_cells((height, width), SIZE_STEP, "Lumina-mGPT")
        return cls(*_load(source), source.name, size=(height, width))

    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches:
        """Token ids of both branches; the unconditional one is the start of the image alone."""
        no_negative(negative_prompt, self.name, "an image without a prompt")
        height, width = self._size
        text = f"Generate an image of {width}x{height} according to the following prompt:\n{prompt}"
        return [self._ids(prompt, text), self._start]


def _load(
    source: Source,
) -> tuple[ChameleonForConditionalGeneration, VQDecoder, PreTrainedTokenizerBase]:
    """Modules and tokenizer of a source. ValueError where there is no decoder for pixels."""
    decoder = source.weights(FILE)
    if decoder is None:
        lumina = LUMINA_CLASS in source.config().get("architectures", ())
        family, size = ("lumina", " --size 768x768") if lumina else ("anole", "")
        raise ValueError(
            f"published Chameleon checkpoints lack the decoder for pixels: get its files (`hf "
            f"download ... --local-dir FOLDER`), then `hawk convert {family} FOLDER OUT --vq "
            f"{VQGAN}{size}`, and give OUT; {VQGAN_SOURCES}"
        )
    tokenizer = source.tokenizer()  # refused before the weights are read
    model = source.model(ChameleonForConditionalGeneration, precise="vqmodel")
    vq = VQDecoder(model.config.vq_config)
    vq.load_state_dict(decoder)
    return model, vq.to(source.device, torch.float32).eval(), tokenizer
