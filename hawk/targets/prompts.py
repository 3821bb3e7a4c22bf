"""Prompts: what every family checks before it reads one."""

from typing import Any

from transformers import PreTrainedTokenizerBase


def plain_text(prompt: str, tokenizer: Any, name: str) -> str:
    """The prompt itself. ValueError where it spells a special token."""
    special = [
        token
        for token in (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab())
        if token in prompt
    ]
    if special:
        raise ValueError(f"the prompt contains {special[0]!r}, a special token of {name}")
    return prompt


def within(ids: list[int], limit: int, prompt: str, name: str) -> list[int]:
    """The ids themselves. ValueError where there are more than the limit."""
    if len(ids) > limit:
        raise ValueError(
            f"the prompt takes {len(ids)} tokens, {name} reads up to {limit}: "
            f"shorten it; it begins {prompt[:40]!r}"
        )
    return ids


def no_negative(negative_prompt: str | None, name: str, instead: str) -> None:
    """ValueError where there is a negative prompt; `instead` is what the model has in its place."""
    if negative_prompt:
        raise ValueError(
            f"{name} reads no negative prompt (guidance leads away from {instead}): leave it out"
        )


def token_id(tokenizer: PreTrainedTokenizerBase, token: str, name: str) -> int:
    """ValueError where the vocabulary lacks the token."""
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise ValueError(f"the tokenizer of {name} has no token {token!r}: it is another model's")
    return found
