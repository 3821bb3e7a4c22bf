"""What an autoscaler says it cannot have, told apart from what others ask for."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray._raylet
from ray.core.generated import autoscaler_pb2

from hawk.batch.capacity import out_of_reach
from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.settings import DraftSettings

MESSAGES: Any = autoscaler_pb2
SINGLE, OTHER = {"CPU": 0.5, "GPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}
TARGET, DRAFT = {"CPU": 0.5, "GPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}


@pytest.fixture(autouse=True)
def status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers refused that are one process, one pair, and what others want."""
    reply = MESSAGES.GetClusterStatusReply()
    state = reply.autoscaling_state
    for bundle in (SINGLE, OTHER, SINGLE):
        state.infeasible_resource_requests.add().resources_bundle.update(bundle)
    for group in ([DRAFT, TARGET], [DRAFT, DRAFT], [TARGET]):
        gang = state.infeasible_gang_resource_requests.add()
        requests = gang.bundle_selectors.add().resource_requests
        for bundle in group:
            requests.add().resources_bundle.update(bundle)
    text = reply.SerializeToString()
    client = SimpleNamespace(get_cluster_status=lambda: text)
    monkeypatch.setattr(ray._raylet, "GcsClient", lambda address: client)
    context = SimpleNamespace(gcs_address="127.0.0.1:1")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)


def settings(gpus: float, placement: str = "colocated") -> JobSettings:
    return JobSettings(
        drafting=DraftSettings(placement=placement),
        workers=WorkerSettings(cpus_per_worker=0.5, gpus_per_worker=gpus),
    )


def test_workers_of_one_process() -> None:
    assert out_of_reach(settings(1)) == 2
    assert out_of_reach(settings(2)) == 0


def test_pairs_whatever_the_order_of_their_bundles() -> None:
    assert out_of_reach(settings(2, "pair")) == 1
    assert out_of_reach(settings(1, "pair")) == 0
