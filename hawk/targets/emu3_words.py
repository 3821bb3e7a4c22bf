"""Words of Emu3: its vocabulary and the way it splits text are those of Qwen.

Facts from `emu3/mllm/tokenization_emu3.py` of github.com/baaivision/Emu3 at f6ea9aa.
"""

from tokenizers import Regex, pre_tokenizers
from transformers import PreTrainedTokenizerBase
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX


def split_as_trained(tokenizer: PreTrainedTokenizerBase) -> None:
    """Have a tokenizer split text as the official one.

    Its copy for transformers splits as GPT-2, and so spells "close-up" in other tokens.
    """
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
