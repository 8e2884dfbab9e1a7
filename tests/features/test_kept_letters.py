"""dead-letter-strategy=at-least-once, on queues over a memory store."""

from __future__ import annotations

import pytest

from amqpd.features.kept_letters import RETRY_LETTERS, RETRY_MS
from amqpd.queues.classic import ClassicQueue
from amqpd.wire.table import Field, Table, longstr
from tests.queues.building import Bench, FakeChannel, bodies, consumer, expiring, message, numbered

STRATEGY: Table = {
    "x-dead-letter-exchange": longstr("dlx"),
    "x-dead-letter-strategy": longstr("at-least-once"),
    "x-overflow": longstr("reject-publish"),
}


def source_of(bench: Bench, **more: Field) -> ClassicQueue:
    return declare(bench, "source", {**STRATEGY, **{f"x-{name.replace('_', '-')}": more[name] for name in more}})


def declare(bench: Bench, name: str, arguments: Table) -> ClassicQueue:
    queue = bench.vhost.declare_queue(name, "classic", True, False, None, arguments)
    assert isinstance(queue, ClassicQueue)
    return queue


def bind(bench: Bench, *names: str, **arguments: Field) -> list[ClassicQueue]:
    """Fanout dlx to these queues."""
    if "dlx" not in bench.vhost.exchanges:
        bench.vhost.declare_exchange("dlx", "fanout", True, False, False, {})
    queues = [
        declare(bench, name, {f"x-{key.replace('_', '-')}": arguments[key] for key in arguments}) for name in names
    ]
    for queue in queues:
        bench.vhost.bind(bench.vhost.exchanges["dlx"], queue, "", {})
    return queues


def reject(bench: Bench, queue: ClassicQueue, count: int) -> None:
    for _ in range(count):
        entry = queue.get()
        assert entry is not None
        queue.reject(entry)
    turn(bench)


def turn(bench: Bench) -> None:
    bench.broker.run_turn()
    while bench.broker.busy():
        bench.broker.run_turn()


def advance(bench: Bench, milliseconds: int = RETRY_MS) -> None:
    """Time passes; pages are read and batches written as they are asked for."""
    end = bench.broker.now + milliseconds
    while True:
        turn(bench)
        bench.commit()
        if bench.read_pages():
            continue
        deadline = bench.broker.next_deadline()
        if not deadline or deadline > end:
            break
        bench.broker.now = max(bench.broker.now, deadline)
        bench.broker.tick(bench.broker.now)
    bench.broker.now = end


def later(bench: Bench, milliseconds: int) -> None:
    """Time passes, nothing is written."""
    turn(bench)
    bench.broker.now += milliseconds
    bench.broker.tick(bench.broker.now)
    turn(bench)


def rejected(bench: Bench, count: int, **more: Field) -> ClassicQueue:
    """A queue whose ``count`` messages were all rejected, with nobody to take them."""
    source = source_of(bench, **more)
    for body in numbered(count):
        source.publish(message(body))
    bench.commit()
    reject(bench, source, count)
    bench.commit()
    return source


def stored(bench: Bench, queue: ClassicQueue) -> int:
    return sum(row.messages for row in bench.store.reader().summary().queues if row.queue == queue.id)


def test_a_letter_that_is_not_routed_waits_until_somebody_takes_it() -> None:
    bench = Bench()
    source = rejected(bench, 3)
    assert (source.message_count(), source.unacked_count(), int(source.kept)) == (0, 0, 3)
    advance(bench, 10 * RETRY_MS)
    assert (int(source.kept), stored(bench, source)) == (3, 3)
    (target,) = bind(bench, "target")
    advance(bench)
    assert (int(source.kept), int(source.kept_bytes), stored(bench, source)) == (0, 0, 0)
    assert bodies(bench.drain(target)) == numbered(3)
    assert bench.broker.next_deadline() == 0


def test_letters_follow_each_other_at_once_when_they_go_again() -> None:
    bench = Bench()
    count = 3 * RETRY_LETTERS + 5
    rejected(bench, count)
    (target,) = bind(bench, "target")
    advance(bench)
    assert target.message_count() == count


def test_a_kept_letter_counts_toward_the_limit_and_is_not_purged() -> None:
    bench = Bench()
    source = rejected(bench, 2, max_length=Field("I", 2))
    assert not source.publish(message())
    assert source.purge() == 0
    (target,) = bind(bench, "target")
    advance(bench)
    assert target.message_count() == 2
    assert source.publish(message())


