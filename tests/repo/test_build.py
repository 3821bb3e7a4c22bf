"""The wheel is whole: built, installed where nothing of this repository is, it makes an image."""

import json
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import hawk

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "hawk" / "assets"
TIMEOUT_S = 300


def run(*command: object, folder: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network: the build's own requirements are those of the tests."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, folder=ROOT)
    [made] = folder.glob("*.whl")
    return made


@pytest.mark.slow
def test_weights_page_and_licences_are_in_it(wheel: Path) -> None:
    assert wheel.name == f"hawk_t2i-{hawk.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    assets = {str(path.relative_to(ROOT)) for path in ASSETS.rglob("*") if path.is_file()}
    assert any(name.endswith("model.safetensors") for name in assets)
    assert assets | {"hawk/serving/page.html"} <= names
    licences = {name.partition("/licenses/")[2] for name in names if "/licenses/" in name}
    assert "LICENSE" in licences
    assert "hawk/assets/emoji/NOTICE" in licences
    assert not any(name.startswith(("tests/", "benchmarks/", "docs/")) for name in names)


@pytest.mark.slow
def test_it_makes_an_image_where_nothing_else_is(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps"]
    run(*pip, wheel, folder=tmp_path)
    # torch and the like, as if they had been downloaded; .pth files of a folder so named are not
    # read, so an editable install of this repository stays out of sight.
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    where = run(python, "-c", "import hawk; print(hawk.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(packages)
    for mine in ("jobs", "serve"):  # packages of a user's own
        (tmp_path / mine).mkdir()
        (tmp_path / mine / "__init__.py").write_text("raise ImportError('not of Hawk')")
    for command in ("batch", "serve", "submit", "train"):
        assert "Usage" in run(python, "-m", "hawk", command, "--help", folder=tmp_path)
    command = [python, "-m", "hawk", "generate", "a red apple", "--out", "images", "--json"]
    report = json.loads(run(*command, folder=tmp_path).splitlines()[-1])
    assert Path(tmp_path, report["images"][0]["path"]).exists()
    assert report["exact"]


def test_the_version_is_written_once_and_the_changelog_knows_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "hawk/__init__.py"
    [latest, *_] = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest == hawk.__version__


@pytest.mark.slow
def test_the_reference_is_made_of_docstrings(tmp_path: Path) -> None:
    options = ["--docformat", "google", "--no-show-source", "--output-directory", tmp_path]
    run(sys.executable, "-m", "pdoc", *options, "hawk.pipeline", folder=ROOT)
    page = (tmp_path / "hawk" / "pipeline.html").read_text()
    assert "from_pretrained" in page
    assert '<h6 id="arguments">Arguments:</h6>' in page  # the sections were understood
