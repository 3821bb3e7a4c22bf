"""Rulebook: rules by name, errors that say what there is, and `exact` wherever results go."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hawk import Pipeline, SamplerConfig
from hawk.cli.app import app
from hawk.decoding.rule_names import RULES, load_rule
from hawk.targets.janus import Janus

EXACT = {"coupled", "residual"}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_makes_images_and_says_whether_it_is_exact(tiny: Janus, rule: str) -> None:
    pipeline = Pipeline(tiny, drafter="jacobi", rule=rule, slots=3)
    result = pipeline(["a", "b", "c", "d", "e"], guidance=2.0)
    assert result.exact is (rule in EXACT)
    assert result.summary()["exact"] is result.exact
    assert result.summary()["rule"] == rule
    assert all(0 <= token < 64 for picture in result.pictures for token in picture.tokens)
    assert 1 < result.stats.tokens_per_forward == result.stats.tokens / result.stats.forwards


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_works_behind_filters(tiny: Janus, rule: str) -> None:
    for sampler in (SamplerConfig(top_k=3), SamplerConfig(top_p=0.5), SamplerConfig(temperature=0)):
        pipeline = Pipeline(tiny, drafter="jacobi", rule=rule, slots=2)
        result = pipeline("a", sampler=sampler, n=2)
        assert result.stats.tokens == 2 * 36


@pytest.mark.parametrize("rule", RULES)
def test_at_temperature_0_all_rules_make_the_image_of_plain_decoding(
    tiny: Janus, rule: str
) -> None:
    greedy = SamplerConfig(temperature=0.0)
    plain = Pipeline(tiny, drafter="plain", rule="coupled", slots=1)("a", sampler=greedy)
    own = Pipeline(tiny, drafter="jacobi", rule=rule, slots=1)("a", sampler=greedy)
    assert own.pictures[0].tokens == plain.pictures[0].tokens


def test_parameters_are_part_of_the_name(tiny: Janus) -> None:
    rule = "neighbour:ratio=2:neighbours=5"
    assert Pipeline(tiny, drafter="plain", rule=rule, slots=1)("a").summary()["rule"] == rule


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("greedy", "choose from coupled, residual, typical, neighbour, cluster"),
        ("", "choose from coupled"),
        ("typical:alpha=1", "it takes epsilon, delta"),
        ("coupled:epsilon=1", "it takes none"),
        ("typical:epsilon", "must be a number, got ''"),
        ("typical:epsilon=much", "must be a number, got 'much'"),
        ("typical:epsilon=0", "epsilon must be above 0 and at most 1, got 0"),
        ("typical:delta=nan", "delta must be above 0"),
        ("neighbour:neighbours=2.5", "neighbours must be a whole number from 1, got 2.5"),
        ("neighbour:neighbours=0", "neighbours must be"),
        ("neighbour:neighbours=inf", "neighbours must be"),
        ("neighbour:limit=2", "limit must be above 0 and at most 1, got 2"),
        ("neighbour:ratio=0.5", "ratio must be above 1, or 0"),
        ("cluster:ranks=-1", "ranks must be a whole number from 1, got -1"),
        ("cluster:ranks=nan", "ranks must be"),
        ("cluster:gap=0", "gap must be above 0"),
        ("cluster:distance=0", "distance must be above 0"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(tiny: Janus, rule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_rule(rule, tiny)


def test_the_command_takes_rules_and_reports_them(tiny_folder: Path, tmp_path: Path) -> None:
    common = ["generate", "a", "--model", str(tiny_folder), "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, [*common, "--rule", "cluster:ranks=3"])
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["rule"], report["exact"]) == ("cluster:ranks=3", False)
    wrong = CliRunner().invoke(app, [*common, "--rule", "none"])
    assert wrong.exit_code == 2
    assert "choose from coupled, residual" in wrong.stderr
