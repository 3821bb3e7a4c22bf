"""Growth: how far a cluster can grow to some workers, by Ray's own scheduler; nothing is started.

The cluster is a file: for `ray up`, or a KubeRay manifest that has a cluster in it. The scheduler
is the one that decides in a running cluster (autoscaler v2), asked what it would launch.
"""

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import ValidationError

NODE_WORKERS = 32  # no machine has room for more; so many are tried at most, for each node
NOT_A_CLUSTER = (  # what Ray makes of a file that is none
    yaml.YAMLError, ValidationError, AssertionError, AttributeError, KeyError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
CLUSTER = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What a cluster would do for so many workers.

    Attributes:
        nodes: that it would start, by type.
        workers: that have room on them.
        asked: workers that were asked for.
    """

    nodes: dict[str, int]
    workers: int
    asked: int


def growth(cluster: Path, *, workers: int, bundles: Sequence[Mapping[str, float]]) -> Growth:
    """How far a cluster grows from its head alone.

    Args:
        cluster: YAML file for `ray up`, or of a RayCluster, RayJob or RayService.
        workers: that are asked for.
        bundles: what each of them takes; where there are several, together on one node.

    ValueError where the file is no cluster.
    """
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    config = _read(cluster)
    tried = min(workers, NODE_WORKERS * config.get_max_num_worker_nodes())
    gangs = [_gang(number, bundles) for number in range(tried)] if len(bundles) > 1 else []
    singles = [] if gangs else [ResourceRequestUtil.make(dict(bundles[0]))] * tried
    answer = ResourceDemandScheduler(None).schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=config.get_node_type_configs(),
            max_num_nodes=config.get_max_num_worker_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(singles),
            gang_resource_requests=gangs,
        )
    )
    refused = answer.infeasible_gang_resource_requests + answer.infeasible_resource_requests
    return Growth(
        nodes={launch.instance_type: launch.count for launch in answer.to_launch},
        workers=tried - len(refused),
        asked=workers,
    )


def _gang(number: int, bundles: Sequence[Mapping[str, float]]) -> Any:
    """A placement group whose bundles must be on the same node."""
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated import autoscaler_pb2

    messages: Any = autoscaler_pb2
    together = (ResourceRequestUtil.PlacementConstraintType.AFFINITY, f"worker-{number}", "")
    requests = [ResourceRequestUtil.make(dict(bundle), [together]) for bundle in bundles]
    gang = messages.GangResourceRequest()
    gang.bundle_selectors.add().resource_requests.extend(requests)
    gang.requests.extend(requests)
    return gang


def _read(cluster: Path) -> Any:
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,  # pyright: ignore[reportPrivateUsage]  # no public way
    )
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)  # it tells every user of heads
    try:
        found = yaml.safe_load(cluster.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.get("kind") in CLUSTER:
            spec = found["spec"]
            for name in CLUSTER[found["kind"]]:
                spec = spec[name]
            found = _derive_autoscaling_config_from_ray_cr(found | {"spec": spec})
        with contextlib.redirect_stdout(sys.stderr):  # its advice is no result of ours
            return AutoscalingConfig(configs=found, skip_content_hash=True)
    except NOT_A_CLUSTER as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"{cluster} is no cluster file for `ray up` and no KubeRay manifest: {reason[0]}"
        ) from error
