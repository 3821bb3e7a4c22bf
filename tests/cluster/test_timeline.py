"""Timeline: what rounds were spent on, per round and as shares of the target's time."""

import pytest

from hawk.cluster.timeline import Round, breakdown


def test_rounds_are_split_into_what_they_were_spent_on() -> None:
    busy = Round(
        lane=0,
        **{"asked_s": 1, "sent_s": 1.25, "arrived_s": 1.5, "left_s": 3.5},
        **{"needed_s": 3, "came_s": 4, "unpacked_s": 4.25, "verified_s": 5.75},
    )
    alone = Round(lane=1, asked_s=6, sent_s=6, needed_s=6, came_s=6, unpacked_s=6, verified_s=7)
    assert breakdown([busy, alone]) == {
        "draft_ms": 1000,
        "transfer_ms": 250,
        "wait_ms": 500,
        "verify_ms": 1250,
        "round_ms": 2000,
        "transfer_share": pytest.approx(1 / 8),
        "wait_share": pytest.approx(1 / 4),
    }
    assert set(breakdown([]).values()) == {0}
