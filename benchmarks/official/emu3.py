"""Emu3: the whole of `image_generation.py` on a tiny model in the layout of BAAI.

    PYTHON -m benchmarks.official.emu3 CHECKOUT OUT

Its hubs are replaced by the tiny model; prompts, sizes, guidance and sampler are its own. Needs
torch, transformers 4.44, tiktoken, accelerate.
"""
# The official code is on the path of its own run alone.
# pyright: reportMissingImports=false

import base64
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from safetensors.torch import save_file

from benchmarks.official import theirs

CODES, WIDTH, PIXELS = 64, 64, 12
MERGES = ["th", "er", "on", "an", "in", "re", "ed", "ma", "-u", "(a", "\n\n"]
TEXTS = ["a close-up (and more)", "THEY'RE 12 cats\n\n in a  row", "e\u0301te\u0301"]
GUIDANCE = "classifier_free_guidance"


def main(checkout: Path, out: Path) -> None:
    sys.path.insert(0, str(checkout))
    theirs.on_cpu()
    from emu3.mllm import tokenization_emu3

    _write_tokens(out)
    tokenization_emu3.SPECIAL_START_ID = 256 + len(MERGES)
    words = tokenization_emu3.Emu3Tokenizer(
        str(out / "emu3.tiktoken"), str(out / "emu3_vision_tokens.txt"), padding_side="left"
    )
    model, vq = _models(words, out)
    from emu3.tokenizer.image_processing_emu3visionvq import Emu3VisionVQImageProcessor

    _serve(model, vq, words, Emu3VisionVQImageProcessor())
    recorder = theirs.record_multinomial()
    ran = runpy.run_path(str(checkout / "image_generation.py"), run_name="__main__")

    inputs, images = ran["pos_inputs"], []
    first = words.special_tokens["<|visual token 000000|>"]
    length = inputs.input_ids.shape[1]
    for place, prompt in enumerate(ran["prompt"]):
        drawn = ran["outputs"][place, length:]
        steps = [step for step, word in enumerate(drawn) if first <= word < first + CODES]
        laws_TV = torch.stack([recorder.laws[step][place, first:] for step in steps])
        picture = PIL.Image.open(f"result_{place}_1.png")
        images.append(
            theirs.Image(
                prompt=prompt,
                row=inputs.input_ids[place][inputs.attention_mask[place] == 1].tolist(),
                tokens_T=drawn[steps] - first,
                laws_TV=laws_TV[:, :CODES],
                pixels=torch.from_numpy(np.asarray(picture).copy()).float(),
            )
        )
    usual = ran["GENERATION_CONFIG"]
    sampler = {"temperature": usual.temperature, "top_k": usual.top_k, "top_p": usual.top_p}
    processor = ran["processor"]
    spelled = {text: processor(text=[text], image_area=PIXELS**2)["input_ids"][0] for text in TEXTS}
    theirs.save(out, ran[GUIDANCE], sampler, images, spelled)


def _write_tokens(out: Path) -> None:
    ranked = [bytes([byte]) for byte in range(256)] + [pair.encode() for pair in MERGES]
    lines = [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(ranked)]
    (out / "emu3.tiktoken").write_text("\n".join(lines))
    vision = ["<|image token|>", "<|image start|>", "<|image end|>"]
    vision += [f"<|visual token {code:06d}|>" for code in range(CODES)]
    (out / "emu3_vision_tokens.txt").write_text("\n".join(vision))


def _models(words: Any, out: Path) -> tuple[Any, Any]:
    """The language model and the image tokenizer, two hubs in the official layout."""
    from emu3.mllm.configuration_emu3 import Emu3Config
    from emu3.mllm.modeling_emu3 import Emu3ForCausalLM
    from emu3.tokenizer.configuration_emu3visionvq import Emu3VisionVQConfig
    from emu3.tokenizer.modeling_emu3visionvq import Emu3VisionVQModel

    names = {"img": words.img_token, "boi": words.boi_token, "eoi": words.eoi_token}
    names |= {"eol": words.eol_token, "eof": words.eof_token, "eos": words.eos_token}
    names |= {"bos": words.bos_token, "pad": words.pad_token}
    ids = {f"{name}_token_id": words.special_tokens[token] for name, token in names.items()}
    config = Emu3Config(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        image_area=PIXELS**2,
        torch_dtype="float32",
        attn_implementation="sdpa",
        **ids,
    )
    model = Emu3ForCausalLM(config).float().eval()
    theirs.spread(model, {"lm_head": 3.0, "embed_tokens": 8.0})
    settings = {"codebook_size": CODES, "ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1}
    settings |= {"attn_resolutions": [], "temporal_downsample_factor": 2}
    vq = Emu3VisionVQModel(Emu3VisionVQConfig(**settings)).float().eval()
    theirs.spread(vq, {}, seed=1)
    for part, name in ((model, "llm"), (vq, "vq")):
        weights = {key: weight.contiguous() for key, weight in part.state_dict().items()}
        save_file(weights, out / f"{name}.safetensors")
        (out / f"{name}.json").write_text(part.config.to_json_string(use_diff=False))
    specials = {token: words.special_tokens[token] for token in words.special_tokens}
    (out / "special_tokens.json").write_text(json.dumps(specials))
    return model, vq


def _serve(model: Any, vq: Any, words: Any, images: Any) -> None:
    """What `from_pretrained` of the script's classes returns."""
    import transformers

    for kind, made in (
        (transformers.AutoModelForCausalLM, model),
        (transformers.AutoModel, vq),
        (transformers.AutoTokenizer, words),
        (transformers.AutoImageProcessor, images),
    ):
        kind.from_pretrained = lambda *_, made=made, **__: made


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
