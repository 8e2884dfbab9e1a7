"""Methods of the channel, confirm and tx classes, as far as they concern an open channel."""

from __future__ import annotations

from amqpd.session.channel import Channel
from amqpd.session.environment import Handler
from amqpd.session.transaction import Transaction
from amqpd.spec.constants import (
    ACCESS_REQUEST,
    ACCESS_REQUEST_OK,
    CHANNEL_FLOW,
    CHANNEL_FLOW_OK,
    CHANNEL_OPEN,
    CONFIRM_SELECT,
    CONFIRM_SELECT_OK,
    TX_COMMIT,
    TX_COMMIT_OK,
    TX_ROLLBACK,
    TX_ROLLBACK_OK,
    TX_SELECT,
    TX_SELECT_OK,
)
from amqpd.spec.errors import ChannelError, PreconditionFailed
from amqpd.wire.methods import ArgumentReader, MethodWriter


def channel_open(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.shortstr()
    arguments.end()
    raise ChannelError("second 'channel.open' seen")


def channel_flow(channel: Channel, arguments: ArgumentReader) -> None:
    """Pause or resume deliveries. RabbitMQ refuses to pause (540) since 3.3; users miss it."""
    active = arguments.octet() & 1
    arguments.end()
    channel.flowing = bool(active)
    channel.send(MethodWriter(CHANNEL_FLOW_OK).octet(active))
    if active:
        channel.resume_consumers()


def access_request(channel: Channel, arguments: ArgumentReader) -> None:
    """Tickets are gone since 0-9-1; RabbitMQ still gives ticket 1 to a client that asks (3.10.8, seen)."""
    arguments.shortstr()
    arguments.octet()
    arguments.end()
    channel.send(MethodWriter(ACCESS_REQUEST_OK).short(1))


def confirm_select(channel: Channel, arguments: ArgumentReader) -> None:
    no_wait = arguments.octet() & 1
    arguments.end()
    if channel.transaction is not None:
        raise PreconditionFailed("cannot switch from tx to confirm mode")
    channel.confirms.enabled = True
    if not no_wait:
        channel.send(MethodWriter(CONFIRM_SELECT_OK))


def tx_select(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.end()
    if channel.confirms.enabled:
        raise PreconditionFailed("cannot switch from confirm to tx mode")
    if channel.transaction is None:
        channel.transaction = Transaction(channel)
    channel.send(MethodWriter(TX_SELECT_OK))


def tx_commit(channel: Channel, arguments: ArgumentReader) -> None:
    """commit-ok comes when the batch that holds the transaction is on disk, or at once when none has to be."""
    arguments.end()
    transaction = _transaction(channel)
    transaction.commit()
    journal = channel.journal
    channel.send(MethodWriter(TX_COMMIT_OK))
    if not journal.empty():
        channel.committing = True
        channel.await_commit()


def tx_rollback(channel: Channel, arguments: ArgumentReader) -> None:
    arguments.end()
    _transaction(channel).rollback()
    channel.send(MethodWriter(TX_ROLLBACK_OK))


def _transaction(channel: Channel) -> Transaction:
    if channel.transaction is None:
        raise PreconditionFailed("channel is not transactional")
    return channel.transaction


HANDLERS: dict[int, Handler] = {
    CHANNEL_OPEN: channel_open,
    CHANNEL_FLOW: channel_flow,
    ACCESS_REQUEST: access_request,
    CONFIRM_SELECT: confirm_select,
    TX_SELECT: tx_select,
    TX_COMMIT: tx_commit,
    TX_ROLLBACK: tx_rollback,
}
