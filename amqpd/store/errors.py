"""What an SQLite error means to the broker: each becomes one of the contract's five errors."""

from __future__ import annotations

import os
import sqlite3

from amqpd.store.contract import StoreCorrupt, StoreError, StoreFull, StoreUnavailable, StoreUncertain

_UNAVAILABLE = {
    sqlite3.SQLITE_ABORT,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


def store_error(error: sqlite3.Error | OSError, path: object, committing: bool = False) -> StoreError:
    """The contract's error for ``error``. ``committing``: it was COMMIT that failed.

    A log without room has no commit frame, so "full" is certain even in COMMIT; an IO error there is not.
    What is neither room nor IO (a broken constraint, a missing table) says that the file is not what we
    wrote.
    """
    if isinstance(error, OSError):
        return StoreUnavailable(f"{path}: {error.strerror or error}")
    text = f"{path}: {error}"
    # The module's own complaints (a closed connection) carry no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_NOMEM)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return StoreFull(f"{text} ({name})")
    if primary == sqlite3.SQLITE_CORRUPT and _unreadable(path):
        return StoreUnavailable(f"{text} ({name}): the disk cannot be read")
    if primary not in _UNAVAILABLE:
        return StoreCorrupt(f"{text} ({name})")
    if committing:
        return StoreUncertain(f"{text} ({name})")
    return StoreUnavailable(f"{text} ({name})")


def _unreadable(path: object) -> bool:
    """Whether the disk is at fault: SQLite calls a read that fails with EIO a corrupt file."""
    try:
        descriptor = os.open(str(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        os.pread(descriptor, 1, 0)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
