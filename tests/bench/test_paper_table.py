"""The paper's table: every method that it lists, from one run."""

from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks.paper_table import METHODS, main

pytestmark = pytest.mark.slow

app = Typer()
app.command()(main)


def table_of(model: Path, *arguments: object) -> tuple[list[list[str]], str]:
    """Cells of the table's lines, and the whole text."""
    result = CliRunner().invoke(app, ["--model", str(model), *map(str, arguments)])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines], result.stdout


def test_every_method_has_a_row(tiny_folder: Path, real_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    (heads, _, *rows), text = table_of(
        tiny_folder,
        *("--real", real_file, "--drafters-dir", tiny_folder / "drafters"),
        *("--prompts", 3, "--batch", 2, "--out", out),
    )
    assert out.read_text() == text.removesuffix("\n")
    assert [row[0] for row in rows] == [*(method.label for method in METHODS), "real images"]
    law = {row[0]: row[heads.index("law")] for row in rows}
    ours = {law[name] for name in ("ours, trained", "ours, no training", "plain decoding")}
    assert ours == {"same tokens"}
    assert law["SJD"] == law["SCD"] == law["Hawk, as in the paper"] == "exact"
    assert law["Medusa"] == law["LANTERN++"] == "changed"
    speed = {row[0]: float(row[heads.index("tokens / forward")]) for row in rows[:-1]}
    assert speed["plain decoding"] == 1
    assert min(speed["SJD"], speed["SCD"]) > 1  # their windows know no budget
    quality = {row[0]: row[heads.index("Frechet") :] for row in rows}
    assert quality["ours, trained"] == quality["plain decoding"] != quality["SJD"]


def test_what_was_not_trained_is_said(tiny_folder: Path, real_file: Path, tmp_path: Path) -> None:
    (_, _, *rows), text = table_of(
        tiny_folder,
        *("--real", real_file, "--drafters-dir", tmp_path),
        *("--prompts", 2, "--batch", 2, "--out", tmp_path / "table.md"),
    )
    assert {row[1] for row in rows} == {"`plain`", "`sjd`", "`scd`", "`jacobi`", ""}
    assert "Not measured, for want of a trained drafter: Medusa, horizontal heads only" in text
