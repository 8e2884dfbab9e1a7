"""Errors: each knows its code, what it closes, and a reply text that fits on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.spec import errors
from amqpd.spec.constants import REPLY_NAMES
from amqpd.spec.errors import AmqpError, ChannelClosingError, FrameError, PreconditionFailed


def every_error() -> list[type[AmqpError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, AmqpError) and value is not ChannelClosingError
    ]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_has_a_code_with_a_name(error: type[AmqpError]) -> None:
    assert error("text").reply_text == f"{REPLY_NAMES[error.code]} - text"


def test_soft_errors_close_the_channel_and_hard_ones_the_connection() -> None:
    soft = {error.code for error in every_error() if not error.closes_connection}
    hard = {error.code for error in every_error() if error.closes_connection}
    assert soft == {403, 404, 405, 406}
    assert hard >= {320, 501, 502, 503, 504, 505, 506, 530, 540, 541}


def test_an_error_that_names_no_method_leaves_it_to_the_frame() -> None:
    assert PreconditionFailed("text").method is None
    assert FrameError("text", 0).method == 0


@given(st.text(max_size=400))
def test_a_reply_text_is_a_shortstr(text: str) -> None:
    reply = PreconditionFailed(text).reply_text
    assert len(reply.encode()) <= 255
    whole = f"PRECONDITION_FAILED - {text}"
    if len(whole.encode()) <= 255:
        assert reply == whole
    else:
        assert whole.startswith(reply.removesuffix("..."))


def test_a_text_that_cannot_be_encoded_is_shown_as_far_as_it_can() -> None:
    key = b"grau \xff".decode("utf-8", "surrogateescape")
    assert PreconditionFailed(key).reply_text == "PRECONDITION_FAILED - grau ?"
