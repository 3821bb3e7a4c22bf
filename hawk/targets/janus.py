"""Janus and Janus-Pro (Chen et al., arXiv 2501.17811), and the embedded model `emoji`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, JanusForConditionalGeneration, PreTrainedTokenizerBase

from hawk.cache import Cache
from hawk.facts import Facts
from hawk.grid import Grid
from hawk.sampler import SamplerConfig
from hawk.targets import guidance
from hawk.targets.base import Output
from hawk.targets.hf import Decoder
from hawk.tree import Tree


class Janus:
    """Prompt, guidance and embeddings of `JanusForConditionalGeneration`; see `Target`."""

    facts: Facts  # of its files: `load_target` knows them

    def __init__(
        self,
        model: JanusForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
    ) -> None:
        self.name = name
        self.model = model.eval()
        self._tokenizer = tokenizer
        self._decoder = Decoder(model.model.language_model)
        self._head = model.model.generation_head
        vq = model.model.vqmodel.config
        self.grid = Grid(height=vq.num_patches, width=vq.num_patches)
        self.vocabulary = int(vq.num_embeddings)
        self.hidden_size = int(self._decoder.config.hidden_size)
        positions = self._decoder.config.max_position_embeddings
        self.prompt_limit = min(positions - self.grid.cells, tokenizer.model_max_length)
        own = model.generation_config
        # 5 and the whole softmax at temperature 1: the official sampling script.
        self.default_guidance = float(own.guidance_scale or 5.0)
        self.default_sampler = SamplerConfig(
            temperature=1.0 if own.temperature is None else own.temperature,
            top_k=own.top_k or 0,
            top_p=own.top_p or 1.0,
        )
        self._bos = _token_id(tokenizer, str(tokenizer.bos_token))
        self._pad = _token_id(tokenizer, str(tokenizer.pad_token))
        self._boi = _token_id(tokenizer, "<begin_of_image>")
        # One lookup a token instead of the two-layer aligner on every pass.
        with torch.no_grad():
            codes = torch.arange(self.vocabulary, device=model.device)
            self._image_embeds_VD = model.prepare_embeddings_for_image_generation(codes)

    @classmethod
    def load(
        cls, source: str | Path, name: str, *, dtype: torch.dtype, device: torch.device
    ) -> "Janus":
        """Load from a folder or hub id; safetensors only, no remote code."""
        tokenizer = AutoTokenizer.from_pretrained(source)
        loaded: Any = JanusForConditionalGeneration.from_pretrained(
            source,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            output_loading_info=True,
        )
        model, report = loaded
        if report["missing_keys"]:
            raise ValueError(f"weights are missing: {sorted(report['missing_keys'])[:3]} ...")
        return cls(model.to(device), tokenizer, name)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def embeddings_VX(self) -> Tensor:
        return self._image_embeds_VD

    @property
    def head_VX(self) -> Tensor:
        return self._head.vision_head.weight

    def encode(self, prompt: str) -> list[int]:
        special = [token for token in self._tokenizer.all_special_tokens if token in prompt]
        if special:
            raise ValueError(f"the prompt contains {special[0]!r}, a special token of {self.name}")
        text = prompt
        if self._tokenizer.chat_template:
            turn: Any = {"role": "user", "content": [{"type": "text", "text": prompt}]}
            text = str(
                self._tokenizer.apply_chat_template(
                    [turn], add_generation_prompt=True, tokenize=False
                )
            )
        # Not verbose: of a long prompt the error below says more than the tokenizer's warning.
        ids = [*self._tokenizer(text, verbose=False)["input_ids"], self._boi]
        if len(ids) > self.prompt_limit:
            raise ValueError(
                f"the prompt takes {len(ids)} tokens, {self.name} reads up to {self.prompt_limit}: "
                f"shorten it; it begins {prompt[:40]!r}"
            )
        return ids

    def new_cache(self, *, slots: int, branches: int, nodes: int) -> Cache:
        capacity = self.prompt_limit + self.grid.cells + nodes
        return self._decoder.new_cache(slots=slots, branches=branches, capacity=capacity)

    @torch.inference_mode()
    def prefill(
        self, prompts: Sequence[list[int]], slots: Sequence[int], guidance_B: Tensor, cache: Cache
    ) -> Output:
        """The unconditional branch keeps BOS and BOI; all between are attended pads."""
        rows = [
            branch
            for ids in prompts
            for branch in (ids, self._unconditional(ids))[: cache.branches]
        ]
        longest = max(map(len, rows))
        padded = [ids + [self._pad] * (longest - len(ids)) for ids in rows]
        embeds = self.model.get_input_embeddings()(torch.tensor(padded, device=self.device))
        lengths = torch.tensor([len(ids) for ids in rows], device=self.device)
        hidden_RD = self._decoder.prefill(embeds, lengths, slots, cache)
        return self._output(hidden_RD[:, None], guidance_B, cache)

    @torch.inference_mode()
    def forward(self, tree: Tree, guidance_B: Tensor, cache: Cache) -> Output:
        hidden_RND = self._decoder.forward(self._image_embeds_VD[tree.tokens_BN], tree, cache)
        return self._output(hidden_RND, guidance_B, cache)

    def _unconditional(self, ids: list[int]) -> list[int]:
        return [token if token in (self._bos, self._boi) else self._pad for token in ids]

    def _output(self, hidden_RND: Tensor, guidance_B: Tensor, cache: Cache) -> Output:
        logits = guidance.mix(self._head(hidden_RND), guidance_B, cache.branches)
        return Output(logits_BNV=logits, hidden_BND=hidden_RND[:: cache.branches])

    @torch.inference_mode()
    def pixels(self, tokens_BT: Tensor) -> Tensor:
        decoded = self.model.decode_image_tokens(tokens_BT).float()
        return decoded.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    found = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(found, int):
        raise ValueError(f"the tokenizer has no token {token!r}, which Janus needs")
    return found
