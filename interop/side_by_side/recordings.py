"""Run the conformance set on a broker and keep what its connections said and heard."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interop.broker import Broker
from interop.conformance.broker import target_from_url
from interop.conformance.client import Client
from interop.suite import pytests
from interop.suite.family import Check, Unavailable

SET = "interop/conformance"


@dataclass(frozen=True)
class Recording:
    """Of one scenario. ``differs`` is the name of the fact it is marked with; ``skipped`` why it is not compared.

    ``failed`` says that the row did not see what it wants, as rows do on RabbitMQ that are marked.
    """

    scenario: str
    differs: str
    skipped: str
    failed: bool
    connections: list[list[dict[str, Any]]]


@dataclass(frozen=True)
class Recorded:
    """``checks`` are the rows as the tests saw them."""

    checks: list[Check]
    scenarios: dict[str, Recording]

    @property
    def skipped(self) -> dict[str, str]:
        """Scenarios that were not run, with the reason."""
        rows = ((check.name.rpartition("conformance.")[2], check) for check in self.checks)
        return {scenario: check.explanation for scenario, check in rows if check.result == "skipped"}


def record(broker: Broker, scratch: Path, token: str) -> Recorded:
    """Run the whole set. Two runs with the same ``token`` use the same names."""
    file = scratch / "frames.jsonl"
    environment = {**environment_of(broker), "CONFORMANCE_TOKEN": token, "CONFORMANCE_RECORD": str(file)}
    checks = pytests.run([SET], scratch, "", environment)
    return Recorded(checks, {one.scenario: one for one in read(file)})


def read(file: Path) -> Iterator[Recording]:
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield Recording(**json.loads(line))


def environment_of(broker: Broker) -> Mapping[str, str]:
    """How the set finds the broker, and what it may do to it."""
    if not is_amqpd(broker.url):
        given = {"CONFORMANCE_URL": broker.url, "CONFORMANCE_RABBITMQCTL": os.environ.get("RABBITMQCTL", "")}
        may_stop = given["CONFORMANCE_RABBITMQCTL"] and os.environ.get("RABBITMQ_MAY_RESTART")
        given["CONFORMANCE_STOP_RABBITMQ"] = "1" if may_stop == "1" else ""
        return {name: value for name, value in given.items() if value}
    data_dir = broker.data_dir or os.environ.get("AMQPD_DATA_DIR")
    if data_dir is None:
        raise Unavailable("the set changes users and policies: AMQPD_DATA_DIR is to say where this amqpd has its data")
    return {"AMQPD_URL": broker.url, "AMQPD_DATA_DIR": str(data_dir)}


def is_amqpd(url: str) -> bool:
    """By what the broker says of itself: product and version are those of RabbitMQ."""
    return str(announced(url).get("platform")).startswith("amqpd")


def announced(url: str) -> Mapping[str, Any]:
    """The server properties."""
    with Client(target_from_url(url)) as client:
        properties: Mapping[str, Any] = client.greet()["server_properties"]
        return properties
