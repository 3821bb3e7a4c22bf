"""The AWS cluster file: Ray's own checks, offline, and what it promises of safety."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

FOLDER = Path(__file__).parents[2] / "infra" / "aws"


def cluster() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "cluster.yaml").read_text())


def test_ray_takes_it() -> None:
    prepared = prepare_config(cluster())
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert {name: of["max_workers"] for name, of in types.items()} == {
        "head": 0, "single": 8, "pair": 4,
    }  # fmt: skip


def test_ray_refuses_a_typing_mistake() -> None:
    config = prepare_config(cluster() | {"max_wokers": 3})
    with pytest.raises(jsonschema.ValidationError, match="max_wokers"):
        validate_config(config)


def test_the_head_does_no_work_and_stays() -> None:
    config = cluster()
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    start = config["head_start_ray_commands"][-1]
    assert "--num-cpus=0" in start
    assert "--num-gpus=0" in start


def test_nobody_reaches_the_dashboard_or_ray_without_a_token() -> None:
    config = cluster()
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in config[name][-1]
        assert "RAY_AUTH_TOKEN_PATH=$HOME/files/auth_token" in config[name][-1]
    assert list(config["file_mounts"]) == ["/home/ubuntu/files"]
    for of in config["available_node_types"].values():
        node = of["node_config"]
        assert node["SecurityGroupIds"], "Ray would make a group that opens SSH to everybody"
        assert node["IamInstanceProfile"], "Ray would make a role that may do all of EC2 and S3"
        assert node["MetadataOptions"]["HttpTokens"] == "required"


def test_workers_are_spot_machines_with_gpus() -> None:
    types = cluster()["available_node_types"]
    for name, pairs in (("single", 1), ("pair", 2)):
        assert types[name]["min_workers"] == 0
        assert types[name]["resources"]["GPU"] % pairs == 0
        assert types[name]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


@pytest.mark.parametrize("name", ["trust", "s3", "autoscaler"])
def test_policies_are_json_and_no_wider_than_they_need(name: str) -> None:
    policy = json.loads((FOLDER / f"{name}.json").read_text())
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            service, _, what = action.partition(":")
            assert service in ("ec2", "iam", "s3", "sts")
            assert "*" not in what
