"""A bounded run of the fuzzer, the same one each time; `make fuzz` goes on from there."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.mutation import frames_of, mutated, pieces
from tests.fuzz.sessions import sessions
from tests.fuzz.trial import CONNECTION_CLOSE_OK, Trial

TRIALS = 400


@pytest.mark.parametrize("number", range(len(sessions()) - 1))
def test_a_good_session_goes_through(number: int) -> None:
    """Otherwise mutations of it would only try the first thing that is wrong with it."""
    suspect = Trial().run([sessions()[number]])
    assert bytes(suspect.sent).endswith(CONNECTION_CLOSE_OK)
    assert ("closed", "") in suspect.linked.log.lines


def test_a_wrong_password_is_refused() -> None:
    suspect = Trial().run([sessions()[-1]])
    assert b"ACCESS_REFUSED" in suspect.sent


@pytest.mark.parametrize("seed", range(4))
def test_mutated_sessions_harm_nobody(seed: int) -> None:
    chance = random.Random(seed)
    good = sessions()
    trial = Trial()
    for number in range(TRIALS):
        if number % 25 == 0:
            trial = Trial()
        trial.run(pieces(mutated(chance.choice(good), good, chance), chance))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100, 5000])
def test_noise_harms_nobody(size: int) -> None:
    chance = random.Random(size)
    for _ in range(20):
        noise = chance.randbytes(size)
        Trial().run([noise] if noise else [])
        Trial().run([b"AMQP\x00\x00\x09\x01" + noise])


def test_a_session_cut_after_every_frame_harms_nobody() -> None:
    for session in sessions():
        stream = b""
        trial = Trial()
        for frame in frames_of(session):
            stream += frame
            trial.run([stream])


def test_a_session_octet_by_octet_goes_through() -> None:
    session = sessions()[1]
    suspect = Trial().run([session[at : at + 1] for at in range(len(session))])
    assert bytes(suspect.sent).endswith(CONNECTION_CLOSE_OK)
