"""A Janus small enough to run thousands of passes in a test, with laws worth drafting for, and
drafters of random weights beside it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import GenerationConfig, JanusConfig, JanusForConditionalGeneration, LlamaConfig
from transformers.models.janus.configuration_janus import JanusVisionConfig, JanusVQVAEConfig

from hawk import Request, Session
from hawk.decoding.budget import Budget
from hawk.decoding.drafter import Drafter, DrafterConfig
from hawk.decoding.grid import Identity
from hawk.decoding.rule_names import load_rule
from hawk.decoding.rules import Rule
from hawk.decoding.session import FIXED_NODES
from hawk.decoding.target import Target
from hawk.drafters import DRAFTERS, weights
from hawk.drafters.baselines.heads import Heads
from hawk.drafters.local_context import ContextNetwork
from jobs.emoji.text import BOI, BOS, PAD, token_id, train_tokenizer

GRID = 6
VOCABULARY = 64
HIDDEN = 64


def save_tiny_janus(folder: Path) -> None:
    """Random weights; the scales make laws that depend on their context and are neither flat nor
    sharp, so that drafts are accepted sometimes."""
    tokenizer = train_tokenizer(["a red apple", "a green tree, 3d style", "the flag of Norway"])
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=token_id(tokenizer, BOS),
        pad_token_id=token_id(tokenizer, PAD),
        eos_token_id=None,
    )
    vision = JanusVisionConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=GRID * 2,
        patch_size=2,
        projection_dim=HIDDEN,
        mlp_ratio=1.0,
        depth=1,
        num_image_tokens=GRID**2,
    )
    vq = JanusVQVAEConfig(
        embed_dim=4,
        num_embeddings=VOCABULARY,
        latent_channels=32,
        base_channels=32,
        channel_multiplier=[1, 1],
        num_res_blocks=0,
        num_patches=GRID,
        projection_dim=HIDDEN,
        image_token_embed_dim=HIDDEN,
    )
    torch.manual_seed(0)
    model = JanusForConditionalGeneration(
        JanusConfig(text_config=text, vision_config=vision, vq_config=vq, image_token_id=4)
    )
    with torch.no_grad():
        model.model.generation_head.vision_head.weight.mul_(40)
        for name, weight in model.model.generation_aligner.named_parameters():
            if name.endswith("weight"):
                weight.mul_(20)
    model.generation_config = GenerationConfig(
        bos_token_id=token_id(tokenizer, BOS),
        pad_token_id=token_id(tokenizer, PAD),
        generation_kwargs={"boi_token_id": token_id(tokenizer, BOI)},
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_tiny_drafters(folder: Path, identity: Identity) -> None:
    """A folder of random weights a kind."""
    torch.manual_seed(1)
    sizes = {"channels": 32, "embedding": 8, "head": 16}
    networks: dict[str, tuple[nn.Module, dict[str, int]]] = {
        "hawk": (ContextNetwork(identity, stale=True, **sizes), sizes | {"stale": True}),
        "local": (ContextNetwork(identity, stale=False, **sizes), sizes | {"stale": False}),
        "spatial": (Heads(identity, head=16), {"head": 16}),
    }
    for kind, (module, network) in networks.items():
        weights.save(folder / kind, kind, identity, module, network=network, training={})


def new_drafter(
    target: Target, drafter: str, slots: int, rule: Rule, *, branching: bool = True
) -> Drafter:
    config = DrafterConfig(
        identity=target.identity,
        slots=slots,
        by_chance=rule.by_chance,
        branching=branching,
        device=target.device,
    )
    return DRAFTERS[drafter](config)


def new_session(  # noqa: PLR0913  each is a choice of a test
    target: Target,
    drafter: str = "jacobi",
    slots: int = 2,
    *,
    guided: bool = True,
    rule: str = "coupled",
    deterministic: bool = False,
    ahead: bool = False,
) -> Session:
    """A session whose trees are as large as the drafter can make them."""
    most = DRAFTERS[drafter].most_nodes
    most = min(most, FIXED_NODES) if deterministic else most
    budget = Budget.fixed(most)
    judge = load_rule(rule, target)
    made = new_drafter(target, drafter, slots, judge, branching=not deterministic)
    return Session(
        target,
        made,
        judge,
        budget=budget,
        slots=slots,
        guided=guided,
        deterministic=deterministic,
        ahead=ahead,
    )


def tokens_of(session: Session, asked: Sequence[Request]) -> list[list[int]]:
    """The first image starts alone, the others join late and leave as they finish."""
    tickets = [session.submit(asked[0])]
    finished = {image.ticket: image.tokens_T.tolist() for image in session.step()}
    tickets += [session.submit(request) for request in asked[1:]]
    finished |= {image.ticket: image.tokens_T.tolist() for image in session.run()}
    return [finished[ticket] for ticket in tickets]
