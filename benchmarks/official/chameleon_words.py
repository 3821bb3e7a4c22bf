"""A vocabulary with the special ids of Chameleon: image tokens from 4, `<reservedN>` at N + 4.

Runs beside official code: imports nothing of Hawk.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

FIRST_IMAGE, CODES, RESERVED = 4, 8192, 8833
MERGES = [("t", "h"), ("a", "n"), ("i", "n"), ("Ġ", "a"), ("r", "e"), ("p", "l"), ("e", "d")]


def vocabulary() -> dict[str, int]:
    letters = "ABCDEFGHIJ"
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    for code in range(CODES):
        name = "".join(letters[int(digit)] for digit in str(code))
        words[f"IMGIMG{name}Z"] = FIRST_IMAGE + code
    words |= {"<eoss>": 8196, "<racm3:break>": 8197}
    for reserved in range(8194, RESERVED):
        words[f"<reserved{reserved:05d}>"] = reserved + 4
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    for token in [*alphabet, *(a + b for a, b in MERGES)]:
        words[token] = len(words)
    return words


def tokenizer(words: dict[str, int]) -> Any:
    made = Tokenizer(models.BPE(vocab=words, merges=MERGES))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = [word for word in words if word.startswith("<") and word != "<"]
    made.add_special_tokens([AddedToken(word, special=True) for word in special])
    return made


def save(out: Path) -> dict[str, int]:
    """Meta's `text_tokenizer.json`, and that of the hub, where a reserved word is `<image>`."""
    original = vocabulary()
    tokenizer(original).save(str(out / "text_tokenizer.json"))
    words = {word.replace("<reserved08707>", "<image>"): id for word, id in original.items()}
    tokenizer(words).save(str(out / "tokenizer.json"))
    settings = {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    settings |= {"pad_token": "<pad>", "unk_token": "<unk>", "legacy": False}
    (out / "tokenizer_config.json").write_text(json.dumps(settings))
    return words
