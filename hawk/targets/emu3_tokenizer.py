"""Tokenizer of Emu3: its vocabulary and the way it splits text are those of Qwen.

Facts from `emu3/mllm/tokenization_emu3.py` of github.com/baaivision/Emu3 at f6ea9aa.
"""

from typing import Any

from transformers import Qwen2Tokenizer


def split_as_trained(tokenizer: Any) -> None:
    """Make a tokenizer split text as the official one does.

    Its copy for transformers splits text as GPT-2, and so spells "close-up" in other tokens.
    """
    qwen: Any = Qwen2Tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = qwen.backend_tokenizer.pre_tokenizer
