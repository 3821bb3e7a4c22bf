"""The Kubernetes manifests: strict schemas, and what they promise of safety, size and growth."""

import ipaddress
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema
from typer.testing import CliRunner

import hawk
from hawk.cli.app import app
from tests.infra.commands import refusal, simple_commands
from tests.infra.reduce import CLUSTER, manifest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "kuberay"
SCHEMAS = Path(__file__).parent / "schemas"
PLAIN = {"Namespace", "ServiceAccount"}  # nothing in them but names, labels and a switch
DOCUMENTS = [
    (path.name, document)
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]


def spec_of(kind: str) -> dict[str, Any]:
    """Of the cluster that a manifest of this kind makes."""
    spec = manifest(kind)["spec"]
    return spec[CLUSTER[kind]] if kind in CLUSTER else spec


CLUSTERS = {kind: spec_of(kind) for kind in ("RayCluster", "RayJob", "RayService")}
GROUPS = [
    pytest.param(group, id=f"{kind}-{group['groupName']}")
    for kind, spec in CLUSTERS.items()
    for group in spec["workerGroupSpecs"]
]


def mistakes(kind: str, spec: dict[str, Any]) -> list[str]:
    schema = yaml.safe_load((SCHEMAS / f"{kind}.yaml").read_text())
    validator = jsonschema.Draft7Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(spec)]


def container(template: dict[str, Any]) -> dict[str, Any]:
    [only] = template["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize(("file", "document"), DOCUMENTS)
def test_schemas_are_kept(file: str, document: dict[str, Any]) -> None:
    assert {"apiVersion", "kind", "metadata"} <= document.keys() <= {
        "apiVersion", "kind", "metadata", "spec", "automountServiceAccountToken",
    }  # fmt: skip
    if document["kind"] in PLAIN:
        assert "spec" not in document
        return
    assert document["metadata"]["namespace"] == "hawk"
    assert mistakes(document["kind"], document["spec"]) == []
    if document["kind"] in CLUSTER:
        assert mistakes("RayCluster", CLUSTERS[document["kind"]]) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["enableInTreeAutoscaling"], "yes"),
        (["autoscalerOptions", "version"], "v3"),
        (["authOptions", "mode"], "open"),
        (["headGroupSpec", "replicas"], 1),
        (["workerGroupSpecs", 0, "maxReplicaz"], 1),
        (["workerGroupSpecs", 0, "template", "spec", "tolerations", 0, "value"], "x"),
    ],
)
def test_a_wrong_field_is_noticed(path: list[str | int], value: object) -> None:
    spec = yaml.safe_load(yaml.safe_dump(CLUSTERS["RayCluster"]))
    place: Any = spec
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert len(mistakes("RayCluster", spec)) == 1


def test_the_three_kinds_run_the_same_cluster() -> None:
    assert CLUSTERS["RayJob"] == CLUSTERS["RayCluster"]
    service = yaml.safe_load(yaml.safe_dump(CLUSTERS["RayService"]))
    templates = [service["headGroupSpec"], *service["workerGroupSpecs"]]
    for template in templates:  # what serving adds
        only = container(template)
        only["ports"].remove({"name": "serve", "containerPort": 8000})
        [keys] = [entry for entry in only["env"] if entry["name"] == "HAWK_API_KEYS"]
        only["env"].remove(keys)
    for group in service["workerGroupSpecs"]:
        ready = container(group)["readinessProbe"]["httpGet"]
        assert ready == {"path": "/-/healthz", "port": 8000}
        ready.update(path="/api/local_raylet_healthz", port=52365)
    assert service == CLUSTERS["RayCluster"]


def test_it_grows_from_nothing_with_a_token() -> None:
    spec = CLUSTERS["RayCluster"]
    assert spec["rayVersion"] == ray.__version__
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["authOptions"] == {"mode": "token", "secretName": "hawk-ray-token"}
    head = spec["headGroupSpec"]["rayStartParams"]
    assert (head["num-cpus"], head["num-gpus"]) == ("0", "0")
    for group in spec["workerGroupSpecs"]:
        assert (group["minReplicas"], group["replicas"]) == (0, 0)
        assert group["maxReplicas"] > 0


