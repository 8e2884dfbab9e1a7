"""Deadlines: set, moved, cancelled, fired in order."""

from __future__ import annotations

import weakref

from amqpd.broker.timers import Timer, Timers


class Ringing(Timer):
    def __init__(self, name: str, rung: list[str], timers: Timers | None = None) -> None:
        self.name = name
        self.rung = rung
        self.timers = timers

    def fire(self, now: int) -> None:
        self.rung.append(f"{self.name}{now}")
        if self.timers is not None:
            self.timers.set(self, now + 10)


def test_timers_fire_in_order_of_their_deadlines() -> None:
    timers, rung = Timers(), list[str]()
    for name, deadline in (("b", 20), ("a", 10), ("c", 30)):
        timers.set(Ringing(name, rung), deadline)
    assert timers.next_deadline() == 10
    timers.fire(25)
    assert rung == ["a25", "b25"]
    assert timers.next_deadline() == 30


def test_nothing_set_is_no_deadline() -> None:
    assert Timers().next_deadline() == 0


def test_a_timer_set_anew_fires_once_at_the_new_deadline() -> None:
    timers, rung = Timers(), list[str]()
    timer = Ringing("a", rung)
    timers.set(timer, 10)
    timers.set(timer, 20)
    assert timers.next_deadline() == 20
    timers.fire(15)
    assert rung == []
    timers.fire(20)
    timers.fire(30)
    assert rung == ["a20"]


def test_a_timer_set_twice_for_the_same_moment_fires_once() -> None:
    timers, rung = Timers(), list[str]()
    timer = Ringing("a", rung)
    timers.set(timer, 10)
    timers.set(timer, 10)
    timers.fire(10)
    assert rung == ["a10"]


def test_a_cancelled_timer_is_silent() -> None:
    timers, rung = Timers(), list[str]()
    timer = Ringing("a", rung)
    timers.set(timer, 10)
    timers.cancel(timer)
    assert timers.next_deadline() == 0
    timers.fire(10)
    assert rung == []


def test_a_timer_may_set_itself_again() -> None:
    timers, rung = Timers(), list[str]()
    timers.set(Ringing("a", rung, timers), 10)
    timers.fire(10)
    timers.fire(19)
    timers.fire(20)
    assert rung == ["a10", "a20"]


def test_cancelled_timers_are_let_go_long_before_their_deadlines() -> None:
    timers, rung = Timers(), list[str]()
    kept = Ringing("kept", rung)
    timers.set(kept, 500)
    gone: list[weakref.ref[Timer]] = []
    for number in range(1000):
        timer = Ringing("gone", rung)
        timers.set(timer, 1000 + number)
        timers.cancel(timer)
        gone.append(weakref.ref(timer))
    del timer
    assert sum(1 for one in gone if one() is not None) < 200
    timers.fire(5000)
    assert rung == ["kept5000"]
