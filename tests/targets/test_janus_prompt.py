"""Prompt form of Janus: the official one, from whatever a copy of the checkpoint still has."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AddedToken

from hawk.targets import load_target
from hawk.targets.janus import Janus
from jobs.emoji.text import train_tokenizer

# "<|User|>: " + prompt + "\n\n" + "<|Assistant|>:" of janus/utils/conversation.py, template
# `deepseek`, in github.com/deepseek-ai/Janus at 1daa72f.
OFFICIAL = "<|begin_of_sentence|><|User|>: a red apple\n\n<|Assistant|>:<begin_of_image>"
TEMPLATE = (
    "{% for m in messages %}<|User|>: {{ m['content'][0]['text'] | trim }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>:{% endif %}"
)


def words(*, turns: bool = True, template: str | None = None) -> Any:
    """A tokenizer of the family; `turns` are added tokens, not special, as DeepSeek's letters."""
    made = train_tokenizer(["a red apple"])
    made.chat_template = template
    made.backend_tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    if turns:
        for turn in ("<|User|>", "<|Assistant|>"):
            made.add_tokens([AddedToken(turn, normalized=False)])
    return made


def spelled(janus: Janus, tokenizer: Any, prompt: str = " a red apple\n") -> str:
    return tokenizer.decode(janus.encode(prompt)[0])


def with_tokenizer(tiny: Janus, tokenizer: Any) -> Janus:
    return Janus(tiny.model, tokenizer, "a copy")


@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["lost", "there"])
def test_prompts_are_put_in_the_official_form(tiny: Janus, template: str | None) -> None:
    tokenizer = words(template=template)
    assert spelled(with_tokenizer(tiny, tokenizer), tokenizer) == OFFICIAL


def copy_with(tiny_folder: Path, tokenizer: Any, out: Path) -> Path:
    shutil.copytree(tiny_folder, out)
    (out / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(out)
    return out


def test_the_template_of_an_old_processor_is_found(tiny_folder: Path, tmp_path: Path) -> None:
    tokenizer = words()
    folder = copy_with(tiny_folder, tokenizer, tmp_path / "copy")
    (folder / "chat_template.json").write_text(
        json.dumps({"chat_template": TEMPLATE.replace("<|User|>: ", "<|User|>: please, ")})
    )
    loaded = load_target(str(folder), dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(loaded, Janus)
    assert spelled(loaded, tokenizer) == OFFICIAL.replace("a red", "please, a red")


def test_without_template_and_turns_it_is_refused_before_weights_are_read(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_with(tiny_folder, words(turns=False), tmp_path / "copy")
    monkeypatch.setattr("hawk.targets.source.Source.model", lambda *_: pytest.fail("weights"))
    with pytest.raises(ValueError, match=r"neither a chat template nor .* copy chat_template"):
        load_target(str(folder), dtype=torch.float32, device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ 'User: ' + messages[0]['content'] }}", "its chat template is broken"),
        ("{{ messages[0]['content'] }}", "does not take prompts as Janus' own does"),
        ("<|User|>: hello", "does not take prompts as Janus' own does"),
        ("{% for", "its chat template is broken"),
    ],
    ids=["text only", "list as text", "no prompt", "no template"],
)
def test_a_template_of_another_kind_is_refused(tiny: Janus, template: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        with_tokenizer(tiny, words(template=template))


def test_there_is_one_bos_though_the_template_writes_it_too(tiny: Janus) -> None:
    tokenizer = words(template="{{ bos_token }}" + TEMPLATE)
    ids, unconditional = with_tokenizer(tiny, tokenizer).encode("a red apple")
    bos, boi, pad = 0, 2, 1
    assert ids.count(bos) == 1
    assert unconditional == [bos, *[pad] * (len(ids) - 2), boi]


def test_pads_are_those_of_the_model_whatever_a_copy_names(tiny: Janus) -> None:
    """`<｜▁pad▁｜>` of `processing_vlm.py`; a re-saved tokenizer often names the end of text."""  # noqa: RUF002
    tokenizer = words()
    tokenizer.add_tokens([AddedToken("<｜▁pad▁｜>", special=True)])  # noqa: RUF001
    own = tokenizer.get_vocab()["<｜▁pad▁｜>"]  # noqa: RUF001
    _, unconditional = with_tokenizer(tiny, tokenizer).encode("a red apple")
    assert set(unconditional[1:-1]) == {own}


def test_added_letters_are_no_special_tokens(tiny: Janus) -> None:
    tokenizer = words()
    tokenizer.add_tokens(["ü", "ö"])
    assert tokenizer.get_vocab()["ü"] in with_tokenizer(tiny, tokenizer).encode("für dich")[0]


@pytest.mark.parametrize("token", ["<begin_of_image>", "<|User|>", "<|pad|>"])
def test_tokens_of_the_form_are_refused_in_prompts(tiny: Janus, token: str) -> None:
    with pytest.raises(ValueError, match="a special token of a copy: leave it out"):
        with_tokenizer(tiny, words()).encode(f"an apple {token}")
