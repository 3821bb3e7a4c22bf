"""What holds the docs to their word notices when they break it."""

import pytest

from tests.infra.commands import refusal, simple_commands, syntax_error


@pytest.mark.parametrize(
    "words",
    [
        "hawk batch in.txt out --workerz 2",
        "hawk batch in.txt",
        "hawk jobs follow job",
        "hawk batch in.txt out --slots many",
        "ray up cluster.yaml --yess",
        "aws iam make-role --role-name a",
        "aws iam create-role --role-name a",
        "aws iam create-role --role-nam a --assume-role-policy-document b",
    ],
)
def test_mistakes_are_refused(words: str) -> None:
    assert refusal(words.split())


@pytest.mark.parametrize(
    "words",
    [
        "hawk batch in.txt out --workers 1:8 --gpus-per-worker 1",
        "hawk jobs logs hawk-1 --follow",
        "ray up cluster.yaml --yes",
        "aws iam create-role --role-name a --assume-role-policy-document b",
        "mkdir a",
    ],
)
def test_what_is_right_is_taken(words: str) -> None:
    assert refusal(words.split()) is None


def test_lines_are_split_as_a_shell_would() -> None:
    line = "export A=$(aws s3 ls); B=2 hawk models --json | tee 'a b' && ray status > log # no"
    assert list(simple_commands(line)) == [
        ["aws", "s3", "ls"],
        ["hawk", "models", "--json"],
        ["tee", "a b"],
        ["ray", "status"],
    ]
    assert syntax_error("if true; then")
    assert not syntax_error(line)
