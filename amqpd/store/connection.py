"""Opening SQLite files and transactions on them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Only people with an SQLite shell can hold the write lock of a file we locked.
BUSY_SECONDS: Final = 5.0
STATEMENTS_CACHED: Final = 256


def connect(path: Path, create: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any thread (one at a time)."""
    mode = "rwc" if create else "rw"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS_CACHED,
    )


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction that is rolled back when its body, or its COMMIT, fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction, if SQLite has not done so itself."""
    if connection.in_transaction:
        # What was wrong is being raised already; a connection that cannot even roll back is replaced by
        # resume.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
