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
        tokenizer: of the checkpoint; its chat template, if it has one, is the form.
        name: of the model.

    ValueError where prompts would not be put as the model was trained to read them.

    Attributes:
        bos, boi: token ids of the begin of the prompt and of the image, kept in both branches.
        pad: token id of all between them in the unconditional branch.
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
        # Pads are read here: another one, as some re-saved tokenizers name, is another image.
        self.pad = token_id(tokenizer, PAD if PAD in vocabulary else str(tokenizer.pad_token), name)
        self._check_template()

    def encode(self, prompt: str) -> list[int]:
        plain_text(prompt, self._tokenizer, self._name, (USER, ASSISTANT, IMAGE_START))
        # Not verbose: of a long prompt our error says more than the tokenizer's warning.
        words = self._tokenizer(self._turn(prompt), verbose=False)["input_ids"]
        # One BOS, whether the tokenizer or the template writes it, both or neither.
        return [self.bos, *(word for word in words if word != self.bos), self.boi]

    def unconditional(self, ids: list[int]) -> list[int]:
        """The other branch: BOS and BOI are kept, all between are pads, which are attended to."""
        return [token if token in (self.bos, self.boi) else self.pad for token in ids]

    def _turn(self, prompt: str) -> str:
        """The prompt in the checkpoint's chat template, or else in the official form."""
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
