"""Where the source of a client with its tests comes from: PyPI, or Debian when PyPI has it without them."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from interop.suite.apt import fetch_source, private_apt, source_versions
from interop.suite.family import Unavailable


@dataclass(frozen=True)
class Sdist:
    """The source distribution of a package."""

    package: str
    version: str

    def archive(self, cache: Path) -> Path:
        return _kept(cache / "sources" / f"{self.package}-{self.version}", self._fetch)

    def _fetch(self, directory: Path) -> Path:
        wanted = f"{self.package}=={self.version}"
        # pip builds a source distribution to learn what it depends on; what it builds with may be wheels.
        options = ["-q", "--disable-pip-version-check", "--no-deps", "--no-binary", self.package, "-d", str(directory)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, wanted], capture_output=True, text=True
        )
        found = list(directory.glob("*.tar.*"))
        if not found:
            raise Unavailable(f"no source distribution of {wanted}: {done.stderr.strip().splitlines()[-1:]}")
        return found[0]


@dataclass(frozen=True)
class DebianSource:
    """Upstream's archive in a source package: of this version, or of the newest that can be had instead."""

    package: str
    version: str

    def archive(self, cache: Path) -> Path:
        return _kept(cache / "sources" / f"{self.package}-{self.version}", partial(self._fetch, cache))

    def _fetch(self, cache: Path, directory: Path) -> Path:
        apt = private_apt(cache / "sources" / "apt", sources=True)
        apt.update()
        refused: Unavailable | None = None
        for version in self.in_order(source_versions(apt, self.package)):
            try:
                return fetch_source(apt, self.package, version, directory)
            except Unavailable as reason:  # a mirror may list what it does not have
                refused = refused or reason
        raise refused or Unavailable(f"Debian has no source package {self.package}")

    def in_order(self, offered: list[str]) -> list[str]:
        """The one that is wanted, then the newest of what Debian offers, oldest first."""
        newest_first = offered[::-1]
        newest_first.sort(key=lambda version: not version.startswith(f"{self.version}-"))
        return newest_first


def _kept(directory: Path, fetch: Callable[[Path], Path]) -> Path:
    """The archive in this folder of the cache; fetched when it is not there."""
    found = sorted(directory.glob("*.tar.*"))
    if found:
        return found[0]
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        fetched = fetch(Path(scratch))
        # In one step: another run may look at the same time.
        return fetched.rename(directory / fetched.name)


def unpacked(archive: Path, directory: Path) -> Path:
    """The one folder of an archive, unpacked below ``directory``."""
    with tarfile.open(archive) as opened:
        opened.extractall(directory, filter="data")
    (tree,) = directory.iterdir()
    return tree


def replaced(path: Path, other: Path) -> None:
    """Put a file of ours in the place of one of the tree."""
    if not path.exists():
        raise ValueError(f"{path} is not there: the tests are built otherwise now")
    shutil.copyfile(other, path)
