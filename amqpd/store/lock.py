"""The lock that keeps a second broker out of a data directory.

It is an flock on a file beside the database, so it ends with the process however that ends. The file stays:
taking it away would let a third process lock a file that the second no longer sees.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from amqpd.store.contract import StoreUnavailable


class FileLock:
    """Holds the lock of ``path`` from construction to ``release``.

    Raises StoreUnavailable, naming the directory and the holder's process id, when another holds it.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"cannot lock {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StoreUnavailable(
                f"the data directory {path.parent.absolute()} is in use by another broker (process {holder})"
            ) from error
        except OSError as error:
            os.close(self._descriptor)
            raise StoreUnavailable(f"cannot lock {path}: {error.strerror}") from error

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
