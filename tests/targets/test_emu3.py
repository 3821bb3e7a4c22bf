"""Emu3: row ends, the negative prompt, and the images of transformers for the same noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from hawk import Request, SamplerConfig
from hawk.targets import load_target
from hawk.targets.emu3 import END_OF_LINE, NEGATIVE_PROMPT, Emu3
from tests import reference
from tests.targets import families
from tests.tiny_families import PATCH, save_tiny_emu3

HEIGHT, WIDTH = 7, 3  # narrow, so that a way through a tree crosses two row ends
PROMPTS = ["a red apple", "the flag of Norway, and a tree", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny-emu3")
    save_tiny_emu3(path)
    return path


@pytest.fixture(scope="module")
def target(folder: Path) -> Emu3:
    loaded = load_target(
        str(folder),
        dtype=torch.float32,
        device=torch.device("cpu"),
        size=(HEIGHT * PATCH, WIDTH * PATCH),
    )
    assert isinstance(loaded, Emu3)
    return loaded


def sequence(target: Emu3, ids: Sequence[int], tokens: Sequence[int]) -> list[int]:
    """Word ids of a prompt and the image so far, as transformers spells it: row ends included."""
    mapping = target.model.vocabulary_mapping
    words = list(ids)
    for place, token in enumerate(tokens, start=1):
        words.append(mapping.img2bpe[token])
        if place % WIDTH == 0:
            words.append(mapping.eol_token_id)
    return words


def next_logits(target: Emu3, request: Request) -> families.NextLogits:
    prompts = target.encode(request.prompt, request.negative_prompt)
    image = [target.model.vocabulary_mapping.img2bpe[code] for code in range(target.vocabulary)]

    @torch.inference_mode()
    def laws(tokens: list[int], branches: int) -> torch.Tensor:
        rows = [sequence(target, ids, tokens) for ids in prompts[:branches]]
        logits = [target.model(torch.tensor([row])).logits[0, -1, image] for row in rows]
        return torch.stack(logits)

    return laws


def requests(guidance: float, sampler: SamplerConfig) -> list[Request]:
    return [
        Request(
            prompt=prompt,
            seed=place * 2**40 + 3,
            guidance=guidance,
            sampler=sampler,
            negative_prompt=negative,
        )
        for place, (prompt, negative) in enumerate(zip(PROMPTS, [None, "blurry", ""], strict=True))
    ]


@pytest.mark.parametrize(
    ("guidance", "slots", "sampler"), [(1.0, 3, "full"), (3.0, 2, "top-k-p"), (3.0, 2, "greedy")]
)
def test_jacobi_gives_the_tokens_of_the_reference(
    target: Emu3, guidance: float, slots: int, sampler: str
) -> None:
    families.check_exact(
        target,
        lambda request: next_logits(target, request),
        requests(guidance, families.SAMPLERS[sampler]),
        drafter="jacobi",
        slots=slots,
    )


def test_plain_gives_the_tokens_of_the_reference(target: Emu3) -> None:
    asked = requests(3.0, SamplerConfig())
    families.check_exact(
        target, lambda request: next_logits(target, request), asked, drafter="plain", slots=2
    )


def test_every_node_of_a_tree_has_the_law_of_its_way(target: Emu3) -> None:
    asked = requests(3.0, SamplerConfig())[:2]
    families.check_trees(target, lambda request: next_logits(target, request), asked)


class OurNoise(LogitsProcessor):
    """Guidance, the image vocabulary and noise in one, in place of the unbatched official ones.

    At row ends it leaves the scores to transformers' own constraint.
    """

    def __init__(self, target: Emu3, request: Request) -> None:
        mapping = target.model.vocabulary_mapping
        self._image = [mapping.img2bpe[code] for code in range(target.vocabulary)]
        self._pick = reference.coupled_pick(request.seed, request.sampler)
        self._guidance, self._step, self._place = request.guidance, 0, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._place += 1
        if self._place % (WIDTH + 1) == 0:
            return scores
        image = scores[:, self._image]
        mixed = image[1:] + self._guidance * (image[:1] - image[1:])
        best = self._image[self._pick(mixed, self._step)]
        self._step += 1
        return torch.full_like(scores, -torch.inf).index_fill_(1, torch.tensor([best]), 0.0)


def test_transformers_generate_with_our_noise_makes_our_image(target: Emu3) -> None:
    """Both branches as a batch with left padding, the documented constraint at row ends."""
    asked = requests(3.0, SamplerConfig(top_k=30))[:2]
    ours, _ = families.session_tokens(target, "jacobi", asked, slots=2)
    mapping = target.model.vocabulary_mapping
    for request, tokens in zip(asked, ours, strict=True):
        rows = target.encode(request.prompt, request.negative_prompt)
        longest = max(map(len, rows))
        pad = target.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])

        def allowed(batch: int, so_far: torch.Tensor, longest: int = longest) -> list[int]:
            place = len(so_far) - longest + 1
            ends = place % (WIDTH + 1) == 0
            return [mapping.eol_token_id] if ends else mapping.image_tokens

        model: Any = target.model
        made = model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=HEIGHT * (WIDTH + 1),
            prefix_allowed_tokens_fn=allowed,
            logits_processor=LogitsProcessorList([OurNoise(target, request)]),
        )
        theirs = made[0, longest:].view(HEIGHT, WIDTH + 1)
        assert (theirs[:, -1] == mapping.eol_token_id).all()
        assert [mapping.bpe2img[word] for word in theirs[:, :-1].flatten().tolist()] == tokens


def test_pixels_are_those_of_the_model(target: Emu3) -> None:
    tokens = torch.randint(64, (2, HEIGHT * WIDTH), generator=torch.Generator().manual_seed(0))
    words = [[*sequence(target, [], image), 0, 0, 0] for image in tokens.tolist()]
    decoded = target.model.decode_image_tokens(
        image_tokens=torch.tensor(words), height=HEIGHT, width=WIDTH
    )
    wanted = ((decoded.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1)
    assert target.pixels(tokens).shape == (2, HEIGHT * PATCH, WIDTH * PATCH, 3)
    assert torch.equal(target.pixels(tokens).float(), wanted)


def test_one_frame_of_the_video_decoder_is_all_that_is_made(target: Emu3) -> None:
    seen: list[int] = []
    last: Any = target.model.model.vqmodel.decoder.conv_out
    hook = last.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    target.pixels(torch.zeros(2, HEIGHT * WIDTH, dtype=torch.int64))
    hook.remove()
    assert target.model.model.vqmodel.config.temporal_downsample_factor == 2
    assert seen == [2]  # two images, a frame each


def test_prompts_are_read_in_normal_form_c(target: Emu3) -> None:
    """As `tokenize` of the official tokenizer does."""
    assert target.encode("caf\u0065\u0301") == target.encode("caf\u00e9")


def test_the_prompt_has_the_official_form(target: Emu3) -> None:
    branches = target.encode("a red apple")
    spelled = [target.tokenizer.decode(ids) for ids in branches]
    size = f"<|image start|>{HEIGHT}*{WIDTH}<|image token|>"
    assert spelled == [f"<|extra_203|>a red apple{size}", f"<|extra_203|>{NEGATIVE_PROMPT}{size}"]
    assert target.encode("a", "b") == [target.encode("a")[0], target.encode("b")[0]]


def test_the_official_size_and_sampler_are_the_defaults(folder: Path) -> None:
    with pytest.raises(ValueError, match="512 positions, too few for an image of 360 x 360"):
        load_target(str(folder), dtype=torch.float32, device=torch.device("cpu"))


def test_special_tokens_in_a_prompt_are_refused(target: Emu3) -> None:
    with pytest.raises(ValueError, match="extra_200"):
        target.encode(f"an apple {END_OF_LINE}")
