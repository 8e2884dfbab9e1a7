"""Small filesystems of our own, for tests that fill them or cut their power. All of it needs root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

# linux/fs/ext4: the filesystem stops at once; with this flag without flushing its journal, as in a power cut.
EXT4_IOC_SHUTDOWN: Final = 0x8004587D
GOING_NO_FLUSH: Final = 2


def run(*command: object) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}"


class LoopFilesystem:
    """An ext4 filesystem in a file, mounted at ``path``."""

    def __init__(self, directory: Path, size_mib: int) -> None:
        self.image = directory / "image"
        self.path = directory / "mounted"
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(size_mib << 20)
        # No lazy initialisation, which would write in the background; nothing kept back for root.
        run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)

    def mount(self) -> None:
        run("mount", "-o", "loop", self.image, self.path)

    def unmount(self) -> None:
        run("umount", self.path)

    def cut_power(self) -> None:
        """What is not on the disk yet is lost; nothing more gets there until it is mounted again."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("=I", GOING_NO_FLUSH))
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """fsck of the unmounted image; it must find nothing, once the journal was replayed."""
        run("fsck.ext4", "-f", "-n", self.image)


@contextlib.contextmanager
def loop_filesystem(directory: Path, size_mib: int) -> Iterator[LoopFilesystem]:
    """A mounted filesystem, unmounted at the end. Skips the test where that cannot be done."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("no loop devices on this machine")
    made = LoopFilesystem(directory, size_mib)
    made.mount()
    try:
        yield made
    finally:
        # A test that failed may have left a process on it.
        subprocess.run(["umount", "--lazy", str(made.path)], stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def memory_filesystem(path: Path, size_mib: int) -> Iterator[Path]:
    """A tmpfs of this size. Skips the test where it cannot be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "none", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"tmpfs cannot be mounted: {done.stderr.strip()}")
    try:
        yield path
    finally:
        run("umount", "--lazy", path)
