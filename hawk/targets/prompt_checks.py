"""Checks of prompts that all families share."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase


def plain_text(prompt: str, tokenizer: Any, name: str, form: Sequence[str] = ()) -> str:
    """The prompt itself. ValueError where it spells a special token.

    Args:
        prompt: Text of the user.
        tokenizer: Tokenizer of the model.
        name: Name of the model.
        form: Tokens of the family's prompt form, which not every tokenizer marks as special.
    """
    special = [token for token in (*special_tokens(tokenizer), *form) if token in prompt]
    if special:
        raise ValueError(
            f"the prompt contains {special[0]!r}, a special token of {name}: leave it out"
        )
    return prompt


@lru_cache(maxsize=8)  # Emu3 has 37,000 of them
def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Spellings of a tokenizer's special tokens. Other added tokens are words: some tokenizers add
    letters such as "ü"."""
    added = tokenizer.added_tokens_decoder.values()
    marked = [token.content for token in added if token.special]
    return tuple(dict.fromkeys([*tokenizer.all_special_tokens, *marked]))


def within(ids: list[int], limit: int, prompt: str, name: str) -> list[int]:
    """The ids themselves. ValueError where there are more than the limit."""
    if len(ids) > limit:
        raise ValueError(
            f"the prompt takes {len(ids)} tokens, {name} reads up to {limit}: "
            f"shorten it; it begins {prompt[:40]!r}"
        )
    return ids


def no_negative(negative_prompt: str | None, name: str, instead: str) -> None:
    """ValueError where there is a negative prompt; `instead` names what the model has for it."""
    if negative_prompt:
        raise ValueError(
            f"{name} reads no negative prompt (guidance leads away from {instead}): leave it out"
        )


def token_id(tokenizer: PreTrainedTokenizerBase, token: str, name: str) -> int:
    """Id of a token. ValueError where the vocabulary lacks it."""
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise ValueError(f"the tokenizer of {name} has no token {token!r}: it is another model's")
    return found
