"""Rows that take seconds: heartbeats, silent closes, the handshake timer (behaviour 1.1, 1.2).

All scenarios are started together in threads and each test looks at the result of its own. A busy machine may be late:
what is out of its time is measured again, alone, a few times.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest

from .client import Client, Silence, Target, check_close
from .codec import HEARTBEAT
from .conftest import Slow

Scenario = Callable[[Client], Any]
SCENARIOS: dict[str, Scenario] = {}

NO_AUTH_CLOSE = {"consumer_cancel_notify": True}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


@pytest.fixture(scope="module", autouse=True)
def started(slow: Slow) -> None:
    for key, function in SCENARIOS.items():
        slow.start(key, _on_a_new_connection(function))


def _on_a_new_connection(function: Scenario) -> Callable[[Target], Any]:
    def run(target: Target) -> Any:
        with Client(target) as client:
            return function(client)

    return run


# Closing without a word


@scenario
def bad_login_without_the_capability(client: Client) -> float:
    client.greet()
    client.login(password="wrong", capabilities=NO_AUTH_CLOSE)
    return client.expect_tcp_close()


@scenario
def bad_login_with_the_capability(client: Client) -> float:
    client.greet()
    client.login(password="wrong")
    check_close(
        client.expect_close_frame(),
        403,
        "Login was refused using authentication mechanism PLAIN. For details see the broker logfile.",
        None,
    )
    return client.expect_tcp_close()


@scenario
def unknown_mechanism(client: Client) -> float:
    client.greet()
    client.login(mechanism="NOSUCH")
    return client.expect_tcp_close()


@scenario
def malformed_plain_response(client: Client) -> float:
    client.greet()
    client.login(response=b"guest:guest")
    return client.expect_tcp_close()


@pytest.mark.parametrize(
    "key",
    [
        "bad_login_without_the_capability",
        "bad_login_with_the_capability",
        "unknown_mechanism",
        "malformed_plain_response",
    ],
)
def test_refused_login_ends_after_3_seconds(slow: Slow, key: str) -> None:
    slow.in_time(key, lambda seconds: 2.5 < seconds < 4.5)


@scenario
def unanswered_hard_error(client: Client) -> float:
    channel = client.connect(heartbeat=1).channel()
    channel.send("channel.open")
    client.expect_close_frame()
    return client.expect_tcp_close()


def test_close_ok_is_awaited_no_longer_than_a_heartbeat(slow: Slow) -> None:
    slow.in_time("unanswered_hard_error", lambda seconds: 0.5 < seconds < 2.5)


@scenario
def closed_by_the_client(client: Client) -> float:
    client.connect(heartbeat=1).channel()
    client.send("connection.close", reply_code=200)
    client.expect("connection.close-ok")
    return client.expect_tcp_close()


def test_server_ends_the_connection_after_its_close_ok(slow: Slow) -> None:
    slow.in_time("closed_by_the_client", lambda seconds: seconds < 2.5)


@scenario
def frame_error_without_close_ok(client: Client) -> float:
    client.connect()
    client.send_frame(HEARTBEAT, 0, b"", end=0xCD)
    client.expect_close_frame()
    return client.expect_tcp_close()


def test_socket_is_dropped_3_seconds_after_a_frame_error(slow: Slow) -> None:
    slow.in_time("frame_error_without_close_ok", lambda seconds: seconds < 4.5)


# The handshake timer


@scenario
def silence_from_the_first(client: Client) -> float:
    return client.expect_tcp_close(within=13)


@scenario
def silence_after_the_header(client: Client) -> float:
    client.greet()
    return client.expect_tcp_close(within=13)


@scenario
def silence_after_start_ok(client: Client) -> float:
    client.greet()
    client.login()
    client.expect("connection.tune")
    return client.expect_tcp_close(within=13)


@scenario
def silence_before_open(client: Client) -> float:
    client.greet()
    client.login()
    client.tune()
    return client.expect_tcp_close(within=13)


@pytest.mark.parametrize(
    "key",
    ["silence_from_the_first", "silence_after_the_header", "silence_after_start_ok", "silence_before_open"],
)
def test_handshake_must_finish_in_10_seconds(slow: Slow, key: str) -> None:
    slow.in_time(key, lambda seconds: 9.0 < seconds < 12.0)


# Heartbeats


@scenario
def idle_server(client: Client) -> list[float]:
    """The times of the first four heartbeats of the server at 1 s, while the client sends its own."""
    client.connect(heartbeat=1)
    start = time.monotonic()
    times: list[float] = []
    while len(times) < 4:
        client.send_frame(HEARTBEAT, 0, b"")
        assert client.read_frame().kind == HEARTBEAT
        times.append(time.monotonic() - start)
    return times


def test_idle_server_sends_a_heartbeat_every_half_interval(slow: Slow) -> None:
    slow.in_time("idle_server", lambda times: 0.3 < times[0] < 1.2 and 1.3 < times[3] - times[0] < 1.9)


@scenario
def silent_client(client: Client) -> float:
    client.connect(heartbeat=1)
    return client.expect_tcp_close()


def test_silent_client_is_dropped_without_a_frame_after_2_to_3_intervals(slow: Slow) -> None:
    slow.in_time("silent_client", lambda seconds: 1.9 < seconds < 3.6)


@scenario
def talking_client(client: Client) -> int:
    """Methods in place of heartbeats for four intervals; the count of answers."""
    channel = client.connect(heartbeat=1).channel()
    end = time.monotonic() + 4
    answers = 0
    while time.monotonic() < end:
        channel.call("basic.qos")
        answers += 1
        _listen(client, 0.7)
    return answers


def test_any_traffic_counts_as_a_heartbeat(slow: Slow) -> None:
    slow.in_time("talking_client", lambda answers: answers >= 5)


@scenario
def heartbeat_of_0(client: Client) -> int:
    """The frames that came in 3.5 s of silence."""
    client.connect(heartbeat=0)
    frames = _listen(client, 3.5)
    client.check_alive()
    return frames


def test_heartbeat_of_0_disables_both_sides(slow: Slow) -> None:
    assert slow.result("heartbeat_of_0") == 0


@scenario
def heartbeat_only_client(client: Client) -> None:
    client.connect(heartbeat=1)
    for _ in range(8):
        client.send_frame(HEARTBEAT, 0, b"")
        _listen(client, 0.5)
    client.check_alive()


def test_heartbeats_alone_keep_a_connection(slow: Slow) -> None:
    slow.in_time("heartbeat_only_client", lambda _: True)


def _listen(client: Client, seconds: float) -> int:
    """Read heartbeats for so long; returns how many came."""
    end = time.monotonic() + seconds
    count = 0
    while (left := end - time.monotonic()) > 0:
        try:
            assert client.read_frame(left).kind == HEARTBEAT
        except Silence:
            break
        count += 1
    return count
