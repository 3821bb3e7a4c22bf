"""The pinned packages behind the emoji images: their versions, download and unpacking."""

import shutil
import subprocess
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESVG_VERSION = "0.5.0"  # another release may place an edge pixel differently


class PackageError(Exception):
    """Something that the build takes from outside cannot be had; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One exact release of an npm package."""

    name: str
    version: str

    @property
    def spec(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def stem(self) -> str:
        """What `npm pack` calls the release, without its `.tgz`."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}"


def fetch(package: Package, root: Path) -> Path:
    """The package's unpacked folder under `root`; what is there already is not fetched again."""
    unpacked = root / package.stem
    if not unpacked.exists():
        root.mkdir(parents=True, exist_ok=True)
        tarball = root / f"{package.stem}.tgz"
        if not tarball.exists():
            _download(package, tarball)
        _unpack(tarball, unpacked)
    return unpacked / "package"  # the one top folder of every npm tarball


def check_rasteriser() -> None:
    """Fails early, before any download, where the SVG renderer is missing or another release."""
    try:
        installed = version("resvg-py")
    except PackageNotFoundError:
        installed = "none"
    if installed != RESVG_VERSION:
        raise PackageError(
            f"resvg-py {RESVG_VERSION} draws the images, installed is {installed}: "
            f"run `pip install resvg-py=={RESVG_VERSION}`"
        )


def _download(package: Package, tarball: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise PackageError(
            f"npm is not installed and {tarball} is missing: install Node.js (npm comes with it), "
            "or put the tarball there by hand"
        )
    # a folder of its own, so that a broken download never looks like a tarball
    with tempfile.TemporaryDirectory(dir=tarball.parent) as scratch:
        result = subprocess.run(
            [npm, "pack", "--loglevel=error", package.spec],
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        packed = Path(scratch) / tarball.name
        if result.returncode != 0 or not packed.exists():
            reason = result.stderr.strip() or f"exit status {result.returncode}, no {tarball.name}"
            raise PackageError(
                f"npm could not fetch {package.spec}: check the network and npm's registry "
                f"setting, or put the tarball at {tarball} by hand. npm said:\n{reason}"
            )
        packed.replace(tarball)


def _unpack(tarball: Path, unpacked: Path) -> None:
    # unpacked elsewhere and moved, so that the folder is whole wherever it exists
    with tempfile.TemporaryDirectory(dir=unpacked.parent) as scratch:
        whole = Path(scratch) / "whole"
        try:
            with tarfile.open(tarball) as archive:
                archive.extractall(whole, filter="data")
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise PackageError(
                f"{tarball} cannot be unpacked ({error}): delete it and run again"
            ) from error
        whole.replace(unpacked)
