"""Where else a pair goes: workers of batch jobs, replicas of a service, the command line."""

import subprocess
import sys

import pytest

from hawk.cluster.placement import Placement, parse_placement
from hawk.serving.config import check_config


def test_a_placement_is_read_from_text() -> None:
    assert parse_placement("colocated") is None
    assert parse_placement("pair") == Placement()
    assert parse_placement(
        "pair:targets_per_drafter=2:lanes=3:draft_gpus=0.5:draft_accelerator=L4"
    ) == Placement(lanes=3, draft_gpus=0.5, draft_accelerator="L4", targets_per_drafter=2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("apart", "no placement 'apart'"),
        ("colocated:lanes=2", "no placement 'colocated:lanes=2'"),
        ("pair:lane=2", "no parameter 'lane': it takes targets_per_drafter, lanes"),
        ("pair:lanes=two", "lanes of a pair must be a number, got 'two'"),
        ("pair:lanes=0", "lanes must be 1 or more, got 0"),
        ("pair:draft_gpus=-1", "draft_gpus must be 0 or more, got -1.0"),
    ],
)
def test_a_placement_that_is_none_says_why(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_placement(text)


def test_a_replica_takes_a_bundle_for_itself_and_one_for_its_drafter() -> None:
    from hawk.serving.app import build_app

    config = check_config({"replicas": {"placement": "pair", "cpus": 2, "gpus": 1}}, "test")
    assert config.replicas.pair is not None
    assert config.replicas.pair.bundles() == [{"CPU": 2, "GPU": 1}, {"CPU": 1, "GPU": 1}]
    model = build_app(config)._bound_deployment.init_args[0]._bound_deployment
    replica = model._replica_config
    assert replica.placement_group_bundles == [{"CPU": 2, "GPU": 1}, {"CPU": 1, "GPU": 1}]
    assert replica.placement_group_strategy == "STRICT_PACK"
    with pytest.raises(ValueError, match="targets_per_drafter 2: give each a share"):
        check_config({"replicas": {"placement": "pair:targets_per_drafter=2"}}, "test")
    shared = {"placement": "pair:draft_gpus=0.25", "gpus": 1}
    pair = check_config({"replicas": shared}, "test").replicas.pair
    assert pair is not None
    assert pair.bundles() == [{"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 0.25}]


def test_ray_is_not_imported_before_its_environment_is_set() -> None:
    """It reads how to tell friend from stranger at import; a cluster of our own sets that."""
    code = (
        "import sys, hawk.cli, hawk.cli.options, hawk.batch.job_settings, hawk.serving.config;"
        "hawk.cluster.placement.parse_placement('pair'); import hawk.cluster.ray_connection;"
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
