"""The inbox: calls from other threads."""

from __future__ import annotations

import select
import threading

from amqpd.server.inbox import Inbox


def readable(inbox: Inbox) -> bool:
    return bool(select.select([inbox.fd], [], [], 0)[0])


def test_calls_of_other_threads_are_made_in_order_where_they_are_asked_for() -> None:
    inbox = Inbox()
    made: list[tuple[int, int]] = []

    def note(number: int) -> None:
        made.append((number, threading.get_ident()))

    def hand_in() -> None:
        for number in range(3):
            inbox.call(note, number)

    thread = threading.Thread(target=hand_in)
    thread.start()
    thread.join()
    assert made == []
    assert readable(inbox)
    inbox.make_calls()
    assert made == [(number, threading.get_ident()) for number in range(3)]
    assert not readable(inbox)


def test_a_call_made_by_a_call_waits_for_the_next_round_and_is_announced() -> None:
    inbox = Inbox()
    made: list[str] = []

    def first() -> None:
        made.append("first")
        inbox.call(made.append, "second")

    inbox.call(first)
    inbox.make_calls()
    assert made == ["first"]
    assert readable(inbox)
    inbox.make_calls()
    assert made == ["first", "second"]


def test_making_calls_when_none_wait_does_nothing() -> None:
    Inbox().make_calls()
