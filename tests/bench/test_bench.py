"""Bench: what it counts is right, and the command says it in three forms."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hawk.bench.bench_report import name
from hawk.bench.comparison import compare
from hawk.bench.contenders import Method, Transformers, methods
from hawk.bench.measure import (
    ContenderRuns,
    accepted_by_cell,
    batched,
    measure,
    passes_by_accepted,
    rows,
)
from hawk.bench.peak_memory import CLEAR, PeakMemory
from hawk.cli.app import app
from hawk.decoding.request import Request
from hawk.pipeline import Pipeline
from hawk.targets.janus import Janus

ROW = {
    "drafter", "rule", "nodes", "batch", "tokens_per_forward", "seconds_per_image",
    "speedup_over_plain", "speedup_over_transformers", "peak_memory_mb",
}  # fmt: skip


def requests(count: int) -> list[Request]:
    return [Request(prompt=f"{place}", seed=place, guidance=1) for place in range(count)]


def test_accepted_drafts_are_counted_by_pass_and_by_cell() -> None:
    commits = [[1, 1, 3, 1], [1, 2, 2, 1]]  # the first is the prompt's own pass
    assert passes_by_accepted(commits) == [3, 2, 1]
    assert accepted_by_cell(commits) == [0, 0.5, 0.5, 1, 0, 0]
    assert passes_by_accepted([[1]]) == [0]


def test_the_last_batch_is_filled_up() -> None:
    batches = list(batched(requests(5), 3))
    assert [[request.seed for request in part] for part in batches] == [[0, 1, 2], [3, 4, 0]]


def test_plain_comes_first_and_once() -> None:
    found = methods(["jacobi", "plain"], ["coupled", "residual"], [8])
    assert [(one.drafter, one.rule, one.nodes) for one in found] == [
        ("plain", "coupled", None),
        ("jacobi", "coupled", None),
        ("jacobi", "coupled", 8),
        ("jacobi", "residual", None),
        ("jacobi", "residual", 8),
    ]


def test_speed_ups_are_medians_of_ratios_of_the_same_batch() -> None:
    class Named:
        def __init__(self, drafter: str, rule: str | None) -> None:
            self.drafter, self.rule, self.nodes = drafter, rule, None

        def prepare(self, *, guided: bool) -> None: ...

        def make(self, requests: Sequence[Request]) -> None: ...

    timed = {"plain": [4.0, 8.0, 9.0], "quick": [2.0, 2.0, 1.0], "transformers": [8.0, 8.0, 8.0]}
    plain, quick, theirs = rows(
        [
            ContenderRuns(
                contender=Named(name, None if name == "transformers" else "coupled"),
                batch=2,
                peak_mb=None,
                seconds=seconds,
                results=[],
            )
            for name, seconds in timed.items()
        ]
    )
    assert (plain.speedup_over_plain, quick.speedup_over_plain) == (1, 4)
    assert theirs.speedup_over_plain == 1
    assert (plain.speedup_over_transformers, quick.speedup_over_transformers) == (1, 4)
    assert (quick.seconds_per_image, quick.images) == (1, 6)


def test_rows_hold_what_the_pipeline_counts(tiny: Janus, monkeypatch: pytest.MonkeyPatch) -> None:
    # All passes cost the same: a busy machine might find that drafting does not pay.
    monkeypatch.setattr("hawk.pipeline.PassTimer", lambda *_, **__: lambda _rows, _nodes: 1.0)
    asked = requests(4)
    made: list[int] = []
    turns = measure(
        tiny,
        [
            *methods(["jacobi"], ["coupled"], [6]),
            Method(drafter="jacobi", rule="typical"),
        ],
        asked,
        batch=2,
        transformers=False,
        each=made.append,
    )
    assert made == [2] * 8
    plain, jacobi, forced, lossy = rows(turns)
    assert forced.drafting is not None
    assert forced.drafting.nodes_per_forward > 5  # but for the pass of the prompt
    assert forced.drafting.identical_to_plain == 4
    assert name(forced) == "jacobi, 6 nodes"
    assert [row.speedup_over_plain == 1 for row in (plain, jacobi, lossy)] == [True, False, False]
    assert plain.tokens_per_forward == 1
    assert jacobi.speedup_over_transformers is None
    assert plain.drafting is not None
    assert plain.drafting.passes_by_accepted == [4 * 35]
    assert jacobi.drafting is not None
    assert lossy.drafting is not None
    assert jacobi.drafting.identical_to_plain == 4 > lossy.drafting.identical_to_plain
    for row in (jacobi, lossy):
        assert row.drafting is not None
        passes = row.drafting.passes_by_accepted
        tokens = sum((accepted + 1) * count for accepted, count in enumerate(passes))
        assert tokens + row.images == 36 * row.images
        assert row.tokens_per_forward == pytest.approx(36 * 4 / (sum(passes) + 4))
        accepted = sum(row.drafting.accepted_by_cell_T) * row.images
        assert accepted == pytest.approx(sum(n * count for n, count in enumerate(passes)))
        assert sum(row.drafting.shares.values()) == pytest.approx(1)
        assert min(row.drafting.shares.values()) >= 0
    assert (jacobi.drafting.exact, lossy.drafting.exact) == (True, False)


@pytest.mark.skipif(not CLEAR.exists(), reason="the kernel keeps no peak of memory in /proc")
def test_peak_memory_forgets_what_was_before(tiny: Janus) -> None:
    memory = PeakMemory(tiny.device)
    memory.reset()
    before = memory.megabytes()
    assert before is not None
    del_me = bytearray(200 * 2**20)
    with_it = memory.megabytes()
    del del_me
    memory.reset()
    after = memory.megabytes()
    assert with_it is not None
    assert after is not None
    assert with_it >= before + 190
    assert after <= with_it - 150


def bench(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["bench", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


@pytest.mark.slow
def test_the_command_measures_and_draws(tiny_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "bench.html"
    stdout = bench(
        *("--prompts", 1, "--batch", "1,2", "--drafters", "jacobi", "--rules", "coupled,residual"),
        *("--against", "transformers", "--model", tiny_folder, "--html", page, "--json"),
    )
    report = json.loads(stdout.splitlines()[-1])
    assert all(set(row) == ROW for row in report["rows"])
    assert [(row["drafter"], row["rule"], row["batch"]) for row in report["rows"]] == [
        (drafter, rule, batch)
        for batch in (1, 2)
        for drafter, rule in (
            ("plain", "coupled"),
            ("jacobi", "coupled"),
            ("jacobi", "residual"),
            ("transformers", None),
        )
    ]
    last = report["rows"][-1]
    assert (last["tokens_per_forward"], last["speedup_over_transformers"]) == (1, 1)
    assert report["settings"]["guidance"] == 5
    assert [entry["images"] for entry in report["details"]] == [1] * 4 + [2] * 4
    check_page(page.read_text(encoding="utf-8"), report)


def check_page(text: str, report: dict[str, Any]) -> None:
    """One file with every number and plot, that asks for nothing else."""
    shown = re.search(r'<script type="application/json" id="report">(.*)</script>', text)
    assert shown is not None
    assert json.loads(shown[1]) == report
    assert text.count("<svg") == 5
    assert text.count("<tr>") == 1 + len(report["rows"])
    loads = re.findall(r'(?:src|href)="([^"#][^"]*)"', text)
    assert [link for link in loads if not link.startswith("data:image/png")] == []


def test_a_table_is_for_people(tiny_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a red apple\n")
    stdout = bench("--prompts", 1, "--prompts-file", file, "--model", tiny_folder)
    assert re.search(r"hawk .*coupled .*1 of 1", stdout)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--prompts", "0"], "prompts must be 1 or more, got 0"),
        (["--batch", "1,many"], "batch must be whole numbers from 1 with commas, got '1,many'"),
        (["--batch", "0"], "batch must be whole numbers from 1"),
        (["--against", "diffusers"], "--against takes transformers, got 'diffusers'"),
        (["--rules", "coupled,none"], "no rule 'none'"),
        (["--drafters", "psychic"], "no drafter 'psychic'"),
        (["--prompts-file", "no-such-file"], "no-such-file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_sentence(
    tiny_folder: Path, arguments: list[str], complaint: str
) -> None:
    assert complaint in bench(*arguments, "--model", tiny_folder, code=2)


def test_a_missing_extra_is_named(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hawk.bench.html_report.find_spec", lambda _: None)
    complaint = bench("--html", "page.html", "--model", tiny_folder, code=2)
    assert "pip install 'hawk-t2i[bench]'" in complaint


def test_transformers_cannot_take_part_everywhere() -> None:
    class Other:
        name = "no Janus"

    with pytest.raises(ValueError, match="transformers has no image generation for no Janus"):
        Transformers(Other())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        (["--random-weights", "emoji"], ["--prompts-file", "a.txt", "--drafters", "auto"]),
        (["--random-weights", "emoji"], ["--placement", "colocated,pair", "--seed", "0"]),
        (["--placement", "colocated,pair"], ["--against", "transformers", "--html", "a.html"]),
    ],
)
def test_options_that_a_mode_cannot_heed_are_refused(mode: list[str], options: list[str]) -> None:
    complaint = bench(*mode, *options, "--guidance", 2, code=2)
    assert complaint.endswith(f": leave out {', '.join(options[::2])}\n")


def test_a_comparison_tells_how_far_it_is(tiny: Janus) -> None:
    told: list[tuple[int, int]] = []
    report = compare(
        Pipeline(tiny, drafter="plain", rule="coupled", slots=1),
        methods(["jacobi"], ["coupled"]),
        requests(3),
        batches=[2, 3],
        each=lambda made, of: told.append((made, of)),
    )
    assert told == [(made, 14) for made in (0, 2, 4, 6, 8, 11, 14)]
    assert [(row.drafter, row.batch) for row in report.rows] == [
        (drafter, batch) for batch in (2, 3) for drafter in ("plain", "jacobi")
    ]
