"""DrafterProcess: a drafter in the other bundle of this process's placement group.

For processes that hold a target anyway, workers of batch jobs and replicas of a service: their
pipelines become split ones, and the drafter ends with them.
"""

from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, get_current_placement_group

from hawk.cluster.draft_actor import DraftActor
from hawk.cluster.placement import Placement
from hawk.cluster.remote_drafter import Timeouts
from hawk.cluster.remote_pipeline import RemotePipeline
from hawk.cluster.reservation import within
from hawk.cluster.transport import PlainCalls
from hawk.decoding.target import Target
from hawk.pipeline import Pipeline


class DrafterProcess:
    """A drafter for the pipelines of this process.

    Args:
        placement: Placement that the group was made for.

    RuntimeError where this process is in no placement group.
    """

    def __init__(self, placement: Placement) -> None:
        group = get_current_placement_group()
        if group is None:
            raise RuntimeError("a drafter beside a target needs a placement group: make one")
        self._placement = placement
        self._transport = PlainCalls(start_drafter(placement, group))

    def pipeline(
        self, target: Target, *, drafter: str, rule: str, slots: int, deterministic: bool
    ) -> Pipeline:
        """Pipeline whose drafter is in that process; a whole one where nothing is drafted."""
        assert not deterministic, "settings refuse deterministic passes with a drafter apart"
        if drafter == "plain":
            return Pipeline(target, drafter=drafter, rule=rule, slots=slots)
        placement = self._placement
        return RemotePipeline(
            target,
            drafter=drafter,
            rule=rule,
            slots=slots,
            transport=self._transport,
            lanes=placement.lanes,
            timeouts=Timeouts(open_s=placement.start_s, block_s=placement.block_s),
        )


def start_drafter(placement: Placement, group: PlacementGroup) -> Any:
    """Actor in the last bundle of a group; Ray restarts it whenever it dies."""
    bundles = placement.bundles()
    process: Any = ray.remote(DraftActor)
    # A process without a GPU of its own may see those of others.
    device = "auto" if placement.draft_gpus else "cpu"
    return process.options(max_restarts=-1, **within(group, len(bundles) - 1, bundles[-1])).remote(
        device, max(1, int(placement.draft_cpus))
    )
