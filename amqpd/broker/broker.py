"""The broker: virtual hosts, the journal, and the turn. Hot.

Bytes and time go in; bytes and journal batches come out. Every input (bytes of a connection, a committed batch, a
page, a deadline) is followed by ``run_turn``:

1. dead letters are published, then delayed messages whose time has come, then traces and events;
2. dirty queues deliver what they can;
3. queues nobody wants any more are deleted;
4. consumers that lost their queue are told, after the replies of the turn;
5. then the edge writes every outbox on ``outboxes`` and takes a batch.
"""

from __future__ import annotations

import json
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from amqpd.broker.batch import Batch, Definition, Scalar, StoredEntry, Summary
from amqpd.broker.events import Events, Owner
from amqpd.broker.exchange import Exchange
from amqpd.broker.journal import CommitPort, Journal
from amqpd.broker.message import Address, Message
from amqpd.broker.policies import OPERATOR_POLICY, POLICY, policy_of
from amqpd.broker.queue import ChannelPort, Queue
from amqpd.broker.registry import Registry
from amqpd.broker.router import Route, Router
from amqpd.broker.shard import PageRequest, PageSource, Shard
from amqpd.broker.timers import Timers
from amqpd.broker.vhost import Revision, VHost
from amqpd.spec.errors import AmqpError
from amqpd.wire.basic import address
from amqpd.wire.content import ContentHeader
from amqpd.wire.outbox import Outbox
from amqpd.wire.table import decode_table

# Dead letters published in one turn, before queues and sockets get theirs.
LETTERS_PER_TURN: Final = 2_000
# They fill at most this part of the open batch: what publishers wait for is not behind a large batch of dead letters.
LETTERS_SHARE: Final = 16
# Delayed messages of one schedule published in one turn, and entries of all in one batch: a plugin, which is not
# compiled, decides about each, and the store has to look for each.
DUE_PER_TURN: Final = 250
DUE_PER_BATCH: Final = 2_000


@mypyc_attr(allow_interpreted_subclasses=True)
class ConnectionPort(Owner):
    """What the broker knows of a connection."""

    def alarm_changed(self, reason: str) -> None:
        """An alarm went on (its reason) or all went off (empty)."""
        raise NotImplementedError

    def room_again(self) -> None:
        """The journal or a page it waited for: go on reading."""
        raise NotImplementedError

    def force_close(self, text: str) -> None:
        """An operator's close: 320 CONNECTION_FORCED with ``text``."""
        raise NotImplementedError

    def vhost_name(self) -> str:
        """Empty before connection.open."""
        raise NotImplementedError

    def channel(self, number: i64) -> ChannelPort | None:
        """The open channel of this number."""
        return None