def test_octets_of_kept_letters_count_too() -> None:
    bench = Bench()
    source = rejected(bench, 2, max_length_bytes=Field("I", 250))
    assert not source.publish(message(b"x" * 50))
    assert source.publish(message(b"x" * 40))


def test_a_refusing_target_gets_it_later_and_the_others_once() -> None:
    bench = Bench()
    (full,) = bind(bench, "full", max_length=Field("I", 1), overflow=longstr("reject-publish"))
    (free,) = bind(bench, "free")
    source = rejected(bench, 3)
    assert (full.message_count(), free.message_count(), int(source.kept)) == (1, 3, 2)
    for _ in range(3):
        advance(bench)
    assert (full.message_count(), free.message_count(), int(source.kept)) == (1, 3, 2)
    got = []
    for left in (1, 0, 0):
        entry = full.get()
        assert entry is not None
        full.settle(entry)
        got.append(entry.message.body)
        advance(bench)
        assert int(source.kept) == left
    assert sorted(got) == numbered(3)
    assert free.message_count() == 3
    assert stored(bench, source) == 0


def test_a_letter_that_is_not_on_disk_yet_is_not_looked_for_there() -> None:
    bench = Bench()
    source = source_of(bench)
    bench.commit()
    source.publish(message())
    reject(bench, source, 1)
    bench.broker.now += 2 * RETRY_MS
    bench.broker.tick(bench.broker.now)
    assert bench.broker.take_page_requests() == []
    (target,) = bind(bench, "target")
    advance(bench, 2 * RETRY_MS)
    assert (target.message_count(), int(source.kept)) == (1, 0)


def test_letters_are_not_posted_while_the_journal_is_full() -> None:
    bench = Bench()
    source = rejected(bench, 1)
    (target,) = bind(bench, "target")
    bench.journal.open_bytes = bench.journal.open_bytes_max + 1
    bench.broker.now += RETRY_MS
    bench.broker.tick(bench.broker.now)
    assert bench.broker.take_page_requests() == []
    bench.journal.open_bytes = 0
    advance(bench)
    assert (target.message_count(), int(source.kept)) == (1, 0)


def test_after_a_crash_a_kept_letter_is_a_ready_message_again() -> None:
    bench = Bench()
    rejected(bench, 3)
    again = bench.reopened(False)
    source = again.vhost.queues["source"]
    assert isinstance(source, ClassicQueue)
    assert bodies(again.drain(source)) == numbered(3)


@pytest.mark.parametrize("clean", [True, False])
def test_a_message_is_in_the_source_or_the_target_whenever_the_broker_ends(clean: bool) -> None:
    for steps in range(12):
        bench = Bench()
        source = rejected(bench, 4)
        bind(bench, "target")
        bench.commit()
        for step in range(steps):
            if step == 1:
                bench.broker.now += RETRY_MS
                bench.broker.tick(bench.broker.now)
            for request in bench.broker.take_page_requests()[:2]:
                bench.broker.page_loaded(request, request.read(bench.store.reader()))
            turn(bench)
            if step % 3 == 2:
                batch = bench.broker.take_batch()
                if batch is not None:
                    bench.write(batch)
        again = bench.reopened(clean)
        found = []
        for name in ("source", "target"):
            queue = again.vhost.queues[name]
            assert isinstance(queue, ClassicQueue)
            found.extend(bodies(again.drain(queue)))
        assert sorted(found) == numbered(4), f"after {steps} steps"
        assert source is not again.vhost.queues["source"]


def test_expired_messages_are_kept_like_rejected_ones() -> None:
    bench = Bench()
    source = source_of(bench, message_ttl=Field("I", 50))
    for body in numbered(3):
        source.publish(message(body))
    bench.commit()
    advance(bench, 100)
    assert (source.message_count(), int(source.kept)) == (0, 3)
    (target,) = bind(bench, "target")
    advance(bench)
    assert bodies(bench.drain(target)) == numbered(3)


def test_above_the_bound_messages_stay_where_they_were() -> None:
    bench = Bench()
    bench.shard.kept_max = 3
    source = rejected(bench, 5)
    assert (int(source.kept), source.message_count()) == (3, 2)
    entries = bench.drain(source)
    assert bodies(entries) == numbered(5)[3:]
    assert all(entry.redelivered for entry in entries)
    for entry in entries:
        source.reject(entry)
    (target,) = bind(bench, "target")
    advance(bench)
    advance(bench)
    reject(bench, source, source.message_count())
    assert sorted(bodies(bench.drain(target))) == numbered(5)


