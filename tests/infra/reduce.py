"""Cut KubeRay's CRDs down to the fields that our manifests use, and forbid all others.

    python -m tests.infra.reduce FOLDER

FOLDER holds `ray.io_rayclusters.yaml` and its like, of KubeRay 1.7 (its
helm-chart/kuberay-operator/crds): a megabyte each, too much to keep for what a test needs. Run it
again when a manifest takes up a field that the schemas do not know, and read the difference.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "schemas"
CLUSTER = {"RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}  # where a cluster is in it
KEPT = ("type", "enum", "minimum", "maximum", "pattern", "required")


def reduced(schema: dict[str, Any], used: Any) -> dict[str, Any]:
    """The part of an OpenAPI schema that `used`, a value of it, touches."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {name: schema[name] for name in KEPT if name in schema}
    if "properties" in schema:
        known = schema["properties"]
        kept["properties"] = {name: reduced(known[name], used[name]) for name in sorted(used)}
        kept["additionalProperties"] = False
    elif "additionalProperties" in schema:
        any_value = next(iter(used.values()))
        kept["additionalProperties"] = reduced(schema["additionalProperties"], any_value)
    elif "items" in schema:
        kept["items"] = reduced(schema["items"], merged(used))
    return kept


def merged(values: list[Any]) -> Any:
    """One value with the fields of all of them, so that no item of a list is left out."""
    if isinstance(values[0], dict):
        names = {name for value in values for name in value}
        return {name: merged([v[name] for v in values if name in v]) for name in names}
    if isinstance(values[0], list):
        return [item for value in values for item in value]
    return values[0]


def manifest(kind: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "infra" / "kuberay" / f"{kind.lower()}.yaml").read_text())


def main() -> None:
    used = {kind: manifest(kind)["spec"] for kind in ("RayCluster", *CLUSTER)}
    clusters = [used["RayCluster"], *(used[kind].pop(name) for kind, name in CLUSTER.items())]
    used["RayCluster"] = merged(clusters)
    for kind, spec in used.items():
        crd = yaml.safe_load(Path(sys.argv[1], f"ray.io_{kind.lower()}s.yaml").read_text())
        [version] = [found for found in crd["spec"]["versions"] if found["name"] == "v1"]
        whole = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        schema = reduced(whole, spec)
        if kind in CLUSTER:  # looked at with the schema of RayCluster
            schema["properties"][CLUSTER[kind]] = {"type": "object"}
        text = yaml.safe_dump(schema, default_flow_style=None, width=100, sort_keys=False)
        (SCHEMAS / f"{kind}.yaml").write_text(
            f"# The spec of a {kind}; by tests/infra/reduce.py.\n{text}"
        )


if __name__ == "__main__":
    main()
