"""ContextNetwork: what is computed in parts is what its layers say."""

import torch
import torch.nn.functional as F

from hawk.drafters.local_context import ABOVE, LEFT, ContextNetwork, LocalContext
from hawk.drafters.proposals import STEPS
from hawk.targets.janus import Janus
from tests.tiny import HIDDEN, VOCABULARY


def network_and_context(tiny: Janus) -> tuple[ContextNetwork, LocalContext]:
    torch.manual_seed(0)
    network = ContextNetwork(tiny.identity, channels=8, embedding=4, head=16, stale=True)
    steps = torch.arange(1, STEPS + 1).expand(2, -1)
    context = LocalContext(
        steps_BJ=steps,
        line_BX=torch.randint(VOCABULARY, (2, LEFT)),
        above_BJA=torch.randint(VOCABULARY + 1, (2, STEPS, len(ABOVE))),
        recent_B1D=torch.randn(2, 1, HIDDEN),
        hidden_BJX=torch.randn(2, STEPS, 3 * HIDDEN),
        short_BJ=torch.zeros_like(steps),
    )
    return network, context


@torch.no_grad()
def test_the_recent_state_counts_for_every_step(tiny: Janus) -> None:
    network, context = network_and_context(tiny)
    recent_BJD = context.recent_B1D.expand(-1, STEPS, -1)
    states = torch.cat([recent_BJD, context.hidden_BJX], dim=-1).unflatten(-1, (4, HIDDEN))
    hidden = network.hidden(F.rms_norm(states, (HIDDEN,)).flatten(-2))
    rest = network.encode(context) - hidden
    network.hidden.weight.zero_()
    network.hidden.bias.zero_()
    torch.testing.assert_close(rest, network.encode(context), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_folded_layers_say_the_same(tiny: Janus) -> None:
    network, context = network_and_context(tiny)
    encoded_BJC = network.encode(context)
    left_BJX = context.left(torch.randint(VOCABULARY, (2, STEPS)))
    before = network(encoded_BJC, left_BJX)
    after = network.folded()(encoded_BJC, left_BJX)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
