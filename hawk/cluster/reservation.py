"""Reservation: the part of a cluster that a placement takes."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hawk import stop
from hawk.cluster.placement import Placement, words

TICK_S = 0.5
ACCELERATOR = "ray.io/accelerator-type"  # label of nodes


def with_gpus(placement: Placement, device: str) -> Placement:
    """Placement with its GPUs decided by those of the cluster and by `device`."""
    share = 1.0 if device != "cpu" and ray.cluster_resources().get("GPU", 0) else 0.0
    return replace(
        placement,
        target_gpus=share if placement.target_gpus is None else placement.target_gpus,
        draft_gpus=share if placement.draft_gpus is None else placement.draft_gpus,
    )


def reserve(placement: Placement) -> PlacementGroup:
    """Take the resources. RuntimeError that says what was asked and what there is."""
    group = request(placement)
    until = time.monotonic() + placement.start_s
    while not group.wait(TICK_S):
        stop.check()
        if time.monotonic() < until:
            continue
        remove_placement_group(group)
        raise RuntimeError(
            f"no room for a pair within {placement.start_s:g} s: asked for "
            f"{placement.describe()}; the cluster has {describe_nodes()}. Free some, or ask for "
            f"less"
        )
    return group


def request(placement: Placement) -> PlacementGroup:
    """Ask for the resources without waiting."""
    bundles = placement.bundles()
    if placement.draft_accelerator is None:
        return placement_group(bundles, strategy="STRICT_PACK")
    labels: Any = [*[{}] * (len(bundles) - 1), {ACCELERATOR: placement.draft_accelerator}]
    return placement_group(bundles, strategy="PACK", bundle_label_selector=labels)


def within(group: PlacementGroup, bundle: int, resources: dict[str, float]) -> dict[str, Any]:
    """Options of an actor that takes a bundle."""
    return {
        "num_cpus": resources.get("CPU", 0),
        "num_gpus": resources.get("GPU", 0),
        "scheduling_strategy": PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=bundle
        ),
    }


def describe_nodes() -> str:
    """Resources of every machine, and how much of all that is free."""
    nodes: Sequence[Any] = ray.nodes()
    machines = [words(node["Resources"]) for node in nodes if node["Alive"]]
    return f"{'; '.join(machines)}, of which {words(ray.available_resources())} are free"
