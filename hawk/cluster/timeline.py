"""Timeline: what every round of every lane spent its time on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(kw_only=True)
class Round:
    """One tree from its request to its commit, by `time.perf_counter` of either process, which is
    one clock on one machine.

    Attributes:
        lane: Number of the lane.
        asked_s, sent_s: Times when the target packs and sends its request; equal where nobody was
            asked.
        arrived_s, left_s: Begin and end of the drafter's work; 0 where nothing came back.
        needed_s, came_s, unpacked_s: Times when the target needs, has and can read the block.
        verified_s: Time when the step is over.
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
        """Seconds at the drafter, beside whatever the target does."""
        return self.left_s - self.arrived_s

    @property
    def transfer_s(self) -> float:
        """Seconds of the target to pack, send and unpack."""
        return self.sent_s - self.asked_s + self.unpacked_s - self.came_s

    @property
    def wait_s(self) -> float:
        """Seconds of the target, idle."""
        return self.came_s - self.needed_s

    @property
    def verify_s(self) -> float:
        """Seconds of the target: pass, verification, commit, prompts of images that join."""
        return self.verified_s - self.unpacked_s


def breakdown(rounds: Sequence[Round]) -> dict[str, float]:
    """Report of `means` over rounds. With two lanes, drafting costs the target no time."""
    seconds = {
        "draft": sum(r.draft_s for r in rounds),
        "transfer": sum(r.transfer_s for r in rounds),
        "wait": sum(r.wait_s for r in rounds),
        "verify": sum(r.verify_s for r in rounds),
    }
    return means(seconds, len(rounds), whole=sum(seconds.values()) - seconds["draft"])


def means(seconds: Mapping[str, float], rounds: int, whole: float) -> dict[str, float]:
    """Milliseconds of a round by what they were spent on, and shares of the target's whole time."""
    parts = {**seconds, "round": whole}
    report = {f"{name}_ms": round(1000 * s / max(1, rounds), 3) for name, s in parts.items()}
    if whole:
        for name in ("transfer", "wait"):
            report[f"{name}_share"] = round(seconds[name] / whole, 4)
    return report
