"""Families: the oracle of each family that transformers has.

Prompt forms, row ends and branches of guidance are written here again, from the named sources. Of
`hawk.targets` only the location of files is used, and Emu3's negative prompt and splitting of text,
in which transformers' copy of its tokenizer differs.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    ChameleonForConditionalGeneration,
    ChameleonProcessor,
    Emu3ForConditionalGeneration,
    Emu3Processor,
    GenerationConfig,
    JanusForConditionalGeneration,
    JanusProcessor,
)
from transformers.models.emu3.image_processing_emu3 import Emu3ImageProcessor
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

from hawk.check.finding import NotApplicable
from hawk.check.oracle import Branches, NoOracle, Oracle
from hawk.decoding.target import Target
from hawk.targets import FAMILIES
from hawk.targets.emu3 import NEGATIVE_PROMPT
from hawk.targets.emu3_tokenizer import split_as_trained
from hawk.targets.source import Source


class JanusOracle(Oracle):
    """Janus by `JanusProcessor` and `JanusForConditionalGeneration`."""

    kind = JanusForConditionalGeneration
    processor = "JanusProcessor"

    def branches(self, prompt: str) -> Branches:
        """Branches as in `generate`: in the other one, all but BOS and image start are pads."""
        tokenizer = self.tokenizer()
        template = tokenizer.chat_template or self._template_of_processor()
        processor = JanusProcessor(JanusImageProcessorPil(), tokenizer, chat_template=template)
        if template:
            turn: Any = {"role": "user", "content": [{"type": "text", "text": prompt}]}
            text = processor.apply_chat_template([turn], add_generation_prompt=True)
        elif "<|User|>" in tokenizer.get_vocab():
            # `sft_format` deepseek of janus/utils/conversation.py, deepseek-ai/Janus at 1daa72f
            text = f"<|User|>: {prompt.strip()}\n\n<|Assistant|>:"
        else:
            raise NotApplicable("the checkpoint has no chat template for JanusProcessor")
        ids = processor(text=text, generation_mode="image")["input_ids"][0].tolist()
        own: Any = GenerationConfig.from_pretrained(self.source.location, revision=self.revision)
        kept = (own.bos_token_id, own.generation_kwargs["boi_token_id"])
        return [ids, [word if word in kept else own.pad_token_id for word in ids]]

    def _template_of_processor(self) -> str | None:
        """Chat template in `chat_template.json`, which tokenizers do not read."""
        if self.source.file("chat_template.json") is None:
            return None
        _, settings = JanusProcessor.get_processor_dict(
            self.source.location, revision=self.revision
        )
        return settings.get("chat_template")

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], tokens: Sequence[int]) -> Tensor:
        model = self.model
        words = torch.tensor([list(ids)], device=model.device)
        codes = torch.tensor([list(tokens)], device=model.device)
        image = model.prepare_embeddings_for_image_generation(codes)
        embeds = torch.cat([model.get_input_embeddings()(words), image], 1)
        hidden = model.model.language_model(inputs_embeds=embeds).last_hidden_state
        return model.model.generation_head(hidden[0, len(ids) - 1 :]).float()

    def decoded(self, tokens_1T: Tensor) -> Tensor:
        return self.model.model.vqmodel.decode(tokens_1T)


class WordOracle(Oracle):
    """Oracle of a family whose image tokens are part of the text vocabulary."""

    @abstractmethod
    def decoder(self) -> Any:
        """The stack of layers."""

    @abstractmethod
    def words(self) -> Mapping[int, int]:
        """Id in the text vocabulary of each image token."""

    def row_end(self) -> int | None:
        """Id of the token that the model writes after each row; None where it writes none."""
        return None

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], tokens: Sequence[int]) -> Tensor:
        words, row_end = self.words(), self.row_end()
        spelled, places = list(ids), [len(ids) - 1]
        for count, token in enumerate(tokens, start=1):
            spelled.append(words[token])
            if row_end is not None and count % self.grid.width == 0:
                spelled.append(row_end)
            places.append(len(spelled) - 1)
        rows = torch.tensor([spelled], device=self.model.device)
        hidden = self.decoder()(input_ids=rows).last_hidden_state[0, places]
        image = [words[token] for token in range(len(words))]
        return self.model.lm_head(hidden)[:, image].float()


class Emu3Oracle(WordOracle):
    """Emu3 by `Emu3Processor` and `Emu3ForConditionalGeneration`."""

    kind = Emu3ForConditionalGeneration
    processor = "Emu3Processor"

    def branches(self, prompt: str) -> Branches:
        try:
            tokenizer = self.tokenizer()
            split_as_trained(tokenizer)  # as transformers' copy does not
            processor: Any = Emu3Processor(Emu3ImageProcessor(), tokenizer)
        except AttributeError as error:
            raise NotApplicable(f"its tokenizer does not suit Emu3Processor: {error}") from error
        height, width = self.grid.height, self.grid.width
        area = height * width * processor.downsample_ratio**2
        settings = {"ratio": f"{width}:{height}", "image_area": area}
        return [
            processor(text=text, return_for_image_generation=True, **settings)["input_ids"][0]
            for text in (prompt, NEGATIVE_PROMPT)
        ]

    def decoder(self) -> Any:
        return self.model.model.text_model

    def words(self) -> Mapping[int, int]:
        return self.model.vocabulary_mapping.img2bpe

    def row_end(self) -> int:
        return self.model.vocabulary_mapping.eol_token_id

    def decoded(self, tokens_1T: Tensor) -> Tensor:
        codes = tokens_1T.view(1, self.grid.height, self.grid.width)
        return self.model.model.vqmodel.decode(codes)


class ChameleonOracle(WordOracle):
    """Anole by `ChameleonProcessor` and the layers of `ChameleonForConditionalGeneration`, which
    itself gives image tokens no chance.

    What follows the prompt is from `chameleon/inference/chameleon.py` of github.com/GAIR-NLP/anole
    at 16b958a.
    """

    kind = ChameleonForConditionalGeneration
    processor = "ChameleonProcessor"

    def branches(self, prompt: str) -> Branches:
        ids, start = self._processed(prompt)
        return [[*ids, start], [ids[0], start]]

    def _processed(self, text: str) -> tuple[list[int], int]:
        """Token ids of a text, and the id of the token that starts an image."""
        tokenizer = self.tokenizer()
        if tokenizer.sep_token is None:
            raise NotApplicable("its tokenizer does not suit ChameleonProcessor: no sep_token")
        processor: Any = ChameleonProcessor(JanusImageProcessorPil(), tokenizer)
        return processor(text=text)["input_ids"][0].tolist(), processor.image_start_token_id

    def decoder(self) -> Any:
        return self.model.model

    def words(self) -> Mapping[int, int]:
        return self.model.model.vocabulary_mapping.img2bpe

    def decoded(self, tokens_1T: Tensor) -> Tensor:
        raise NotApplicable("transformers has no decoder for pixels of Chameleon")


class LuminaOracle(ChameleonOracle):
    """Lumina-mGPT by the modules of Chameleon.

    Form and row ends are from `lumina_mgpt/inference_solver.py` and
    `lumina_mgpt/data/item_processor.py` of github.com/Alpha-VLLM/Lumina-mGPT at 250b9cf.
    """

    size_step, first_size, line = 32, 8800, "<reserved08799>"

    def branches(self, prompt: str) -> Branches:
        cell = 2 ** (len(self.source.config()["vq_config"]["channel_multiplier"]) - 1)  # pixels
        height, width = self.grid.height * cell, self.grid.width * cell
        ids, start = self._processed(
            f"Generate an image of {width}x{height} according to the following prompt:\n{prompt}"
        )
        vocabulary = self.tokenizer().get_vocab()
        sizes = [
            vocabulary[f"<reserved{self.first_size + side // self.size_step:05d}>"]
            for side in (height, width)
        ]
        return [[*ids, start, *sizes], [start, *sizes]]

    def row_end(self) -> int:
        return self.tokenizer().get_vocab()[self.line]


ORACLES: dict[str, type[Oracle]] = {
    "janus": JanusOracle,
    "emu3": Emu3Oracle,
    "chameleon": ChameleonOracle,
    "lumina_mgpt": LuminaOracle,
}


def oracle_of(source: Source, target: Target) -> Oracle:
    """The oracle of a target's family."""
    kind = type(target)
    found = (ORACLES[family] for family in ORACLES if FAMILIES[family] is kind)
    return next(found, NoOracle)(source, target.grid, kind.__name__)
