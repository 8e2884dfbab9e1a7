"""What an import would do, without doing it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amqpd.server.core import make_registry
from amqpd.server.definitions.comparing import differences
from amqpd.server.definitions.document import Document, Sections
from tests.server.definitions.support import export, import_all, into
from tests.support.linked import Linked


@pytest.fixture
def linked() -> Linked:
    made = Linked()
    into(made, "vhosts", name="other")
    for vhost in ("/", "other"):
        into(made, "queues", name="q", vhost=vhost, durable=True)
        into(made, "exchanges", name="e", vhost=vhost, type="topic")
        into(made, "bindings", source="e", vhost=vhost, destination="q", routing_key="k", arguments={"n": 1})
    made.commit()
    return made


def lines(linked: Linked, wanted: Sections, vhost: str | None = None) -> list[str]:
    before = export(linked)
    document = Document(json.loads(json.dumps(wanted)))
    document = document if vhost is None else document.into(vhost)
    found = [one.line() for one in differences(make_registry(), Document(before), document, vhost)]
    assert export(linked) == before
    assert linked.broker.journal.empty()
    return found


def test_own_export_does_not_differ(linked: Linked) -> None:
    assert lines(linked, export(linked)) == []


def test_binding_that_leaves_out_what_it_may_does_not_differ(linked: Linked) -> None:
    into(linked, "bindings", source="e", vhost="/", destination="q")
    linked.commit()
    bindings: list[Any] = [*export(linked)["bindings"][:-3], {"source": "e", "vhost": "/", "destination": "q"}]
    assert lines(linked, {"bindings": bindings, "users": []}, "/") == [
        "- binding from exchange 'e' to queue 'q' with key 'k' in vhost '/'"
    ]


INEQUIVALENT = "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'"


def test_each_kind_of_difference_is_shown(linked: Linked) -> None:
    wanted = export(linked)
    wanted["users"][0]["tags"] = ["x"]
    wanted["queues"][0]["durable"] = False
    wanted["queues"][1]["name"] = "new"
    wanted["bindings"].append({"source": "e", "vhost": "other", "destination": "new"})
    wanted["exchanges"].append({"name": "f", "vhost": "/", "type": "x-odd"})
    assert lines(linked, wanted) == [
        "~ user 'guest'",
        "! exchange 'f' in vhost '/': unknown exchange type 'x-odd'",
        "! queue 'q' in vhost '/': " + INEQUIVALENT,
        "+ queue 'new' in vhost 'other'",
        "+ binding from exchange 'e' to queue 'new' with key '' in vhost 'other'",
        "- queue 'q' in vhost 'other'",
    ]


def test_sections_that_the_file_does_not_have_are_not_missed(linked: Linked) -> None:
    assert lines(linked, {"queues": []}) == ["- queue 'q' in vhost '/'", "- queue 'q' in vhost 'other'"]


def test_one_vhost_is_compared_alone(linked: Linked) -> None:
    wanted: Sections = {"queues": [{"name": "p"}], "exchanges": [], "policies": []}
    assert lines(linked, wanted, "other") == [
        "+ queue 'p' in vhost 'other'",
        "- exchange 'e' in vhost 'other'",
        "- queue 'q' in vhost 'other'",
    ]


def test_what_differs_is_what_an_import_then_does(linked: Linked) -> None:
    wanted: Sections = {
        "vhosts": [{"name": "third"}],
        "permissions": [{"user": "guest", "vhost": "third", "configure": "", "write": "", "read": ""}],
        "queues": [{"name": "q", "vhost": "third"}],
    }
    assert [line[0] for line in lines(linked, wanted)] == ["+", "+", "+", "-", "-", "-", "-", "-"]
    import_all(linked, wanted)
    assert {line[0] for line in lines(linked, wanted)} == {"-"}