@pytest.mark.parametrize("group", GROUPS)
def test_groups_have_gpus_and_bear_losses(group: dict[str, Any]) -> None:
    limits = container(group)["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == {"single": "1", "pair": "2"}[group["groupName"]]
    pod = group["template"]["spec"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in (
        pod["tolerations"]
    )
    assert any("spot" in toleration["key"] for toleration in pod["tolerations"])
    assert pod["automountServiceAccountToken"] is False


def pods() -> list[Any]:
    found = [
        pytest.param(template["template"]["spec"], id=f"{kind}-{number}")
        for kind, spec in CLUSTERS.items()
        for number, template in enumerate([spec["headGroupSpec"], *spec["workerGroupSpecs"]])
    ]
    return [*found, pytest.param(manifest("RayJob")["spec"]["submitterPodTemplate"]["spec"])]


@pytest.mark.parametrize("pod", pods())
def test_pods_may_do_little_and_take_what_they_say(pod: dict[str, Any]) -> None:
    [only] = pod["containers"]
    assert only["image"] == f"registry.example.com/hawk:{hawk.__version__}-cuda"
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsNonRoot"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert only["resources"]["requests"] == only["resources"]["limits"]
    mounted = {mount["name"] for mount in only["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    if only["name"] != "ray-job-submitter":
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= only.keys()


def test_the_service_is_one_that_serve_and_hawk_read(tmp_path: Path) -> None:
    text = manifest("RayService")["spec"]["serveConfigV2"]
    [application] = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
    assert application.import_path == "hawk.serving.app:build_app"
    settings = tmp_path / "serve.yaml"
    settings.write_text(yaml.safe_dump(application.args))
    result = CliRunner().invoke(app, ["serve", "--check", str(settings)])
    assert result.exit_code == 0, result.output
    assert application.args["keys"] == "required"
    ceiling = application.args["replicas"]["ceiling"]
    assert ceiling == CLUSTERS["RayService"]["workerGroupSpecs"][0]["maxReplicas"]


def test_the_job_is_a_command_of_ours() -> None:
    shell, option, script = shlex.split(manifest("RayJob")["spec"]["entrypoint"])
    assert (shell, option) == ("bash", "-c")
    [command, test] = simple_commands(script)
    assert refusal(command) is None
    assert test == ["test", "$?", "-eq", "3"]


# As much of `ray job` as the submitter needs: a job is its words, joined, in a shell of its own.
RAY = """#!{python}
import shlex, subprocess, sys
words = sys.argv[1:]
if words[:2] != ["job", "submit"]:
    sys.exit(1)  # no such job yet
done = subprocess.run(shlex.join(words[words.index("--") + 1:]), shell=True)
sys.exit(done.returncode != 0)
"""
HAWK = "#!/bin/sh\nexit $HAWK_CODE\n"


@pytest.mark.parametrize(("code", "succeeds"), [(0, True), (3, True), (1, False), (143, False)])
def test_rows_with_an_error_are_no_failure_of_the_job(
    tmp_path: Path, code: int, succeeds: bool
) -> None:
    """The line is put together as KubeRay's submitter does, and read by three shells."""
    for name, text in (("ray", RAY.format(python=sys.executable)), ("hawk", HAWK)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    entrypoint = manifest("RayJob")["spec"]["entrypoint"].strip()
    address = "--address http://head:8265"
    line = (
        f"if ray job status {address} job >/dev/null 2>&1 ; "
        f"then ray job logs {address} --follow job ; "
        f"else ray job submit {address} --submission-id job -- {entrypoint} ; fi"
    )
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HAWK_CODE": str(code),
    }
    done = subprocess.run(["bash", "-ce", line], env=environment, check=False)
    assert (done.returncode == 0) == succeeds


def test_nothing_is_open_that_no_rule_names() -> None:
    policies = [d for _, d in DOCUMENTS if d["kind"] == "NetworkPolicy"]
    [closed] = [p for p in policies if p["metadata"]["name"] == "closed"]
    assert closed["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], f"{policy['metadata']['name']} lets in anybody"


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("52.216.0.1", 443),  # S3
        ("10.0.0.1", 9000),  # another S3, in the cluster or beside it
        ("169.254.170.23", 80),  # where EKS Pod Identity hands out keys
        ("fd00:ec2::23", 80),
    ],
)
def test_what_the_docs_offer_can_be_reached(address: str, port: int) -> None:
    [policy] = [d for _, d in DOCUMENTS if d["metadata"]["name"] == "ray"]
    assert lets_out(policy, address, port)


def test_the_keys_of_a_machine_cannot_be_reached() -> None:
    for policy in (d for _, d in DOCUMENTS if d["kind"] == "NetworkPolicy"):
        assert not lets_out(policy, "169.254.169.254", 80)


def lets_out(policy: dict[str, Any], address: str, port: int) -> bool:
    """Whether a rule opens a port of an address outside of the cluster's own pods."""
    for rule in policy["spec"].get("egress", []):
        blocks = [peer["ipBlock"]["cidr"] for peer in rule.get("to", []) if "ipBlock" in peer]
        there = not rule.get("to") or any(
            ipaddress.ip_address(address) in ipaddress.ip_network(block) for block in blocks
        )
        if there and {"port": port, "protocol": "TCP"} in rule.get("ports", []):
            return True
    return False


def test_metrics_are_let_in_and_found() -> None:
    [policy] = [d for _, d in DOCUMENTS if d["metadata"]["name"] == "metrics"]
    [rule] = policy["spec"]["ingress"]
    allowed = {entry["port"] for entry in rule["ports"]}
    ports = container(CLUSTERS["RayService"]["headGroupSpec"])["ports"]
    assert {p["containerPort"] for p in ports if p["name"] in ("metrics", "serve")} <= allowed
    jobs = yaml.safe_load((ROOT / "infra" / "prometheus.yaml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == {"ray", "hawk"}
