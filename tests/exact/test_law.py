"""Whole images by chance rules have the law of the target: many seeds against an enumeration.

Stronger than a pass on its own: drafts of one pass shape laws and trees of the next, images share
what the drafter learns, join late and leave early.
"""

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hawk import Request, SamplerConfig, Session
from hawk.decoding.budget import Budget
from hawk.decoding.cache import Cache, Layout, Room
from hawk.decoding.drafter import DrafterConfig
from hawk.decoding.grid import Grid, Identity
from hawk.decoding.rules import Residual
from hawk.decoding.target import Branches, Output
from hawk.decoding.tree import Tree
from hawk.drafters.baselines.sjd import Scd, Sjd
from hawk.drafters.jacobi import Jacobi

V, CELLS = 6, 4
CPU = torch.device("cpu")
IMAGES, SLOTS = 80_000, 4_000


class Toy:
    """A target whose law depends on the last token alone; see `Target`."""

    name = "toy"
    grid = Grid(height=2, width=2)
    vocabulary = V
    prompt_limit = 1
    default_guidance = 1.0
    default_sampler = SamplerConfig()
    hidden_size = 1
    identity = Identity(
        name=name, revision="0", grid=grid, vocabulary=V, hidden_size=1, drafters={}
    )
    device = CPU

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.first_V = torch.randn(V, generator=generator) * 1.2
        self.codebook_VD = torch.zeros(V, 1)
        self.next_VV = torch.randn(V, V, generator=generator) * 1.2

    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches:
        return [[0]]

    def new_cache(
        self, *, slots: int, branches: int, nodes: int, fixed_shape: bool = False
    ) -> Cache:
        layout = Layout(layers=1, heads=1, head_size=4, dtype=torch.float32, device=CPU)
        return Cache(
            layout, slots=slots, branches=branches, room=Room(prompt_limit=1, image=CELLS + nodes)
        )

    def prefill(
        self, prompts: Sequence[Branches], slots: range, guidance_B: Tensor, cache: Cache
    ) -> Output:
        cache.begin_prompts(slots, torch.ones(len(prompts), 1, dtype=torch.int64))
        logits = self.first_V.expand(len(prompts), 1, -1)
        return Output(logits_BNV=logits, hidden_BND=torch.zeros(len(prompts), 1, 1))

    def forward(self, tree: Tree, guidance_B: Tensor, cache: Cache) -> Output:
        logits = self.next_VV[tree.tokens_BN]
        return Output(logits_BNV=logits, hidden_BND=torch.zeros(*tree.tokens_BN.shape, 1))

    @property
    def embeddings_VX(self) -> Tensor:
        raise NotImplementedError

    @property
    def head_VX(self) -> Tensor:
        raise NotImplementedError

    def pixels(self, tokens_BT: Tensor) -> Tensor:
        raise NotImplementedError

    def law(self) -> Tensor:
        """Probability of every image, [V, V, ...]."""
        first, following = self.first_V.double().softmax(0), self.next_VV.double().softmax(-1)
        images = torch.tensor(list(itertools.product(range(V), repeat=CELLS)))
        masses = first[images[:, 0]] * following[images[:, :-1], images[:, 1:]].prod(-1)
        return masses.view([V] * CELLS)


Chancy = type[Jacobi] | type[Sjd]


def new_session(kind: Chancy, nodes: int) -> Session:
    target, rule = Toy(), Residual()
    budget = Budget.fixed(nodes)
    config = DrafterConfig(
        identity=target.identity,
        slots=SLOTS,
        by_chance=rule.by_chance,
        branching=True,
        device=CPU,
    )
    return Session(target, kind(config), rule, budget=budget, slots=SLOTS, guided=False)


def images(kind: Chancy, nodes: int) -> Tensor:
    """What a session makes of many seeds, int64 [IMAGES, CELLS]."""
    session = new_session(kind, nodes)
    for place in range(IMAGES):
        # Equal seeds with unequal prompts, as in a call with many prompts.
        session.submit(Request(prompt=str(place % 50), seed=place // 50, guidance=1.0))
    made = torch.stack([image.tokens_T for image in session.run()])
    assert session.stats.accepted > IMAGES / 2  # else nothing was tested
    return made


def chi_square(tokens_NC: Tensor, law: Tensor) -> float:
    """Distance of tokens from their joint law [V, V, ...]."""
    places = V ** torch.arange(law.ndim - 1, -1, -1)
    seen = torch.bincount((tokens_NC * places).sum(-1), minlength=law.numel())
    wanted = len(tokens_NC) * law.flatten()
    return float(((seen - wanted) ** 2 / wanted).sum())


@pytest.mark.parametrize(
    "kind", [Jacobi, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (Sjd, Scd))]
)
def test_images_have_the_law_of_the_target(kind: Chancy) -> None:
    """1295 degrees of freedom, 35 for two neighbouring tokens. The odds of each limit are 1 in 10
    million, and the seeds are fixed."""
    made, law = images(kind, nodes=4), Toy().law()
    assert chi_square(made, law) < 1575
    for first in range(CELLS - 1):
        others = [axis for axis in range(CELLS) if axis not in (first, first + 1)]
        assert chi_square(made[:, first : first + 2], law.sum(others)) < 100


def test_equal_seeds_with_unequal_prompts_have_noise_of_their_own() -> None:
    """Else what the drafter learns from one image would tell it the noise of the others."""
    session = new_session(Jacobi, nodes=4)
    for place in range(50):
        session.submit(Request(prompt=str(place), seed=7, guidance=1.0))
    assert len({tuple(image.tokens_T.tolist()) for image in session.run()}) > 25
