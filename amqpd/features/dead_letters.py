"""Dead-lettering: what left its queue for good is published to the queue's dead-letter exchange.

1. Publishing and settling lie in one batch, so after a crash the message is in its old queue or in the new ones:
   never lost, never in both. (RabbitMQ's classic queues may lose or double it.)
2. The exchange is the one of that name in the queue's vhost; '' is the default exchange. The key is
   x-dead-letter-routing-key, or the message's own keys, CC's too. Nobody's permissions are asked.
3. A queue the letter comes back to in a circle, with no consumer that rejected it on the way, does not get it again.
4. No such exchange, no queue, or a queue that refuses (full): the letter is dropped there, except with
   dead-letter-strategy=at-least-once (amqpd/features/kept_letters.py).
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.broker import Broker
from amqpd.broker.exchange import Exchange
from amqpd.broker.letters import REJECTED, Letter, LetterHandler
from amqpd.broker.message import NOT_STORED, Address, Entry, Message
from amqpd.broker.queue import Queue
from amqpd.broker.router import Route
from amqpd.features.death_header import Death, closes_cycle, spends_cc, with_death
from amqpd.features.kept_letters import KeptLetters, may_keep
from amqpd.queues.classic import ClassicQueue
from amqpd.wire.basic import address
from amqpd.wire.content import ContentHeader

SHORTSTR_MAX: Final = 255


@final
class Readdressed:
    """What becomes of messages like the last one: many die together, and most differ in nothing but their body.

    ``targets`` only where they depend on nothing else (``Route.cacheable``).
    """

    def __init__(self, entry: Entry, reason: str, seconds: i64, revision: i64) -> None:
        self.queue: Queue = entry.queue
        self.settings: dict[str, int | str] = entry.queue.settings
        self.old_header: ContentHeader = entry.message.header
        self.old_address: Address = entry.message.address
        self.reason: str = reason
        self.seconds: i64 = seconds
        self.revision: i64 = revision
        self.header: ContentHeader = self.old_header
        self.address: Address = self.old_address
        self.exchange: Exchange | None = None
        self.keys: list[str] = []
        self.targets: list[Queue] | None = None

    def fits(self, entry: Entry, reason: str, seconds: i64, revision: i64) -> bool:
        queue = entry.queue
        message = entry.message
        return (
            message.header is self.old_header
            and message.address is self.old_address
            and queue is self.queue
            and queue.settings is self.settings
            and reason == self.reason
            and seconds == self.seconds
            and revision == self.revision
        )


@final
class DeadLetters(LetterHandler):
    def __init__(self) -> None:
        self.last: Readdressed | None = None
        self.kept: dict[Queue, KeptLetters] = {}

    def post(self, broker: Broker, letter: Letter) -> None:
        pending = [letter]
        while pending:
            letter = pending.pop()
            taken: dict[Queue, bool] = {}
            if self.publish(broker, letter, taken, pending) or not self._keep(broker, letter, taken):
                self.settle(broker, letter.entry)

    def settle(self, broker: Broker, entry: Entry) -> None:
        if entry.batch != NOT_STORED:
            broker.journal.settle(entry)

    def publish(self, broker: Broker, letter: Letter, taken: dict[Queue, bool], pending: list[Letter]) -> bool:
        """Publish the dead letter; False when it was not routed, or a queue refused it.

        ``taken``: the queues that have it already; those that take it now are added.
        ``pending`` gets what a queue refused and made a letter of its own at once (reject-publish-dlx): nothing of
        that is stored, so it must be posted into the same batch.
        """
        entry, reason = letter.entry, letter.reason
        last = self._readdressed(broker, entry, reason)
        if last.exchange is None:
            return False
        targets = last.targets
        if targets is None:
            targets = self._targets(broker, last, last.exchange)
        if not targets:
            return False
        message = Message(last.address, last.header, entry.message.body)
        letters = broker.shard.letters
        accepted = True
        for queue in targets:
            if queue in taken or (reason != REJECTED and closes_cycle(last.header, queue.name)):
                continue
            if queue.publish(message):
                taken[queue] = True
            elif letters and letters[-1].entry.message is message:
                taken[queue] = True
                pending.append(letters.pop())
            else:
                accepted = False
        return accepted

    def _readdressed(self, broker: Broker, entry: Entry, reason: str) -> Readdressed:
        seconds = broker.shard.now // 1000
        revision = broker.revision.value
        last = self.last
        if last is None or not last.fits(entry, reason, seconds, revision):
            last = self.last = Readdressed(entry, reason, seconds, revision)
            self._readdress(broker, last)
        return last

    def _readdress(self, broker: Broker, new: Readdressed) -> None:
        """Find the exchange, and make header and address where there is one."""
        queue = new.queue
        name = queue.text("dead-letter-exchange")
        vhost = broker.vhosts.get(queue.vhost)
        exchange = vhost.exchanges.get(name) if vhost is not None and name is not None else None
        if exchange is None:
            return
        new.exchange = exchange
        header, old = new.old_header, new.old_address
        own = [old.routing_key]
        if header.headers is not None and not spends_cc(header):
            own.extend(broker.router.extra_keys(header))
        key = queue.text("dead-letter-routing-key")
        new.keys = own if key is None else [_shortened(key)]
        death = Death(queue.name, new.reason, old.exchange, own, new.seconds)
        new.header = with_death(header, death, key is not None)
        new.address = Address(exchange.name, new.keys[0], address(exchange.name, new.keys[0]))

    def _targets(self, broker: Broker, last: Readdressed, exchange: Exchange) -> list[Queue]:
        route = Route(last.address, exchange, False)
        targets = broker.router.route(broker.vhosts[last.queue.vhost], route, last.keys, last.header)
        if route.cacheable:
            last.targets = targets
        return targets

    def _keep(self, broker: Broker, letter: Letter, taken: dict[Queue, bool]) -> bool:
        """Keep a letter that did not go; False when it is to be dropped."""
        queue = letter.entry.queue
        if not isinstance(queue, ClassicQueue) or not may_keep(letter.entry, queue, letter.reason):
            return False
        kept = self.kept.get(queue)
        if kept is None:
            kept = self.kept[queue] = KeptLetters(broker, self, queue)
        kept.keep(letter, taken)
        return True


def _shortened(key: str) -> str:
    """The argument is a longstr; a routing key is a shortstr."""
    octets = key.encode()
    return key if len(octets) <= SHORTSTR_MAX else octets[:SHORTSTR_MAX].decode("utf-8", "ignore")
