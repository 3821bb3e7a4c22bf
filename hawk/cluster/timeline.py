"""Timeline: what every round of every lane spent its time on."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(kw_only=True)
class Round:
    """One tree from its request to its commit, by `time.perf_counter` of either process, which is
    one clock on one machine.

    Attributes:
        lane: its number.
        asked_s, sent_s: the target packs and sends its request; equal where nobody was asked.
        arrived_s, left_s: the drafter works on it; 0 where nothing came back.
        needed_s, came_s, unpacked_s: the target wants the block, has it, can read it.
        verified_s: the step is over.
    """

    lane: int
    asked_s: float = 0.0
    sent_s: float = 0.0
    arrived_s: float = 0.0
    left_s: float = 0.0
    needed_s: float = 0.0
    came_s: float = 0.0
    unpacked_s: float = 0.0
    verified_s: float = 0.0

    @property
    def draft_s(self) -> float:
        """At the drafter, beside whatever the target does."""
        return self.left_s - self.arrived_s

    @property
    def transfer_s(self) -> float:
        """Of the target, to pack and send and unpack."""
        return self.sent_s - self.asked_s + self.unpacked_s - self.came_s

    @property
    def wait_s(self) -> float:
        """Of the target, idle."""
        return self.came_s - self.needed_s

    @property
    def verify_s(self) -> float:
        """Of the target: pass, verification, commit, and prompts of images that join."""
        return self.verified_s - self.unpacked_s


def split(rounds: Sequence[Round]) -> dict[str, float]:
    """Mean milliseconds of a round by what they were spent on, and shares of the target's time.

    The target's time is transfer, wait and verify; draft passes beside it, where lanes are two.
    """
    count = max(1, len(rounds))
    seconds = {
        "draft": sum(r.draft_s for r in rounds),
        "transfer": sum(r.transfer_s for r in rounds),
        "wait": sum(r.wait_s for r in rounds),
        "verify": sum(r.verify_s for r in rounds),
    }
    whole = seconds["transfer"] + seconds["wait"] + seconds["verify"]
    report = {f"{name}_ms": round(1000 * value / count, 3) for name, value in seconds.items()}
    report["round_ms"] = round(1000 * whole / count, 3)
    if whole:
        report["transfer_share"] = round(seconds["transfer"] / whole, 4)
        report["wait_share"] = round(seconds["wait"] / whole, 4)
    return report
