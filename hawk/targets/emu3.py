"""Emu3 (Wang et al., arXiv 2409.18869).

Facts from `image_generation.py`, `emu3/mllm/processing_emu3.py` and
`emu3/mllm/tokenization_emu3.py` of github.com/baaivision/Emu3 at 005719f: the prompt, in normal
form C, ends in the size of the grid, every row of the image in an end-of-line token, and guidance
leads away from a real negative prompt.
"""

import unicodedata
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import Emu3Config, Emu3ForConditionalGeneration, PreTrainedTokenizerBase

from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.target import Branches
from hawk.targets import codebook
from hawk.targets.decoder_target import TargetSpec, to_uint8
from hawk.targets.emu3_decoder import decode_image
from hawk.targets.emu3_tokenizer import split_as_trained
from hawk.targets.prompt_checks import plain_text, token_id, within
from hawk.targets.shared_vocabulary import SharedVocabularyTarget
from hawk.targets.source import Source, whole_cells

SIZE = (720, 720)  # pixels: the official area, square
NEGATIVE_PROMPT = (
    "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, "
    "cropped, worst quality, low quality, normal quality, jpeg artifacts, signature, watermark, "
    "username, blurry."
)
IMAGE_START, IMAGE_TOKEN, END_OF_LINE = "<|image start|>", "<|image token|>", "<|extra_200|>"


class Emu3(SharedVocabularyTarget):
    """Target of Emu3. Without a negative prompt it takes the official script's; the praise that the
    script adds to each prompt (" masterpiece, film grained, best quality.") is left to the user."""

    feature_maps: ClassVar[float] = 10.15  # its norms have twice the channels of the last block
    default_guidance = 3.0
    default_sampler = SamplerConfig(top_k=2048)

    def __init__(
        self,
        model: Emu3ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        size: tuple[int, int] = SIZE,
    ) -> None:
        decoder: Any = model.model.text_model
        model.model.vqmodel.float()  # the official script decodes images so
        patch = model.model.vqmodel.spatial_scale_factor
        grid = whole_cells(size, patch, "Emu3")
        ends = grid.height  # each of them takes a position
        spec = TargetSpec(
            name=name,
            grid=grid,
            vocabulary=len(model.vocabulary_mapping.img2bpe),
            prompt_limit=decoder.config.max_position_embeddings - grid.cells - ends,
        )
        super().__init__(
            spec,
            model,
            decoder,
            tokenizer,
            model.vocabulary_mapping.img2bpe,
            row_end=token_id(tokenizer, END_OF_LINE, name),
        )
        split_as_trained(tokenizer)

    @classmethod
    def load(cls, source: Source) -> "Emu3":
        """Load from a folder or hub id."""
        size = source.size or SIZE
        vq: Any = Emu3Config.from_dict(source.config()).vq_config
        whole_cells(size, 2 ** (len(vq.channel_multiplier) - 1), "Emu3")
        tokenizer = source.tokenizer()  # refused before the weights are read
        model = source.model(Emu3ForConditionalGeneration, precise="vqmodel")
        return cls(model, tokenizer, source.name, size)

    @classmethod
    def canvas(cls, config: Any, size: tuple[int, int] | None) -> tuple[int, int]:
        vq: Any = Emu3Config.from_dict(config).vq_config
        height, width = size or SIZE
        return vq.base_channels * vq.channel_multiplier[0], height * width

    @property
    def codebook_VD(self) -> Tensor:
        return self.model.model.vqmodel.quantize.embedding.weight.detach().float()

    @torch.inference_mode()
    def codes(self, pixels_BHW3: Tensor) -> Tensor:
        """Tokens int64 [B, T] of uint8 pictures."""
        vq: Any = self.model.model.vqmodel
        patch = vq.spatial_scale_factor
        size = (self.grid.height * patch, self.grid.width * patch)
        images_B3HW = codebook.scaled(pixels_BHW3, size, self.name)
        made = vq.encode(images_B3HW, torch.tensor([size] * len(images_B3HW)))
        return torch.stack(made.image_tokens).flatten(1)

    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches:
        negative = NEGATIVE_PROMPT if negative_prompt is None else negative_prompt
        return [self._ids(prompt), self._ids(negative)]

    def _ids(self, prompt: str) -> list[int]:
        form = (IMAGE_START, IMAGE_TOKEN, END_OF_LINE)
        plain_text(prompt, self.tokenizer, self.name, form)
        # The official tokenizer does so, transformers' copy of it does not.
        prompt = unicodedata.normalize("NFC", prompt)
        size = f"{IMAGE_START}{self.grid.height}*{self.grid.width}{IMAGE_TOKEN}"
        text = f"{self.tokenizer.bos_token}{prompt}{size}"
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return within(ids, self.prompt_limit, prompt, self.name)

    @torch.inference_mode()
    def pixels(self, tokens_BT: Tensor) -> Tensor:
        codes = tokens_BT.view(-1, self.grid.height, self.grid.width)
        return to_uint8(decode_image(self.model.model.vqmodel, codes))
