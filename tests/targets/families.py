"""What every family has to pass, whatever its prompt and guidance look like."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hawk import Request, SamplerConfig, Session
from hawk.decoding.tree import Shapes, Tree
from tests import reference
from tests.tiny import new_session

NextLogits = Callable[[list[int], int], torch.Tensor]  # image tokens, branches -> [branches, V]


def requests(prompts: Sequence[str], guidance: float, sampler: SamplerConfig) -> list[Request]:
    """One a prompt, seeds far apart."""
    return [
        Request(prompt=prompt, seed=place * 2**40 + 3, guidance=guidance, sampler=sampler)
        for place, prompt in enumerate(prompts)
    ]


def session_tokens(
    target: Any,
    drafter: str,
    requests: Sequence[Request],
    *,
    slots: int,
    deterministic: bool = False,
) -> tuple[list[list[int]], Session]:
    """Tokens of the requests, in their order, and the session that made them."""
    guided = any(request.guidance != 1 for request in requests)
    session = new_session(target, drafter, slots, guided=guided, deterministic=deterministic)
    tickets = [session.submit(request) for request in requests]
    finished = {image.ticket: image.tokens_T.tolist() for image in session.run()}
    return [finished[ticket] for ticket in tickets], session


def oracle(
    target: Any, next_logits: Callable[[Request], NextLogits], request: Request
) -> list[int]:
    """The image of a request by the ten-line reference."""
    laws, branches = next_logits(request), 1 if request.guidance == 1 else 2
    return reference.raster_decoding(
        lambda tokens: laws(tokens, branches),
        target.grid.cells,
        request.guidance,
        reference.coupled_pick(request.seed, request.sampler),
    )


def check_exact(
    target: Any,
    next_logits: Callable[[Request], NextLogits],
    requests: Sequence[Request],
    *,
    drafter: str,
    slots: int,
) -> None:
    """The drafter's images are those of the reference, and some drafts were accepted; so are
    those of passes that all have one shape."""
    wanted = [oracle(target, next_logits, request) for request in requests]
    made, session = session_tokens(target, drafter, requests, slots=slots)
    assert made == wanted
    padded, _ = session_tokens(target, drafter, requests, slots=slots, deterministic=True)
    assert padded == wanted
    assert session.stats.tokens == len(requests) * target.grid.cells
    if drafter != "plain" and requests[0].sampler.temperature:
        assert session.stats.accepted > 0  # else nothing was tested; greedy toys are chaotic


def check_trees(
    target: Any, next_logits: Callable[[Request], NextLogits], requests: Sequence[Request]
) -> None:
    """At every step of an image: each node of a bushy tree has the law of its way from the root.

    One row of the batch is a cell ahead of the other, so that they end rows at different nodes.
    """
    parents = [[0, 0, 1, 1, 0, 2, 5], [0, 0, 0, 2, 3, 4, 4]]
    shapes = Shapes(parents, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    cache = target.new_cache(slots=2, branches=2, nodes=shapes.nodes)
    guidance = torch.tensor([request.guidance for request in requests])
    prompts = [target.encode(request.prompt, request.negative_prompt) for request in requests]
    laws = [next_logits(request) for request in requests]
    target.prefill(prompts, range(2), guidance, cache)
    images: list[list[int]] = [[], []]
    counts = [1, 2]
    while max(map(len, images)) + shapes.levels < target.grid.cells:
        tree = Tree(
            shapes=shapes,
            shape_B=torch.tensor([0, 1]),
            tokens_BN=torch.randint(target.vocabulary, (2, shapes.nodes), generator=generator),
        )
        output = target.forward(tree, guidance, cache)
        for row, image in enumerate(images):
            for node in range(shapes.nodes):
                way = shapes.path_ZNL[row, node, : shapes.depths_ZN[row, node] + 1]
                both = laws[row](image + tree.tokens_BN[row, way].tolist(), 2)
                mixed = both[1] + guidance[row] * (both[0] - both[1])
                got = output.logits_BNV[row, node]
                assert torch.allclose(got, mixed, atol=2e-3, rtol=1e-3), (row, len(image), node)
        path = shapes.path_ZNL[torch.tensor([0, 1]), torch.tensor([6, 6])]
        cache.keep(path, torch.tensor(counts), counts, move=True)
        for row, image in enumerate(images):
            image += tree.tokens_BN[row, path[row, : counts[row]]].tolist()
        counts = counts[::-1] if len(images[0]) > 4 else [3, 4]


SAMPLERS = {
    "full": SamplerConfig(),
    "top-k-p": SamplerConfig(temperature=0.9, top_k=20, top_p=0.9),
    "greedy": SamplerConfig(temperature=0.0),
}
