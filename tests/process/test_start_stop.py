"""Starting, stopping, reloading, and what operators change while the broker runs."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pamqp import commands

from tests.process.broker_process import START_SECONDS, BrokerProcess, eventually, free_port
from tests.process.client import Client, Closed, connect

Make = Callable[..., BrokerProcess]

# "About a second"; the rest is for a slow and busy machine. A broker that waits until its clients have answered takes
# half a minute, or for ever.
STOPPED_SOON_SECONDS = 20.0

# ``python -m amqpd`` that gives its clients a minute to answer when it stops.
PATIENT = """
import sys
from amqpd.server import application, cli
application.SHUTDOWN_GRACE_SECONDS = 60.0
cli.main(sys.argv[1:])
"""

PERMIT = ("permissions", "set", "ann", "--vhost", "shop", "--configure")


def outcome(*words: str) -> tuple[int, str]:
    """Exit status and output of an ``amqpd`` that is expected to end by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "amqpd", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout


def test_sigterm_closes_connections_with_320_and_exits_with_0_soon(broker: BrokerProcess) -> None:
    with Client(broker.port) as client:
        client.declare("kept")
        client.confirm_select()
        client.put("kept", b"one")
        before = time.monotonic()
        broker.signal(signal.SIGTERM)
        with pytest.raises(Closed) as closed:
            client.receive()
        assert closed.value.code == 320
        assert "shutdown" in closed.value.text
        client.send(commands.Connection.CloseOk(), 0)
        assert broker.wait() == 0
        assert time.monotonic() - before < STOPPED_SOON_SECONDS
    broker.start()
    with Client(broker.port) as client:
        assert client.count("kept") == 1


def test_a_client_that_does_not_answer_the_close_does_not_hold_up_the_end(broker: BrokerProcess) -> None:
    with Client(broker.port):
        before = time.monotonic()
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 0
        assert time.monotonic() - before < STOPPED_SOON_SECONDS


def test_an_ordered_stop_flags_only_what_was_delivered(broker: BrokerProcess) -> None:
    with Client(broker.port) as client:
        client.declare("q")
        client.confirm_select()
        for number in range(4):
            client.publish("q", b"%d" % number)
        client.wait_confirms()
        client.consume("q", prefetch=2)
        assert [client.receive().redelivered for _ in range(2)] == [False, False]
        broker.restart()
    with Client(broker.port) as client:
        assert [(one.body, one.redelivered) for one in client.drain("q")] == [
            (b"0", True),
            (b"1", True),
            (b"2", False),
            (b"3", False),
        ]


def test_a_second_signal_ends_the_broker_at_once(make_broker: Make) -> None:
    broker = make_broker()
    ordinary = broker.command()
    broker.command = lambda: [sys.executable, "-c", PATIENT, *ordinary[3:]]  # type: ignore[method-assign]
    broker.start()
    with Client(broker.port):  # does not answer connection.close, so the first signal takes a while
        broker.signal(signal.SIGTERM)
        broker.wait_notified("STOPPING=1")
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 1


def test_sigint_stops_in_order_too(broker: BrokerProcess) -> None:
    broker.signal(signal.SIGINT)
    assert broker.wait() == 0


def test_states_are_told_to_the_service_manager(make_broker: Make) -> None:
    broker = make_broker()
    # Not more often: a few datagrams that nobody has read yet are all that the socket keeps.
    broker.environment = {"WATCHDOG_USEC": "400000"}
    broker.launch()
    broker.wait_notified("READY=1")
    for _ in range(3):
        broker.wait_notified("WATCHDOG=1")
    broker.signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in broker.wait_notified("RELOADING=1")
    broker.wait_notified("READY=1")
    broker.signal(signal.SIGTERM)
    broker.wait_notified("STOPPING=1")
    assert broker.wait() == 0


def test_a_port_that_was_announced_ready_is_open(shared: BrokerProcess) -> None:
    connect(shared.port).close()


