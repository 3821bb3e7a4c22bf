"""Prompt form of Janus: a turn of a chat between BOS and the start of the image.

Facts from `generation_inference.py`, `janus/utils/conversation.py` and
`janus/models/processing_vlm.py` of github.com/deepseek-ai/Janus at 1daa72f.
"""

from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from hawk.targets.prompt_checks import plain_text, token_id

USER, ASSISTANT = "<|User|>", "<|Assistant|>"  # turns of Janus-Pro
IMAGE_START = "<begin_of_image>"
PAD = "<｜▁pad▁｜>"  # noqa: RUF001  # spelled so in the vocabulary
PROBE = "a red apple"


class JanusPrompt:
    """Token ids of prompts.

    Args:
        tokenizer: Tokenizer of the checkpoint, whose chat template is the form where it has one.
        name: Name of the model.

    ValueError where prompts would not have the form that the model was trained on.

    Attributes:
        bos: Token id of the beginning of the prompt.
        boi: Token id of the beginning of the image.
        pad: Token id of all tokens between these two in the unconditional branch.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        vocabulary = tokenizer.get_vocab()
        if not tokenizer.chat_template and not {USER, ASSISTANT} <= vocabulary.keys():
            raise ValueError(
                f"its tokenizer has neither a chat template nor the token {USER!r}: copy "
                f"chat_template.jinja of the model that it was made from"
            )
        self._tokenizer, self._name = tokenizer, name
        self.bos = token_id(tokenizer, str(tokenizer.bos_token), name)
        self.boi = token_id(tokenizer, IMAGE_START, name)
        # The model reads pads: another one, as some re-saved tokenizers name, makes another image.
        self.pad = token_id(tokenizer, PAD if PAD in vocabulary else str(tokenizer.pad_token), name)
        self._check_template()

    def encode(self, prompt: str) -> list[int]:
        plain_text(prompt, self._tokenizer, self._name, (USER, ASSISTANT, IMAGE_START))
        # Not verbose: our error about a long prompt says more than the tokenizer's warning.
        words = self._tokenizer(self._turn(prompt), verbose=False)["input_ids"]
        # One BOS, whether tokenizer, template, both or neither write it.
        return [self.bos, *(word for word in words if word != self.bos), self.boi]

    def unconditional(self, ids: list[int]) -> list[int]:
        """Token ids of the other branch: BOS and BOI, and pads between them, which are attended."""
        return [token if token in (self.bos, self.boi) else self.pad for token in ids]

    def _turn(self, prompt: str) -> str:
        """Text of the prompt in the checkpoint's chat template, or else in the official form."""
        if not self._tokenizer.chat_template:
            return f"{USER}: {prompt.strip()}\n\n{ASSISTANT}:"
        turn: Any = {"role": "user", "content": [{"type": "text", "text": prompt}]}
        return str(
            self._tokenizer.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
        )

    def _check_template(self) -> None:
        try:
            turn = self._turn(PROBE)
        except (TemplateError, TypeError) as error:
            raise ValueError(f"its chat template is broken: {error}") from error
        if turn.count(PROBE) != 1 or "'text'" in turn:
            raise ValueError(
                "its chat template does not take prompts as Janus' own does: copy "
                "chat_template.jinja of the model that it was made from"
            )
