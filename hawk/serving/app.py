"""Serve application: which deployments there are, and what each of them may take.

On a cluster: `import_path: hawk.serving.app:build_app`, and `args` as in `ServeConfig`.

Whoever starts the application imports this file, and holds no model: torch, which takes seconds, is
imported where a replica is made.
"""

from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from hawk.serving import ports
from hawk.serving.config import ServeConfig, check_config
from hawk.serving.remote_backend import Ingress
from hawk.serving.replica import Replica
from hawk.serving.service import SEATS

DRAIN_S = 10.0  # beyond the time limit of a request: who runs may finish
BACKLOG = 4  # calls that a replica holds, in units of what its engine takes; it refuses the rest
ATTEMPTS = 2  # at a first replica before a deployment counts as failed


class ModelReplica(Replica):
    """A replica that knows its name in the cluster, and its drafter where that is apart."""

    def __init__(self, config: ServeConfig) -> None:
        ports.guard()
        name = serve.get_replica_context().replica_id.unique_id
        placement = config.replicas.pair
        if placement is None:
            super().__init__(config, name)
        else:
            from hawk.cluster.drafter_process import DrafterProcess

            super().__init__(config, name, DrafterProcess(placement).pipeline)


def build_app(args: ServeConfig | Mapping[str, Any]) -> Application:
    """The application of some settings. ValueError that lists every mistake in them."""
    config = args if isinstance(args, ServeConfig) else check_config(dict(args), "args")
    return _ingress(config).bind(build_model(config), config)


def build_model(config: ServeConfig, attempts: int = ATTEMPTS) -> Application:
    """The model replicas alone, for who speaks HTTP by himself."""
    replicas = config.replicas
    capacity = config.model.slots + config.model.waiting
    bundles: dict[str, Any] = {}
    if (placement := replicas.pair) is not None:
        bundles["placement_group_bundles"] = placement.bundles()
        bundles["placement_group_strategy"] = "STRICT_PACK"
    return serve.deployment(
        name="Model",
        # Each image is a call of its own: what Serve counts as requests is images.
        autoscaling_config=AutoscalingConfig(
            min_replicas=replicas.floor,
            max_replicas=replicas.ceiling,
            target_ongoing_requests=replicas.images,
            upscale_delay_s=replicas.up_delay_s,
            downscale_delay_s=replicas.down_delay_s,
            look_back_period_s=max(2.0, replicas.up_delay_s),  # more than the interval
            metrics_interval_s=1.0,
        ),
        ray_actor_options={"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
        max_ongoing_requests=BACKLOG * capacity,
        max_queued_requests=capacity,  # at an ingress, while no replica is up
        graceful_shutdown_timeout_s=config.limits.seconds + DRAIN_S,
        max_constructor_retry_count=attempts,
        **bundles,
    )(ModelReplica).bind(config)


def _ingress(config: ServeConfig) -> serve.Deployment:
    return serve.deployment(
        name="Ingress",
        num_replicas=config.replicas.ingresses,
        max_surge_percent=100,  # on a redeployment the new ones come before the old ones go
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=2 * SEATS,  # it answers 429 itself, in the right shape, long before
        max_queued_requests=SEATS,
        graceful_shutdown_timeout_s=config.limits.seconds + DRAIN_S,
        max_constructor_retry_count=ATTEMPTS,
    )(serve.ingress()(Ingress))