def test_a_second_broker_on_the_same_data_says_so_in_one_line(shared: BrokerProcess, tmp_path: Path) -> None:
    status, said = outcome("run", "--data-dir", str(shared.data_dir), "--listen", f"127.0.0.1:{free_port()}")
    assert status == 1
    assert said.count("\n") == 1
    assert "in use by another broker" in said
    assert str(shared.pid) in said
    connect(shared.port).close()


def test_a_port_in_use_is_one_line(shared: BrokerProcess, tmp_path: Path) -> None:
    status, said = outcome("run", "--data-dir", str(tmp_path / "other"), "--listen", f"127.0.0.1:{shared.port}")
    assert status == 1
    assert said.count("\n") == 1
    assert f"127.0.0.1:{shared.port}" in said


def test_a_bad_configuration_is_one_line_and_status_2(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[limits]\nmemory_high_watermrk = 0.5\n")
    status, said = outcome("run", "-c", str(file))
    assert status == 2
    assert said.count("\n") == 1
    assert "memory_high_watermark" in said


def test_the_bare_command_runs_the_broker(make_broker: Make) -> None:
    broker = make_broker()
    bare = [
        *(sys.executable, "-m", "amqpd"),
        *("--data-dir", str(broker.data_dir), "--listen", f"127.0.0.1:{broker.port}"),
    ]
    broker.command = lambda: bare  # type: ignore[method-assign]
    broker.start()
    with Client(broker.port) as client:
        client.echo()
    broker.stop()


def test_the_port_comes_from_the_environment(make_broker: Make) -> None:
    broker = make_broker()
    bare = [sys.executable, "-m", "amqpd", "--data-dir", str(broker.data_dir)]
    broker.command = lambda: bare  # type: ignore[method-assign]
    broker.environment = {"AMQPD_LISTENERS__AMQP": f"127.0.0.1:{broker.port}"}
    broker.start()
    connect(broker.port).close()
    broker.stop()


# Reload


def test_sighup_changes_the_log_level(shared: BrokerProcess) -> None:
    shared.reload({"log": {"level": "debug"}})
    shared.wait_log("changed: log.level")
    connect(shared.port).close()
    shared.wait_log("[debug]")
    shared.reload({})


def test_a_bad_configuration_at_sighup_keeps_the_old_one(shared: BrokerProcess) -> None:
    shared.reload({"log": {"level": "loud"}})
    shared.wait_log("configuration not reloaded")
    with Client(shared.port) as client:
        client.echo()
    shared.reload({})


def test_sighup_says_what_waits_for_a_restart(shared: BrokerProcess) -> None:
    shared.reload({"server": {"product": "Other"}})
    shared.wait_log("waiting for a restart: server.product")
    shared.reload({})


def test_new_connection_limits_count_at_once(shared: BrokerProcess) -> None:
    eventually(lambda: shared.ask("status")["connections"] == 0, "the clients of other tests are gone")
    shared.reload({"connections": {"connection_max": 1, "max_message_size": 100}})
    with Client(shared.port) as client:
        client.declare("q")
        with pytest.raises((Closed, ConnectionError)):
            Client(shared.port)
        client.publish("q", bytes(101))
        with pytest.raises(Closed, match="max size 100") as closed:
            client.receive()
        assert closed.value.code == 406
    shared.reload({})


# Users and permissions


def test_commands_reach_the_running_broker_and_last(broker: BrokerProcess) -> None:
    broker.command_line("users", "add", "ann", "--password", "secret")
    broker.command_line("vhosts", "add", "shop")
    with pytest.raises(Closed) as closed:
        Client(broker.port, "ann", "secret", "shop")
    assert closed.value.code == 530
    broker.command_line(*PERMIT, "^a", "--write", "^a", "--read", ".*")
    with Client(broker.port, "ann", "secret", "shop") as client:
        client.declare("a")
        client.echo()
    broker.kill()  # what a command answered is on disk
    broker.start()
    with Client(broker.port, "ann", "secret", "shop") as client:
        assert client.count("a") == 0
        with pytest.raises(Closed) as closed:
            client.declare("b")
        assert closed.value.code == 403


def test_commands_work_on_the_files_of_a_stopped_broker(make_broker: Make) -> None:
    broker = make_broker()
    broker.command_line("users", "add", "ann", "--password", "secret")
    broker.command_line("vhosts", "add", "shop")
    broker.command_line(*PERMIT, ".*", "--write", ".*", "--read", ".*")
    rows = json.loads(broker.command_line("users", "list", "--json"))
    assert {row["name"] for row in rows} == {"guest", "ann"}
    broker.start()
    Client(broker.port, "ann", "secret", "shop").close()
    broker.stop()


def test_a_changed_permission_counts_on_open_connections_at_once(shared: BrokerProcess) -> None:
    shared.add_user("ann", "secret")
    with Client(shared.port, "ann", "secret") as client:
        client.declare("q")
        client.confirm_select()
        client.put("q", b"may")  # the route and the permission are remembered now
        shared.permit("ann", write="^$")
        client.publish("q", b"may not")
        with pytest.raises(Closed) as closed:
            client.wait_confirms()
        # The default exchange is checked as amq.default.
        assert closed.value.code == 403


def test_a_deleted_user_is_cut_off(shared: BrokerProcess) -> None:
    shared.add_user("bob", "secret")
    with Client(shared.port, "bob", "secret") as client:
        shared.ask("users delete", name="bob")
        with pytest.raises(Closed) as closed:
            client.receive()
        assert closed.value.code == 320
    with pytest.raises(Closed):
        Client(shared.port, "bob", "secret")


def test_a_deleted_vhost_closes_its_connections(shared: BrokerProcess) -> None:
    shared.ask("vhosts add", name="shop")
    shared.permit("guest", "shop")
    with Client(shared.port, vhost="shop") as client, Client(shared.port) as other:
        shared.ask("vhosts delete", name="shop")
        with pytest.raises(Closed) as closed:
            client.receive()
        assert closed.value.code == 320
        other.echo()


def test_a_login_storm_does_not_hold_up_an_open_connection(make_broker: Make) -> None:
    """Fifty logins cost some seconds of hashing; round trips of another client go on between them."""
    # The last in line waits for all the others, which may take longer than a client gets by default.
    broker = make_broker({"listeners": {"handshake_timeout": 3600}})
    broker.start()
    answers: list[int] = []

    def log_in(number: int) -> None:
        try:
            # Each user is new, so no password was verified before.
            Client(broker.port, f"user{number % 3}", "right" if number % 2 else "wrong").close()
            answers.append(0)
        except Closed as closed:
            answers.append(closed.code)

    for number in range(3):
        broker.add_user(f"user{number}", "right")
    with Client(broker.port) as client:
        client.declare("q")
        threads = [threading.Thread(target=log_in, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        echoes = 0
        while any(thread.is_alive() for thread in threads):
            client.echo()
            echoes += 1
        for thread in threads:
            thread.join()
    assert sorted(answers) == [0] * 25 + [403] * 25
    # Were logins checked on the loop, there would be at most one turn of ours for each.
    assert echoes > 100
    broker.stop()


def test_a_closed_listener_socket_refuses_while_stopping(broker: BrokerProcess) -> None:
    port = broker.port
    with Client(port):
        broker.signal(signal.SIGTERM)
        broker.wait_log("stopping")

        def refused() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) != 0

        eventually(refused, "the port is closed")
        assert broker.wait() == 0


def test_sigterm_sent_the_moment_the_port_is_open_stops_in_order(make_broker: Make) -> None:
    broker = make_broker()
    broker.launch()

    def port_is_open() -> bool:
        try:
            connect(broker.port).close()
        except OSError:
            return False
        return True

    eventually(port_is_open, "the port was not opened")
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0
