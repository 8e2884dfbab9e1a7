"""Debian's packages without touching the machine: an apt with lists, state and cache of its own.

``private_apt(directory)`` reads the machine's package sources and knows what is installed;
``private_apt(directory, sources=True)`` knows source packages only, those of all of Debian's suites.
Neither needs root.
"""

import fcntl
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interop.suite.family import Unavailable

SUITES = ("bookworm", "trixie", "forky", "sid")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTS_SECONDS = 24 * 60 * 60.0  # lists this old are fetched again


@dataclass(frozen=True)
class Apt:
    """``options`` come behind the name of every program of apt."""

    directory: Path
    options: tuple[str, ...]

    def run(self, program: str, *words: str, cwd: Path | None = None) -> str:
        """What ``apt-get``, ``apt-cache`` and the like say; Unavailable with their error when they fail."""
        command = [program, *self.options, *words]
        done = subprocess.run(command, cwd=cwd or self.directory, capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"{program} {' '.join(words)}: {_last_line(done.stderr)}")
        return done.stdout

    def update(self) -> None:
        """Fetch the lists, unless that was done within a day. Suites that the mirror lacks are left out."""
        with _alone(self.directory):
            done = self.directory / "updated"
            if not done.exists() or time.time() - done.stat().st_mtime > LISTS_SECONDS:
                self.run("apt-get", "-qq", "update")
                done.touch()


def private_apt(directory: Path, *, sources: bool = False) -> Apt:
    """An apt that keeps everything in ``directory``, from the machine's own mirror. Raises Unavailable without apt."""
    if not shutil.which("apt-get"):
        raise Unavailable("apt-get is not on this machine")
    for name in ("lists/partial", "archives/partial"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State": directory,
        "Dir::State::status": Path("/var/lib/dpkg/status"),
        "Dir::Cache": directory,
    }
    if sources:
        listing = directory / "sources.list"
        listing.write_text(_source_lines(_mirror()))
        nothing_installed = directory / "status"
        nothing_installed.touch()
        settings |= {
            "Dir::State::status": nothing_installed,
            "Dir::Etc::SourceList": listing,
            "Dir::Etc::SourceParts": directory / "none",
        }
    arguments = [f"{name}={path}" for name, path in settings.items()]
    # As root, apt would fetch as a user that cannot write here. Lists stay compressed: unpacked they take
    # several times the room.
    arguments += ["APT::Sandbox::User=root", "Acquire::GzipIndexes=true"]
    return Apt(directory, tuple(word for argument in arguments for word in ("-o", argument)))


def fetch_source(apt: Apt, package: str, version: str, directory: Path) -> Path:
    """The upstream archive of this version of a source package, put into ``directory``."""
    get = ("-qq", "--only-source", "--download-only", "--tar-only", "source", f"{package}={version}")
    apt.run("apt-get", *get, cwd=directory)
    archives = sorted(directory.glob(f"{package}_*.orig.tar.*"))
    if not archives:
        raise Unavailable(f"the source package {package} {version} has no upstream archive")
    return archives[-1]


def source_versions(apt: Apt, package: str) -> list[str]:
    """The versions of a source package that Debian has, oldest suite first."""
    return re.findall(r"^Version: (.+)$", apt.run("apt-cache", "showsrc", package), re.MULTILINE)


def _source_lines(mirror: str) -> str:
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    return "".join(f"deb-src {signed}{mirror} {suite} main\n" for suite in SUITES)


def _mirror() -> str:
    """Debian's mirror that this machine uses."""
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True)
    for uri in targets.stdout.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise Unavailable("no mirror of Debian is set up on this machine")


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Families that run at the same time share the lists."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
