"""``definitions.load_definitions``: what is imported before the broker listens."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from amqpd.auth.users import Users
from amqpd.broker.broker import Broker
from amqpd.server.core import make_defaults
from amqpd.server.definitions import rules
from amqpd.server.definitions.access import hashed
from amqpd.server.definitions.document import Document, NotDefinitions, joined, read_document
from amqpd.server.definitions.importing import counted, take_all
from amqpd.server.definitions.target import Target
from amqpd.server.logs import Log
from amqpd.server.settings import Settings

LINES_MAX: Final = 100  # refusals that are logged one by one


class CannotLoad(Exception):
    """There is nothing that could be imported; the text is one line."""


class Source:
    """The files that ``path`` names, read: ``document`` is all of them, ``digest`` tells whether they changed."""

    def __init__(self, path: Path) -> None:
        documents: list[Document] = []
        digest = hashlib.sha256()
        for file in _files(path):
            content = _read(file)
            try:
                documents.append(read_document(content))
            except NotDefinitions as error:
                raise CannotLoad(f"{file}: {error}") from None
            digest.update(hashlib.sha256(content).digest())
        self.path: Path = path
        self.document: Document = joined(documents)
        self.digest: str = digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.json"))
    if not files:
        raise CannotLoad(f"{path}: no *.json file in this directory")
    return files


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CannotLoad(f"{file}: cannot be read: {error.strerror}") from None


def read_source(settings: Settings) -> Source | None:
    """What the settings say is to be imported; None when it is nothing.

    Raises CannotLoad, with the file in its line, when it cannot be read or is no definitions.
    """
    path = settings.definitions.load_definitions
    return Source(Path(path)) if path else None


def load(broker: Broker, users: Users, source: Source, settings: Settings, log: Log) -> None:
    """Import the source; each entry that is refused gets a line in the log, and the broker starts without it.

    A new store gets its first vhost and user from the settings where the source has none. Entries that do not
    say their vhost go into the default one. What changes is in the open batch.
    """
    sections = source.document.sections
    if not broker.vhosts:
        make_defaults(broker, users, settings, not sections.get("vhosts"), not sections.get("users"))
    elif settings.definitions.skip_if_unchanged and rules.loaded_digest(broker) == source.digest:
        log.info(f"definitions of {source.path} are unchanged since their last import")
        return
    document = source.document.with_hashes(hashed)
    if document.of_one_vhost and document.lacks_vhost():
        document = document.into(settings.auth.default_vhost)
    counts = counted(take_all(Target(broker, users, document.version), document.entries()))
    for line in counts.refused[:LINES_MAX]:
        log.error(f"definitions of {source.path}: {line}")
    if len(counts.refused) > LINES_MAX:
        log.error(f"definitions of {source.path}: {len(counts.refused) - LINES_MAX} more entries are refused")
    # What was refused is tried again at the next start.
    if not counts.refused:
        rules.remember_digest(broker, source.digest)
    log.info(
        f"definitions of {source.path} imported: {counts.added} added, {counts.changed} changed,"
        f" {counts.same} there already, {len(counts.refused)} refused"
    )
