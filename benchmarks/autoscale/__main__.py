"""Four scenarios of a cluster that grows and shrinks, on this machine, and their plot.

The autoscaler is Ray's own (v2); its nodes are processes that say they have GPUs. So times are
those of this machine's CPUs; what counts is who comes and goes, and that no image is lost.

    python -m benchmarks.autoscale --out docs/autoscale.svg
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path

from benchmarks.autoscale.cluster import FakeCluster, NodeType

EXAMPLES = Path(__file__).parents[2] / "examples" / "prompts.txt"
TYPES = {
    "pair": NodeType(cpus=2, gpus=2, most=2),
    "single": NodeType(cpus=1, gpus=1, most=2),
}
IDLE_S = 8.0
TITLES = {
    "grow": "A job for two pairs of two GPUs each, on a head without any",
    "lose": "The same, and a node is killed",
    "exceed": "A job for four pairs, where there can be two",
    "swell": "An endpoint of one or two replicas: three clients, then none",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("autoscale.svg"), help="The plot.")
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--images", type=int, default=48, help="Of a job.")
    parser.add_argument("--scenarios", default=",".join(TITLES), help="Comma separated.")
    asked = parser.parse_args()
    names = asked.scenarios.split(",")
    if unknown := set(names) - TITLES.keys():
        parser.error(f"no scenario {', '.join(unknown)}: there are {', '.join(TITLES)}")
    examples = EXAMPLES.read_text().splitlines()
    prompts = [examples[place % len(examples)] for place in range(asked.images)]
    with FakeCluster(TYPES, idle_s=IDLE_S) as cluster, tempfile.TemporaryDirectory() as folder:
        import ray  # reads the environment that the cluster has set

        from benchmarks.autoscale import endpoint, jobs
        from benchmarks.autoscale.plot import draw
        from benchmarks.autoscale.record import Record

        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        file = Path(folder) / "prompts.txt"
        file.write_text("\n".join(prompts))
        records: dict[str, Record] = {}
        for name in names:
            with Record(cluster.address) as record:
                if name == "swell":
                    found = endpoint.swell(record, asked.model)
                else:
                    work = jobs.Work(model=asked.model, prompts=file, out=Path(folder) / name)
                    found = getattr(jobs, name)(cluster, record, work)
            records[TITLES[name]] = record
            print(json.dumps({"scenario": name} | found))  # noqa: T201 its result
            draw(records, asked.out)  # a later one may fail
        ray.shutdown()


if __name__ == "__main__":
    main()
