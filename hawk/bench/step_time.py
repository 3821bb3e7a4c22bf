"""Step times of a model's shape, beside the limit of the device's memory.

A pass reads every weight and the keys and values of its images once; no pass is quicker than that.
Drafting pays as far as the cost of a pass stays flat when it verifies more nodes.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from rich.table import Table

from hawk.decoding.pass_timer import PassTimer
from hawk.targets.random_target import RandomTarget

NODES = (1, 2, 4, 8, 16, 32)
COPIED_BYTES = 2**28  # far beyond any cache
GIB = 2**30


def measure(
    target: RandomTarget, batches: Sequence[int], *, guided: bool, compiled: bool = False
) -> dict[str, Any]:
    """Time passes over trees of several sizes, half an image long.

    Args:
        target: Model to time.
        batches: Numbers of images in a pass.
        guided: True where an image has two rows.
        compiled: True where its layers are compiled first.
    """
    if compiled:
        target.compile()
    layout, branches = target.layout, 2 if guided else 1
    device, dtype = layout.device, layout.dtype
    bandwidth = copy_bandwidth(device)
    token_bytes = 2 * layout.layers * layout.heads * layout.head_size * dtype.itemsize
    rows = []
    for batch in batches:
        timer = PassTimer(target, slots=batch, guided=guided, most_nodes=NODES[-1])
        kept_bytes = batch * branches * token_bytes * (target.grid.cells // 2)
        limit = (target.read_bytes + kept_bytes) / bandwidth
        one = 0.0
        for nodes in NODES:
            seconds = timer(batch, nodes)
            one = one or seconds
            rows.append(
                {
                    "batch": batch,
                    "nodes": nodes,
                    "ms": round(1000 * seconds, 3),
                    "limit_ms": round(1000 * limit, 3),
                    "share_of_limit": round(limit / seconds, 3),
                    "cost_of_one_node": round(seconds / one, 3),
                }
            )
    return {
        "model": target.name,
        "weights": "random",
        "weights_gib": round(target.read_bytes / GIB, 2),
        "guided": guided,
        "compiled": compiled,
        "dtype": str(dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "copy_gib_per_s": round(bandwidth / GIB, 1),
        "rows": rows,
    }


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second that a copy reads and writes, the best of five."""
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8, device=device)
    place = torch.empty_like(source)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        place.copy_(source)
        place[-1].item()  # waits for it
        best = min(best, time.perf_counter() - started)
    return 2 * COPIED_BYTES / best


def table(report: dict[str, Any]) -> Table:
    """The report for people."""
    title = (
        f"{report['model']}, random weights ({report['weights_gib']} GiB, {report['dtype']}), "
        f"{'guided, ' if report['guided'] else ''}{'compiled, ' if report['compiled'] else ''}"
        f"{report['device']} at {report['copy_gib_per_s']} GiB/s"
    )
    shown = Table(
        "images", "nodes", "ms a pass", "memory limit", "share", "of one node", title=title
    )
    for row in report["rows"]:
        shown.add_row(
            str(row["batch"]),
            str(row["nodes"]),
            f"{row['ms']:.2f}",
            f"{row['limit_ms']:.2f}",
            f"{row['share_of_limit']:.0%}",
            f"{row['cost_of_one_node']:.2f}x",
        )
    return shown
