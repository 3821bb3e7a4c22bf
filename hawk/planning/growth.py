"""Growth: how many workers a cluster can grow to, by its own file; nothing is started.

The file is one for `ray up`, or a KubeRay manifest of a RayCluster, RayJob or RayService. Node
types are chosen as Ray's autoscaler does: full nodes of the roomiest type first, then the smallest
node that holds the rest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ACCELERATOR = "ray.io/accelerator-type"  # label of a node type
SPECS = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
DEFAULT_WORKERS = 2  # of `ray up`, in all
ROUNDING = 1e-9  # shares of a GPU are floats

Bundle = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Nodes that a cluster starts, by type, and workers that have room on them."""

    nodes: dict[str, int]
    workers: int


@dataclass(frozen=True, kw_only=True)
class _NodeType:
    name: str
    most: int
    resources: Bundle
    labels: Mapping[str, str]

    def room(self, bundles: Sequence[Bundle]) -> int:
        """Number of workers with these bundles on one node."""
        asked = {kind: sum(bundle.get(kind, 0) for bundle in bundles) for kind in ("CPU", "GPU")}
        have = self.resources
        rooms = (have.get(kind, 0) / amount for kind, amount in asked.items() if amount)
        return math.floor(min(rooms, default=1) + ROUNDING)


def growth(
    cluster: Path, *, workers: int, bundles: Sequence[Bundle], draft_accelerator: str | None = None
) -> Growth:
    """Growth of a cluster from its head, on which no worker runs.

    Args:
        cluster: YAML file of the cluster.
        workers: Number of workers that are asked for.
        bundles: Resources of each worker, all on one node.
        draft_accelerator: Accelerator type of the nodes for the last bundle, the drafter's, where
            it is another one than that of the target's nodes.

    ValueError where the file describes no cluster.
    """
    types, most = _read(cluster)
    if draft_accelerator is None:
        nodes, fit = _fill(types, most, bundles, workers)
        return Growth(nodes=nodes, workers=fit)
    drafting = [kind for kind in types if kind.labels.get(ACCELERATOR) == draft_accelerator]
    others = [kind for kind in types if kind not in drafting]
    while workers:
        drafters, drafted = _fill(drafting, most, bundles[-1:], workers)
        nodes, fit = _fill(others, most - sum(drafters.values()), bundles[:-1], workers)
        if drafted == fit == workers:
            return Growth(nodes=nodes | drafters, workers=workers)
        workers = min(drafted, workers - 1)
    return Growth(nodes={}, workers=0)


def _fill(
    types: Sequence[_NodeType], most: int, bundles: Sequence[Bundle], workers: int
) -> tuple[dict[str, int], int]:
    """Nodes by type for as many of the workers as have room, and the number of these workers."""
    rooms = sorted([(kind.room(bundles), kind) for kind in types], key=lambda pair: -pair[0])
    rooms = [pair for pair in rooms if pair[0]]
    nodes = dict.fromkeys((kind.name for _, kind in rooms), 0)
    left = workers
    for turn, rounded in ((rooms, math.floor), (reversed(rooms), math.ceil)):
        for room, kind in turn:
            free = min(kind.most - nodes[kind.name], most - sum(nodes.values()))
            more = min(free, rounded(left / room))
            nodes[kind.name] += more
            left = max(0, left - more * room)
    return {name: count for name, count in nodes.items() if count}, workers - left


def _read(cluster: Path) -> tuple[list[_NodeType], int]:
    """Node types of workers, and the number of nodes in all."""
    try:
        content: Any = yaml.safe_load(cluster.read_text(encoding="utf-8"))
        if content.get("kind") not in SPECS:
            head, most = content["head_node_type"], content.get("max_workers", DEFAULT_WORKERS)
            types = content["available_node_types"].items()
            return [_type(name, kind, 0 if name == head else most) for name, kind in types], most
        spec = content["spec"]
        for name in SPECS[content["kind"]]:
            spec = spec[name]
        groups = [_group(group) for group in spec["workerGroupSpecs"]]
        return groups, sum(kind.most for kind in groups)
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__} {error}".splitlines()[0]
        raise ValueError(
            f"{cluster} is no cluster file for `ray up` and no KubeRay manifest: {reason}"
        ) from error


def _type(name: str, kind: Any, most: int) -> _NodeType:
    """A node type of `ray up`."""
    labels = kind.get("labels", {})
    most = kind.get("max_workers", most)
    return _NodeType(name=name, most=most, resources=kind["resources"], labels=labels)


def _group(group: Any) -> _NodeType:
    """A worker group of KubeRay, with the resources that Ray takes from it."""
    told, parameters = group.get("resources", {}), group.get("rayStartParams", {})
    container = group["template"]["spec"]["containers"][0].get("resources", {})  # Ray's own
    limits = container.get("requests", {}) | container.get("limits", {})
    gpus = sum(int(amount) for name, amount in limits.items() if name.endswith("gpu"))
    cpus = told.get("CPU", parameters.get("num-cpus", limits.get("cpu", 0)))
    return _NodeType(
        name=group["groupName"],
        most=group["maxReplicas"] * group.get("numOfHosts", 1),
        resources={
            "CPU": _cpus(str(cpus)),
            "GPU": int(told.get("GPU", parameters.get("num-gpus", gpus))),
        },
        labels=group.get("labels", {}),
    )


def _cpus(quantity: str) -> int:
    """CPUs of a Kubernetes quantity such as `8` or `500m`, rounded up as Ray does."""
    number, milli, _ = quantity.partition("m")
    return math.ceil(float(number) / (1000 if milli else 1))
