"""On a GPU passes are CUDA graphs, and the tokens are those of plain decoding all the same."""

from pathlib import Path

import pytest
import torch

from hawk import Request
from hawk.decoding.target import Target
from hawk.drafters import DRAFTERS
from hawk.targets import load_target
from hawk.targets.janus import Janus
from tests.needs import NEEDS_CUDA
from tests.tiny import new_session, tokens_of

pytestmark = NEEDS_CUDA

ASKED = [
    Request(prompt=prompt, seed=seed, guidance=guidance)
    for seed, (prompt, guidance) in enumerate(
        [("a red apple", 5.0), ("x", 1.0), ("a green tree, 3d style", 2.0), ("a dog", 5.0)] * 3
    )
]


@pytest.fixture(scope="module")
def there(tiny_folder: Path) -> Target:
    """The tiny model on the GPU."""
    return load_target(str(tiny_folder), dtype=torch.float32, device=torch.device("cuda"))


@pytest.fixture(scope="module")
def eager(there: Target) -> list[list[int]]:
    """Tokens of plain decoding without graphs."""
    session = new_session(there, "plain", 3)
    session._cache.graphs = None
    return tokens_of(session, ASKED)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_graphs_change_no_token(
    there: Target, eager: list[list[int]], drafter: str, deterministic: bool
) -> None:
    session = new_session(there, drafter, 3, deterministic=deterministic, ahead=True)
    assert tokens_of(session, ASKED) == eager
    assert session._cache.graphs, "some shape must have come up again"


@pytest.mark.filterwarnings("ignore")  # of the compiler, which has several
def test_compiled_layers_change_no_token(tiny_folder: Path, eager: list[list[int]]) -> None:
    there = load_target(
        str(tiny_folder), dtype=torch.float32, device=torch.device("cuda"), compile=True
    )
    session = new_session(there, "jacobi", 3)
    assert tokens_of(session, ASKED) == eager
    assert session._cache.graphs, "compiled passes must be graphs, too"


def test_layers_on_two_devices_change_no_token(tiny_folder: Path, eager: list[list[int]]) -> None:
    """The drafter's tokens move keys and values on both."""
    target = load_target(
        str(tiny_folder),
        dtype=torch.float32,
        device=torch.device("cuda"),
        others=[torch.device("cpu")],
    )
    assert isinstance(target, Janus)
    assert {device.type for device in target.layout.layer_devices} == {"cuda", "cpu"}
    assert tokens_of(new_session(target, "jacobi", 3, ahead=True), ASKED) == eager


def test_tokens_are_those_of_a_cpu(tiny: Janus, eager: list[list[int]]) -> None:
    assert tokens_of(new_session(tiny, "plain", 3), ASKED) == eager
