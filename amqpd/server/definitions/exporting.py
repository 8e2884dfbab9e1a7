"""The broker's definitions as a document."""

from __future__ import annotations

from itertools import chain

from amqpd import __version__
from amqpd.auth import listing
from amqpd.auth.users import Users
from amqpd.broker.broker import Broker
from amqpd.server.definitions import access, rules, topology
from amqpd.server.definitions.document import Entry, Sections
from amqpd.server.settings import Server


def sections_of(broker: Broker, users: Users) -> Sections:
    """Everything, sorted by vhost and name, in RabbitMQ's order of the sections."""
    vhosts = [vhost for _, vhost in sorted(broker.vhosts.items())]
    return {
        "users": [access.user_entry(users, account) for _, account in sorted(users.users.items())],
        "vhosts": [access.vhost_entry(vhost) for vhost in vhosts],
        "permissions": list(listing.list_permissions(users)),
        "topic_permissions": list(listing.list_topic_permissions(users)),
        "parameters": [entry for vhost in vhosts for entry in rules.parameter_entries(vhost, users)],
        "global_parameters": rules.global_parameter_entries(broker),
        "policies": list(chain.from_iterable(map(rules.policy_entries, vhosts))),
        "queues": list(chain.from_iterable(map(topology.queue_entries, vhosts))),
        "exchanges": list(chain.from_iterable(map(topology.exchange_entries, vhosts))),
        "bindings": list(chain.from_iterable(map(topology.binding_entries, vhosts))),
    }


def vhost_sections_of(broker: Broker, users: Users, name: str) -> Sections:
    """What is in one vhost. Its name stands where RabbitMQ's export has it: in parameters and policies only."""
    vhost = broker.vhosts[name]
    return {
        "parameters": list(rules.parameter_entries(vhost, users)),
        "policies": list(rules.policy_entries(vhost)),
        "queues": [_nameless(entry) for entry in topology.queue_entries(vhost)],
        "exchanges": [_nameless(entry) for entry in topology.exchange_entries(vhost)],
        "bindings": [_nameless(entry) for entry in topology.binding_entries(vhost)],
    }


def _nameless(entry: Entry) -> Entry:
    del entry["vhost"]
    return entry


def head(server: Server, of_one_vhost: bool) -> dict[str, str]:
    """What stands before the sections: who wrote it. RabbitMQ and its tools read the version."""
    if of_one_vhost:
        return {"rabbit_version": server.version, "amqpd_version": __version__}
    return {
        "rabbit_version": server.version,
        "rabbitmq_version": server.version,
        "product_name": server.product,
        "product_version": server.version,
        "amqpd_version": __version__,
    }