@final
class Broker:
    """``outboxes``: those written to since the edge last looked.

    ``alarm``: the reason publishers are blocked for (``low on memory``, ``low on disk``), empty when none.
    """

    def __init__(self, registry: Registry, next_id: i64, last_batch: i64) -> None:
        self.registry: Registry = registry
        self.journal: Journal = Journal(next_id, last_batch)
        self.shard: Shard = Shard(self.journal)
        self.timers: Timers = self.shard.timers
        self.events: Events = self.shard.events
        self.events.listeners = registry.event_listeners
        self.revision: Revision = Revision()
        self.router: Router = Router()
        self.router.extensions = registry.route_extensions
        self.vhosts: dict[str, VHost] = {}
        self.global_parameters: dict[str, str] = {}  # by name, JSON text
        self.connections: dict[int, ConnectionPort] = {}
        self.outboxes: list[Outbox] = []
        # Connections that are not read until the journal has room, or until a page was loaded.
        # A connection that ends takes itself out.
        self.throttled: dict[ConnectionPort, bool] = {}
        self.waiting_for_page: dict[ConnectionPort, bool] = {}
        self.alarms: dict[str, bool] = {}
        self.alarm: str = ""
        # Entries that delayed messages put into the open batch.
        self.posted: i64 = 0
        self.posted_batch: i64 = 0
        # Lines for the operator's log; the edge takes them.
        self.reports: list[str] = []

    @property
    def now(self) -> int:
        """The shard's time, in milliseconds."""
        return int(self.shard.now)

    @now.setter
    def now(self, value: int) -> None:
        self.shard.now = value

    def run_turn(self) -> None:
        """See the module's text. Bounded: what does not fit waits for the next turn (``busy``)."""
        shard = self.shard
        if shard.letters:
            self._post_letters()
        if shard.due:
            self._post_due()
        if shard.traces:
            self._post_traces()
        if self.events.pending:
            self.events.hand_out(self)
        if shard.dirty:
            dirty = shard.dirty
            shard.dirty = []
            for queue in dirty:
                queue.dirty = False
                if not queue.deleted:
                    queue.pump()
        if shard.unwanted:
            unwanted = shard.unwanted
            shard.unwanted = []
            for queue in unwanted:
                if not queue.deleted:
                    self.vhosts[queue.vhost].delete_queue(queue)
        if shard.cancelled:
            cancelled = shard.cancelled
            shard.cancelled = []
            for consumer in cancelled:
                consumer.channel.consumer_cancelled(consumer)
        if shard.loaded:
            shard.loaded = []
            waiting = self.waiting_for_page
            self.waiting_for_page = {}
            for connection in waiting:
                connection.room_again()

    def _post_letters(self) -> None:
        shard = self.shard
        handler = self.registry.letter_handler
        if handler is None or not self.has_room():
            return
        crowded = shard.crowded()
        letters = shard.letters
        shard.letters = letters[LETTERS_PER_TURN:]
        for letter in letters[:LETTERS_PER_TURN]:
            handler.post(self, letter)
        if crowded:
            self._release_throttled()

    def _post_due(self) -> None:
        shard = self.shard
        if not self._room_for_due():
            return
        due = shard.due
        shard.due = []
        before = len(self.journal.inserted)
        for poster in due:
            poster.post(self, DUE_PER_TURN)
        self.posted += len(self.journal.inserted) - before

    def _post_traces(self) -> None:
        shard = self.shard
        traces = shard.traces
        shard.traces = []
        for trace in traces:
            trace.post(self)

    def has_room(self) -> bool:
        """Whether the open batch takes more of what no publisher waits for."""
        journal = self.journal
        return journal.open_bytes <= journal.open_bytes_max // LETTERS_SHARE

    def _room_for_due(self) -> bool:
        number = self.journal.number
        if self.posted_batch != number:
            self.posted_batch = number
            self.posted = 0
        return self.posted < DUE_PER_BATCH and self.has_room()

    def busy(self) -> bool:
        """The last turn left work for another one."""
        shard = self.shard
        if shard.traces or self.events.pending:
            return True
        if shard.due and self._room_for_due():
            return True
        return len(shard.dirty) > 0 or (len(shard.letters) > 0 and self.has_room())

    def tick(self, now: int) -> None:
        """Deadlines up to ``now`` passed."""
        self.timers.fire(now)

    def next_deadline(self) -> int:
        """When ``tick`` is wanted, in milliseconds; 0 for never."""
        return self.timers.next_deadline()

    def unwritten(self) -> bool:
        """Something that was decided is not on disk yet."""
        journal = self.journal
        return not journal.empty() or journal.sealed is not None or len(self.shard.letters) > 0

    def take_batch(self) -> Batch | None:
        """The next batch for the writer; None when one is under way or there is nothing to write."""
        journal = self.journal
        if journal.sealed is not None:
            return None
        if journal.empty():
            if journal.waiting or journal.inserted:
                self._nothing_to_write()
            return None
        was_full = journal.full()
        batch = journal.seal()
        if was_full:
            self._release_throttled()
        return batch

    def _nothing_to_write(self) -> None:
        """All of the open batch was settled before it was written: who waits for it is told all the same."""
        journal = self.journal
        waiting = journal.waiting
        journal.waiting = []
        journal.nothing_to_write()
        self.posted = 0
        self._tell_waiting(waiting, journal.number)
        self._release_throttled()

    def batch_committed(self) -> None:
        """The batch under way is on disk: confirms go out, queues may let go of what they paged."""
        journal = self.journal
        journal.batch_committed()
        number = journal.committed
        paging = journal.paging_sealed
        journal.paging_sealed = []
        for queue in paging:
            if not queue.deleted:
                queue.batch_committed(number)
        waiting = journal.waiting_sealed
        journal.waiting_sealed = []
        self._tell_waiting(waiting, number)
        self._release_throttled()

    def _release_throttled(self) -> None:
        """The journal has room again."""
        if self.throttled and not self.shard.crowded():
            throttled = self.throttled
            self.throttled = {}
            for connection in throttled:
                connection.room_again()

    def _tell_waiting(self, waiting: list[CommitPort], number: i64) -> None:
        for port in waiting:
            port.batch_committed(number)

    def take_page_requests(self) -> list[PageRequest]:
        requests = self.shard.page_requests
        self.shard.page_requests = []
        return requests

    def page_loaded(self, request: PageRequest, page: list[StoredEntry]) -> None:
        queue = request.queue
        if queue.deleted:
            # Whoever waited for the page must hear that there is no queue any more.
            self.shard.loaded.append(queue)
        else:
            queue.page_loaded(request, page)

    def publish(self, vhost: VHost, exchange: Exchange, routing_key: str, header: ContentHeader, body: bytes) -> bool:
        """Publish a message of the broker's own; False when no queue took it. Not from inside a pump or a route."""
        where = Address(exchange.name, routing_key, address(exchange.name, routing_key))
        message = Message(where, header, body)
        taken = False
        for queue in self.router.route(vhost, Route(where, exchange, False), [routing_key], header):
            taken = queue.publish(message) or taken
        return taken

    # Virtual hosts

    def create_vhost(self, name: str, description: str = "", tags: str = "", metadata: str = "{}") -> VHost:
        """Make a virtual host, durably. Raises ValueError when it exists."""
        if name in self.vhosts:
            raise ValueError(f"vhost '{name}' exists already")
        vhost = self._add_vhost(name, description, tags, metadata)
        self.describe_vhost(vhost, description, tags, metadata)
        if self.events.listening:
            self.events.vhost_created(vhost)
        self._declare_system_exchanges(vhost)
        return vhost

    def _declare_system_exchanges(self, vhost: VHost) -> None:
        for row in self.registry.system_exchanges:
            if row.vhost == vhost.name and row.name not in vhost.exchanges:
                vhost.declare_exchange(row.name, row.kind, True, False, True, {})

    def describe_vhost(self, vhost: VHost, description: str, tags: str, metadata: str) -> None:
        """Say something else of a virtual host, durably. ``tags`` and ``metadata`` are JSON text."""
        vhost.description = description
        vhost.tags = tags
        vhost.metadata = metadata
        values: dict[str, Scalar] = {
            "name": vhost.name,
            "description": description,
            "tags": tags,
            "metadata": metadata,
            "tracing": int(vhost.tracing),
        }
        self.journal.define(Definition("vhost", False, values))

    def _add_vhost(self, name: str, description: str, tags: str, metadata: str) -> VHost:
        vhost = VHost(name, self.shard, self.registry, self.revision)
        vhost.description = description
        vhost.tags = tags
        vhost.metadata = metadata
        self.vhosts[name] = vhost
        self.revision.value += 1
        return vhost

    def delete_vhost(self, name: str) -> None:
        """Delete it with everything in it; its connections get 320. Raises ValueError when there is none."""
        vhost = self.vhosts.pop(name, None)
        if vhost is None:
            raise ValueError(f"vhost '{name}' does not exist")
        vhost.deleted = True
        self.revision.value += 1
        for connection in list(self.connections.values()):
            if connection.vhost_name() == name:
                connection.force_close(f"vhost '{name}' is deleted")
        for queue in list(vhost.queues.values()):
            vhost.delete_queue(queue)
        for exchange in list(vhost.exchanges.values()):
            if exchange.name in vhost.exchanges:
                vhost.delete_exchange(exchange)
        for queue in list(vhost.internal_queues.values()):
            vhost.drop_internal_queue(queue)
        vhost.drop_settings()
        self.journal.define(Definition("vhost", True, {"name": name}))
        if self.events.listening:
            self.events.acted("vhost.deleted", {"name": name})

    def put_global_parameter(self, name: str, value: str) -> None:
        """Set a global runtime parameter; ``value`` is JSON text."""
        self.global_parameters[name] = value
        self.journal.define(Definition("global_parameter", False, {"name": name, "value": value}))
        if self.events.listening:
            self.events.parameter_set(None, "global", name, json.loads(value))

    def drop_global_parameter(self, name: str) -> None:
        """Raises ValueError when there is none."""
        if self.global_parameters.pop(name, None) is None:
            raise ValueError(f"global parameter '{name}' does not exist")
        self.journal.define(Definition("global_parameter", True, {"name": name}))
        if self.events.listening:
            self.events.parameter_cleared(None, "global", name)

    # Alarms

    def set_alarm(self, reason: str, on: bool) -> None:
        """``memory`` or ``disk`` is short, or not any more: publishers are blocked while any alarm is on."""
        if self.events.listening and on != (reason in self.alarms):
            self.events.emit("alarm.set" if on else "alarm.cleared", {"node": self.events.node, "source": reason})
        if on:
            self.alarms[reason] = True
        else:
            self.alarms.pop(reason, None)
        alarm = f"low on {' & '.join([name for name in ('memory', 'disk') if name in self.alarms])}"
        alarm = alarm if self.alarms else ""
        if alarm == self.alarm:
            return
        self.alarm = alarm
        for connection in list(self.connections.values()):
            connection.alarm_changed(alarm)

    # Start and end

    def restore(self, summary: Summary, clean: bool) -> None:
        """Declare what the store holds. After an unclean end every message may have been delivered before.

        Raises ValueError on a definition that cannot be declared (its type is not registered, it is damaged).
        """
        by_id = {row.queue: row for row in summary.queues}
        journal = self.journal
        for definition in summary.definitions:
            try:
                self._restore_definition(definition)
            except (AmqpError, LookupError, ValueError, AssertionError) as error:
                shown = ", ".join([f"{name} {value!r}" for name, value in definition.values.items()])
                raise ValueError(f"{definition.kind} ({shown}): {error}") from error
        for vhost in self.vhosts.values():
            vhost.apply_policies(vhost.policies.every())
            vhost.restoring = False
        # Restoring is no change.
        journal.definitions = []
        for vhost in self.vhosts.values():
            for exchange in vhost.exchanges.values():
                exchange.defined_batch = 0
            for queue in vhost.every_queue():
                queue.defined_batch = 0
        journal.open_bytes = 0
        for vhost in self.vhosts.values():
            for queue in vhost.every_queue():
                for level in range(int(queue.levels)):
                    row = by_id.get(int(queue.id) + level)
                    if row is not None:
                        queue.restore(level, row, row.redelivered if clean else row.last)
            for exchange in list(vhost.exchanges.values()):
                exchange.declared(vhost)

    def started(self, source: PageSource) -> None:
        """Everything was restored: plugins may look at it, and read the store by themselves."""
        self.events.started = int(self.shard.now) // 1000
        for vhost in self.vhosts.values():
            self._declare_system_exchanges(vhost)
        for function in self.registry.starting:
            function(self, source)
        self.events.look()

    def _restore_definition(self, definition: Definition) -> None:
        kind, values = definition.kind, definition.values
        if kind == "vhost":
            vhost = self._add_vhost(
                str(values["name"]), str(values["description"]), str(values["tags"]), str(values["metadata"])
            )
            vhost.restoring = True
        elif kind == "exchange":
            self._check_known(definition, values["type"] in self.registry.exchange_types)
            self._vhost(definition).declare_exchange(
                str(values["name"]),
                str(values["type"]),
                True,
                bool(values["auto_delete"]),
                bool(values["internal"]),
                decode_table(_octets(values["arguments"])),
            )
        elif kind == "queue":
            self._check_known(definition, values["type"] in self.registry.queue_types)
            queue = self._restored_queue(self._vhost(definition), values)
            identity = values["id"]
            assert isinstance(identity, int)
            queue.identify(identity)
        elif kind == "binding":
            self._restore_binding(definition)
        elif kind in (POLICY, OPERATOR_POLICY):
            policy = policy_of(definition)
            self._vhost(definition).policies.of(kind == OPERATOR_POLICY)[policy.name] = policy
        elif kind == "parameter":
            key = (str(values["component"]), str(values["name"]))
            self._vhost(definition).parameters[key] = str(values["value"])
        elif kind == "global_parameter":
            self.global_parameters[str(values["name"])] = str(values["value"])

    def _restored_queue(self, vhost: VHost, values: dict[str, Scalar]) -> Queue:
        name, kind = str(values["name"]), str(values["type"])
        if kind in self.registry.internal_types:
            return vhost.internal_queue(kind, name, True)
        arguments = decode_table(_octets(values["arguments"]))
        return vhost.declare_queue(name, kind, True, bool(values["auto_delete"]), None, arguments)

    def _check_known(self, definition: Definition, known: bool) -> None:
        """A plugin that brought a type may be gone."""
        if not known:
            raise ValueError("its type is not registered; is a plugin missing?")

    def _restore_binding(self, definition: Definition) -> None:
        values = definition.values
        vhost = self._vhost(definition)
        name = str(values["destination"])
        source = vhost.exchanges[str(values["source"])]
        arguments = decode_table(_octets(values["arguments"]))
        if values["destination_type"] == "queue":
            vhost.bind(source, vhost.queues[name], str(values["routing_key"]), arguments)
        else:
            vhost.bind(source, vhost.exchanges[name], str(values["routing_key"]), arguments)

    def _vhost(self, definition: Definition) -> VHost:
        return self.vhosts[str(definition.values["vhost"])]

    def finish(self) -> None:
        """Before the last batch: note how far deliveries went, so that a clean start flags just those."""
        for vhost in self.vhosts.values():
            for queue in vhost.every_queue():
                if queue.durable:
                    for lane in queue.lanes():
                        if lane.last_delivered:
                            self.journal.redelivered.append((int(lane.id), int(lane.last_delivered)))


def _octets(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
