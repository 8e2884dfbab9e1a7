"""What stands in for RabbitMQ's management API: connections are listed and closed, and nothing else is."""

import json
import urllib.parse
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from interop.broker import Broker
from interop.conformance.broker import target_from_url
from interop.conformance.client import Client
from interop.own_tests.management import COMMAND_SECONDS, HABIT, management_port

ELSEWHERE = Broker("amqp://guest:guest@127.0.0.1:1234/")


@pytest.fixture(scope="module")
def port(amqpd: Broker) -> Iterator[int]:
    with management_port(amqpd) as port:
        yield port


@pytest.fixture
def client(amqpd: Broker) -> Iterator[Client]:
    with Client(target_from_url(amqpd.url)) as client:
        yield client.connect(client_properties={"connection_name": "somebody"})


def asked(port: int, verb: str, path: str) -> tuple[int, str]:
    """Status and body of an answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=COMMAND_SECONDS)
    connection.request(verb, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def listed(port: int) -> list[dict[str, Any]]:
    status, body = asked(port, "GET", "/api/connections/")
    assert status == 200
    rows: list[dict[str, Any]] = json.loads(body)
    return rows


def closing(name: str) -> str:
    return "/api/connections/" + urllib.parse.quote(name, safe="")


def name_of(client: Client) -> str:
    """As RabbitMQ calls a connection."""
    here, there = client.sock.getsockname(), client.sock.getpeername()
    return f"{here[0]}:{here[1]} -> {there[0]}:{there[1]}"


def test_a_connection_is_listed_with_the_name_that_the_client_gave_it(port: int, client: Client) -> None:
    (row,) = [row for row in listed(port) if row["name"] == name_of(client)]
    assert row["client_properties"] == {"connection_name": "somebody"}


def test_a_connection_is_closed_by_its_name_and_no_other_is(port: int, amqpd: Broker, client: Client) -> None:
    with Client(target_from_url(amqpd.url)) as other:
        other.connect()
        assert asked(port, "DELETE", closing(name_of(client))) == (204, "")
        client.expect_close(320, "closed by an operator", None)
        other.check_alive()
        names = [row["name"] for row in listed(port)]
    assert name_of(client) not in names


def test_a_connection_that_is_not_there_cannot_be_closed(port: int, client: Client) -> None:
    assert asked(port, "DELETE", closing("127.0.0.1:1 -> 127.0.0.1:2"))[0] == 404
    assert asked(port, "DELETE", "/api/connections/")[0] == 404
    client.check_alive()


@pytest.mark.parametrize("name", ["--help", "--user=guest", "--vhost=/"])
def test_a_name_is_never_taken_for_an_option(port: int, client: Client, name: str) -> None:
    assert asked(port, "DELETE", closing(name))[0] == 404
    client.check_alive()


@pytest.mark.parametrize("path", ["/api/overview", "/api/vhosts/%2F", "/"])
@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_no_other_page_is_known(port: int, verb: str, path: str) -> None:
    assert asked(port, verb, path)[0] == 404


@pytest.mark.parametrize("verb", ["PUT", "POST"])
def test_nothing_is_made(port: int, verb: str) -> None:
    assert asked(port, verb, "/api/connections/")[0] == 501


def test_the_port_is_there_for_the_time_of_the_block(amqpd: Broker) -> None:
    with management_port(amqpd) as port:
        listed(port)
    with pytest.raises(ConnectionRefusedError):
        listed(port)


def test_a_broker_that_is_gone_has_no_pages(amqpd: Broker, tmp_path: Path) -> None:
    gone = Broker(amqpd.url, command=amqpd.command, data_dir=tmp_path)
    with management_port(gone) as port:
        assert asked(port, "GET", "/api/connections/")[0] == 404


def test_a_broker_elsewhere_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RABBITMQ_MANAGEMENT_URL", raising=False)
    with management_port(ELSEWHERE) as port:
        assert port == 1234 + HABIT
    monkeypatch.setenv("RABBITMQ_MANAGEMENT_URL", "http://guest:guest@127.0.0.1:4321")
    with management_port(ELSEWHERE) as port:
        assert port == 4321