def test_expired_messages_wait_in_the_queue_above_the_bound() -> None:
    bench = Bench()
    bench.shard.kept_max = 3
    source = source_of(bench, message_ttl=Field("I", 50))
    for body in numbered(8):
        source.publish(message(body))
    bench.commit()
    advance(bench, 300)
    assert (int(source.kept), source.message_count()) == (3, 5)
    channel = FakeChannel()
    source.consume(consumer(source, channel))
    advance(bench, 300)
    assert channel.bodies() == []
    (target,) = bind(bench, "target")
    advance(bench, 3 * RETRY_MS)
    assert sorted(bodies(bench.drain(target))) == numbered(8)
    assert (int(source.kept), source.message_count(), stored(bench, source)) == (0, 0, 0)


def test_what_waits_at_the_end_of_the_queue_above_the_bound_dies_once() -> None:
    bench = Bench(window=1100)
    bench.shard.kept_max = 1
    source = source_of(bench)
    for body in numbered(4):
        source.publish(message(body))
    bench.commit()
    for made in (message(b"4"), expiring(b"10", b"kept"), expiring(b"10", b"waits"), message(b"5")):
        source.publish(made)
    later(bench, 50)
    assert (int(source.kept), source.message_count()) == (1, 7)
    bench.shard.kept_max = 2
    later(bench, 50)
    assert (int(source.kept), source.message_count()) == (2, 6)
    bench.commit()
    assert bodies(bench.drain(source)) == [*numbered(4), b"4", b"5"]


def test_behind_a_kept_letter_that_a_crash_made_ready_again_messages_expire_on_time() -> None:
    bench = Bench()
    source = rejected(bench, 1)
    source.publish(expiring(b"100"))
    bench.commit()
    again = bench.reopened(clean=False)
    restored = again.vhost.queues["source"]
    assert isinstance(restored, ClassicQueue)
    assert restored.message_count() == 2
    advance(again, 150)
    assert (restored.message_count(), int(restored.kept)) == (1, 1)


def test_deleting_the_queue_deletes_what_it_kept() -> None:
    bench = Bench()
    source = rejected(bench, 2)
    bench.vhost.delete_queue(source)
    (target,) = bind(bench, "target")
    advance(bench, 3 * RETRY_MS)
    assert target.message_count() == 0
    assert bench.broker.next_deadline() == 0


def test_deleting_it_while_letters_are_read_back() -> None:
    bench = Bench()
    source = rejected(bench, 2)
    (target,) = bind(bench, "target")
    bench.commit()
    bench.broker.now += RETRY_MS
    bench.broker.tick(bench.broker.now)
    bench.vhost.delete_queue(source)
    assert len(bench.read_pages()) == 2
    advance(bench, 3 * RETRY_MS)
    assert target.message_count() == 0
    assert bench.broker.next_deadline() == 0


@pytest.mark.parametrize("missing", ["x-dead-letter-strategy", "x-overflow"])
def test_without_the_strategy_or_with_drop_head_nothing_is_kept(missing: str) -> None:
    bench = Bench()
    source = declare(bench, "source", {name: field for name, field in STRATEGY.items() if name != missing})
    source.publish(message())
    bench.commit()
    reject(bench, source, 1)
    bench.commit()
    assert (int(source.kept), stored(bench, source)) == (0, 0)


def test_a_strategy_taken_back_drops_what_does_not_go() -> None:
    bench = Bench()
    source = rejected(bench, 2)
    source.settings = {**source.settings, "dead-letter-strategy": "at-most-once"}
    source.reconfigure(bench.broker.registry.queue_features)
    advance(bench)
    assert (int(source.kept), stored(bench, source)) == (0, 0)


def test_a_transient_message_has_nowhere_to_wait() -> None:
    bench = Bench()
    source = source_of(bench)
    source.publish(message(persistent=False))
    reject(bench, source, 1)
    assert int(source.kept) == 0


def test_a_circle_is_no_reason_to_keep_a_letter() -> None:
    bench = Bench()
    bench.vhost.declare_exchange("dlx", "fanout", True, False, False, {})
    source = source_of(bench, message_ttl=Field("I", 50))
    bench.vhost.bind(bench.vhost.exchanges["dlx"], source, "", {})
    source.publish(message())
    bench.commit()
    advance(bench, 200)
    assert (source.message_count(), int(source.kept), stored(bench, source)) == (0, 0, 0)
