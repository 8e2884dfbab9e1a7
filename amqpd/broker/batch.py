"""The sealed batch: what one store transaction carries, in plain tuples.

Rules (DESIGN section 4):

1. A batch is atomic and carries everything its turns decided, definitions too.
2. Numbers are dense and start at 1; the number is the confirm token.
3. A sealed batch is never changed again and may be committed twice.
4. Ids come from one counter of the shard: messages and queues share it. A message's id is also its
   position in every queue that holds it, so a requeued message keeps its place by keeping its id.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final

Scalar = int | float | str | bytes | None

# Entry flags.
SHARED: Final = 1  # more than one queue held the message when it was written: the body may outlive this entry
EARLY: Final = 4  # it expires before something ahead of it in its lane: the index of deadlines holds it
PAGED: Final = 2  # a transient message put out of memory: in the paged tables, gone after a restart


class Definition(NamedTuple):
    """One definition put or dropped.

    ``kind`` names a row of ``KINDS``; ``values`` holds its key columns, and for a put its other columns too.
    """

    kind: str
    drop: bool
    values: dict[str, Scalar]


class Kind(NamedTuple):
    """A kind of definition: its key columns and its other columns, each with its SQLite type."""

    key: dict[str, type]
    columns: dict[str, type]


# Everything that survives a restart besides messages. Argument tables are the wire's bytes (type-preserving);
# tags, metadata and other lists are JSON text.
KINDS: Final[dict[str, Kind]] = {
    "vhost": Kind({"name": str}, {"description": str, "tags": str, "metadata": str, "tracing": int}),
    "vhost_limit": Kind({"vhost": str, "name": str}, {"value": int}),
    "user": Kind({"name": str}, {"password_hash": str, "hashing_algorithm": str, "tags": str}),
    "user_limit": Kind({"user": str, "name": str}, {"value": int}),
    "permission": Kind({"user": str, "vhost": str}, {"configure": str, "write": str, "read": str}),
    "topic_permission": Kind({"user": str, "vhost": str, "exchange": str}, {"write": str, "read": str}),
    "exchange": Kind(
        {"vhost": str, "name": str}, {"type": str, "auto_delete": int, "internal": int, "arguments": bytes}
    ),
    # Dropping a queue drops its entries and the messages nobody else holds.
    # ``levels``: ids from its own on that are keys of its lanes.
    "queue": Kind(
        {"id": int},
        {"vhost": str, "name": str, "auto_delete": int, "type": str, "arguments": bytes, "levels": int},
    ),
    "binding": Kind(
        {
            "vhost": str,
            "source": str,
            "destination_type": str,  # 'queue' or 'exchange'
            "destination": str,
            "routing_key": str,
            "arguments": bytes,
        },
        {},
    ),
    # ``definition`` and ``value`` are JSON text.
    "policy": Kind({"vhost": str, "name": str}, {"pattern": str, "apply_to": str, "priority": int, "definition": str}),
    "operator_policy": Kind(
        {"vhost": str, "name": str}, {"pattern": str, "apply_to": str, "priority": int, "definition": str}
    ),
    "parameter": Kind({"vhost": str, "component": str, "name": str}, {"value": str}),
    "global_parameter": Kind({"name": str}, {"value": str}),
}


# (id, exchange, routing_key, properties, body). ``properties`` is the content header from its property flags on.
MessageRow = tuple[int, str, str, bytes, bytes]
# (queue, position, flags). The position is the message's id.
EntryRow = tuple[int, int, int]
# (queue, position, flags, deadline, name): an entry with a deadline, in milliseconds since 1970. ``name`` is what it
# can be found by in a queue that is searched (its message-id), else None.
ExpiringRow = tuple[int, int, int, int, str | None]
# (queue, position, deliveries, acquired): how often an entry came back from a consumer.
CountRow = tuple[int, int, int, int]
# (queue, position, deadline): another deadline for an early entry.
MovedRow = tuple[int, int, int]
# (space, key, expires): a note, in milliseconds since 1970. A space is the id of a queue.
NoteRow = tuple[int, bytes, int]
# (queue, offset, position, time, before): a chunk of a stream, see ``Chunk``.
ChunkRow = tuple[int, int, int, int, int]
# (queue, first, last), both ends included.
EntryRange = tuple[int, int, int]
# (first, last) message ids, both ends included.
IdRange = tuple[int, int]
# (queue, messages, bytes): what the queue holds durably once the batch is committed.
Depth = tuple[int, int, int]


@final
class Batch:
    """One store transaction. Lists are in ascending id order.

    ``settled`` are entries that leave their queue; every entry of the queue inside a range goes.
    ``released`` are ranges of message ids whose only holder was settled: every message in a range goes.
    ``shared`` are ids of messages with several holders: each goes when no entry refers to it any more.
    ``purged`` are entry ranges of unknown content (a purge of what is on disk): the store finds the messages.
    ``paged_messages`` and ``paged_entries`` are transient messages put out of memory: they need no durability
    and are gone after a restart; ``settled``, ``released``, ``shared`` and ``purged`` speak of them too.
    ``expiring`` and ``paged_expiring`` are entries, too: those with a deadline.
    ``counted`` are entries of this batch or an earlier one whose counts changed; they may be settled by now. An
    entry that comes twice comes with the same counts.
    ``moved`` are early entries of an earlier batch with another deadline; they may be settled by now.
    ``notes`` are put, or replaced; ``forgotten`` are (space, key) of notes that go, ``outdated`` (space, up_to) of
    those that expired up to then. A key is in one of the first two only, and what is outdated goes first.
    ``chunks`` are where the entries of streams in this batch begin. ``truncated`` are (queue, offset): chunks below the
    offset go; their entries are in ``purged``. A batch puts its chunks before it truncates.
    ``redelivered`` are (queue, position): entries up to the position may have been delivered before.
    What is called a queue here is a lane: a queue, or one priority of it (``levels`` of its definition).
    ``next_id`` is the first id not used yet; after a restart ids start there.
    """

    def __init__(self, number: int) -> None:
        self.number: int = number
        self.next_id: int = 1
        self.definitions: list[Definition] = []
        self.messages: list[MessageRow] = []
        self.entries: list[EntryRow] = []
        self.expiring: list[ExpiringRow] = []
        self.counted: list[CountRow] = []
        self.paged_messages: list[MessageRow] = []
        self.paged_entries: list[EntryRow] = []
        self.paged_expiring: list[ExpiringRow] = []
        self.settled: list[EntryRange] = []
        self.released: list[IdRange] = []
        self.shared: list[int] = []
        self.purged: list[EntryRange] = []
        self.depths: list[Depth] = []
        self.redelivered: list[tuple[int, int]] = []
        self.moved: list[MovedRow] = []
        self.notes: list[NoteRow] = []
        self.forgotten: list[tuple[int, bytes]] = []
        self.outdated: list[tuple[int, int]] = []
        self.chunks: list[ChunkRow] = []
        self.truncated: list[tuple[int, int]] = []


class StoredEntry(NamedTuple):
    """An entry read back from the store, with its message."""

    position: int
    flags: int
    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    deadline: int = 0  # 0 is never
    deliveries: int = 0
    acquired: int = 0


class Chunk(NamedTuple):
    """What one batch brought of a stream: the entries from ``position`` on up to the next chunk's.

    ``offset``: that of its first entry; the others count on from there, in order of position. ``time``: when the newest
    of them was published, in milliseconds since 1970. ``before``: octets of the bodies of all that was ever ahead of it
    in the stream, so that the sizes of chunks are differences. All grow from chunk to chunk; ``time`` may stand still.
    """

    offset: int
    position: int
    time: int
    before: int


class Due(NamedTuple):
    """Early entries whose deadline passed, and the smallest deadline of those not among them; 0 for none."""

    entries: list[StoredEntry]
    next_deadline: int


class QueueSummary(NamedTuple):
    """What a lane holds durably: counts, and the ends of its range (0 and 0 when empty).

    ``next_deadline``: the smallest deadline of its early entries and its first one, 0 for none.
    """

    queue: int
    messages: int
    bytes: int
    first: int
    last: int
    redelivered: int
    next_deadline: int = 0


class Summary(NamedTuple):
    """What a start needs: definitions in an order in which they can be declared, and a row per queue."""

    definitions: list[Definition]
    queues: list[QueueSummary]
