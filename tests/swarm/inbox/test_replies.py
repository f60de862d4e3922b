"""Answers in words: to questions alone, within bounds, and never an approval of an act."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import ApprovalError, CardError
from tercet.swarm.inbox import MOST_WORDS, QUESTION, Card, InboxState, Scope, may_cover
from tercet.swarm.inbox.replies import validate_words
from tercet.swarm.inbox.state import KINDS
from tercet.swarm.journal import read_events

from .conftest import CREDIT, HOUR, Office


def question(office: Office, *options: str, **how: Any) -> Card:
    """A card that asks for no act."""
    return office.card(**{"kind": "people", "tool": QUESTION, "options": options, **how})


async def test_what_the_person_said_reaches_who_asked(office: Office) -> None:
    """Word for word, under the question's digest; the state by the journal knows it as well."""
    card = question(office, "MIT", "Apache-2.0")
    asked = await office.ask(card)
    done = await office.inbox.answer(card.id, "words", words="Neither: ask Ana", dwell=3)
    answer = await asked
    assert (done.status, answer.words, answer.by, answer.digest) == (
        "answered",
        "Neither: ask Ana",
        "person",
        card.digest,
    )
    assert not answer.yes
    await office.events()
    read = InboxState.of(read_events(office.inbox.journal.path, kinds=KINDS))
    assert read.answers == office.inbox.state.answers
    assert read.tally == {"people": {"yes": 0, "no": 0, "words": 1}}
    again = await office.ask(card)
    assert (await again).words == "Neither: ask Ana"


async def test_an_act_is_not_approved_by_words(office: Office) -> None:
    """Neither is it answered by them, nor can what they answered be spent."""
    act = await office.raise_(kind="money", tool="pay")
    with pytest.raises(CardError, match="answer yes or no"):
        await office.inbox.answer(act.id, "words", words="yes", dwell=9)
    asked = question(office)
    task = await office.ask(asked)
    await office.inbox.answer(asked.id, "words", words="yes", dwell=9)
    with pytest.raises(ApprovalError, match="was not approved"):
        await office.inbox.use(await task, asked.digest)
    assert [card.id for card in office.inbox.state.waiting()] == [act.id]


async def test_which_one_is_not_answered_by_yes(office: Office) -> None:
    """Not by the person, and not by a policy for all that asks people; silence stays what it was."""
    card = question(office, "MIT", "Apache-2.0")
    task = await office.ask(card)
    with pytest.raises(CardError, match="asks which one"):
        await office.inbox.answer(card.id, "yes", dwell=9)
    policy = await office.inbox.make_policy(Scope("people", CREDIT, office.clock.now() + HOUR, CREDIT))
    assert not may_cover(policy, card, office.clock.now())
    assert may_cover(policy, question(office), office.clock.now())
    assert not task.done()
    await office.clock.wind(HOUR)
    answer = await task
    assert (answer.by, answer.choice, answer.words) == ("default", "no", "")


async def test_a_choice_of_weight_is_looked_at(office: Office) -> None:
    """Rule 11 holds for a digit as for a yes."""
    card = question(office, "all of it", "a tenth", loss=3 * CREDIT)
    await office.ask(card)
    assert (await office.inbox.answer(card.id, "words", words="all of it", dwell=0.1)).status == "again"
    assert (await office.inbox.answer(card.id, "words", words="all of it", dwell=9)).status == "answered"


async def test_a_yes_to_a_question_does_not_run_out(office: Office) -> None:
    """It lets nothing happen; who comes back an hour later is not made to ask again."""
    card = question(office, minutes=600)
    task = await office.ask(card)
    await office.inbox.answer(card.id, "yes", dwell=9)
    await task
    await office.clock.wind(HOUR)
    assert (await (await office.ask(card))).yes
    assert len(await office.events("ask.raised")) == 1


async def test_no_words_make_a_policy(office: Office) -> None:
    """They answer one question."""
    card = question(office)
    await office.ask(card)
    bounds = Scope("people", CREDIT, office.clock.now() + HOUR)
    with pytest.raises(CardError, match="no policy"):
        await office.inbox.answer(card.id, "words", words="MIT", scope=bounds, dwell=9)
    assert not office.inbox.state.policies


@pytest.mark.parametrize(
    "options",
    [("a", "a"), ("",), (" a",), ("a\x1b[2J",), ("a\u202eb",), ("x" * 81,), tuple("abcdefghij")],
    ids=["twice", "empty", "blank", "escape", "turned", "long", "ten"],
)
def test_options_stand_on_the_card_as_they_are(office: Office, options: tuple[str, ...]) -> None:
    """What could not be shown in full, or chosen by a digit, does not ask."""
    with pytest.raises(CardError, match="option"):
        question(office, *options)


def test_an_act_has_no_options(office: Office) -> None:
    """It is done or not."""
    with pytest.raises(CardError, match="Only a question has options"):
        office.card(options=("a", "b"))


@given(st.text(max_size=MOST_WORDS + 2))
def test_words_are_one_line_that_can_be_seen(text: str) -> None:
    """Whatever is taken has no control character, no turn of direction and no end of line."""
    try:
        validate_words(text)
    except CardError:
        return
    assert 0 < len(text) <= MOST_WORDS
    assert len(text.splitlines()) == 1
    assert not {"\x1b", "\x00", "\x7f", "\u202e", "\u2066", "\u200b"} & set(text)


async def test_who_is_killed_while_it_asks_gets_no_words(office: Office) -> None:
    """An answer that comes after is for nobody."""
    card = question(office)
    task = await office.ask(card)
    office.inbox.withdraw(card.agent, "killed")
    assert (await asyncio.wait_for(task, 5)).by == "kernel"
    with pytest.raises(CardError, match="No card"):
        await office.inbox.answer(card.id, "words", words="MIT", dwell=9)
