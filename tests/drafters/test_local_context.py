"""ContextNetwork: what is computed in parts is what its layers say."""

import torch
import torch.nn.functional as F

from hawk.drafters.local_context import ABOVE, LEFT, ContextNetwork, LocalContext
from hawk.drafters.proposals import STEPS
from hawk.targets.janus import Janus
from tests.tiny import HIDDEN, VOCABULARY


def window_and_scene(tiny: Janus) -> tuple[ContextNetwork, LocalContext]:
    torch.manual_seed(0)
    window = ContextNetwork(tiny.identity, channels=8, embedding=4, head=16, stale=True)
    steps = torch.arange(1, STEPS + 1).expand(2, -1)
    scene = LocalContext(
        steps_BJ=steps,
        line_BL=torch.randint(VOCABULARY, (2, LEFT)),
        above_BJA=torch.randint(VOCABULARY + 1, (2, STEPS, len(ABOVE))),
        recent_B1D=torch.randn(2, 1, HIDDEN),
        hidden_BJX=torch.randn(2, STEPS, 3 * HIDDEN),
        short_BJ=torch.zeros_like(steps),
    )
    return window, scene


@torch.no_grad()
def test_the_recent_state_counts_for_every_step(tiny: Janus) -> None:
    window, scene = window_and_scene(tiny)
    recent_BJD = scene.recent_B1D.expand(-1, STEPS, -1)
    states = torch.cat([recent_BJD, scene.hidden_BJX], dim=-1).unflatten(-1, (4, HIDDEN))
    hidden = window.hidden(F.rms_norm(states, (HIDDEN,)).flatten(-2))
    rest = window.context(scene) - hidden
    window.hidden.weight.zero_()
    window.hidden.bias.zero_()
    torch.testing.assert_close(rest, window.context(scene), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_folded_layers_say_the_same(tiny: Janus) -> None:
    window, scene = window_and_scene(tiny)
    context_BJC = window.context(scene)
    left_BJL = scene.left(torch.randint(VOCABULARY, (2, STEPS)))
    before = window(context_BJC, left_BJL)
    after = window.folded()(context_BJC, left_BJL)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
