"""Junk in an answer becomes one sentence, at once."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.subnets.inference.evidence import ChatAnswer, Flaw, check_text, choose_positions, read_answer
from tercet.subnets.inference.tasks import ChatTask

TASK = ChatTask([{"role": "user", "content": "Hi"}], max_tokens=4, temperature=1.0, seed=1, stop=())
END = {"finish": "length", "usage": {"prompt": 9, "completion": 4}, "model": "smol"}
GOOD: dict[str, Any] = {"text": "a b", "tokens": [[1, -0.5], [2, -0.1], [3, 0.0], [4, -2]], **END}


def read(pieces: Any) -> ChatAnswer:
    return read_answer(TASK, pieces, vocabulary=100, prompt=9)


def test_pieces_are_put_together() -> None:
    """One piece or many say the same."""
    parts = [{"text": "a ", "tokens": GOOD["tokens"][:2]}, {"text": "b", "tokens": GOOD["tokens"][2:]}]
    assert read([GOOD]) == read([*parts, {"text": "", "tokens": [], **END}])
    assert read([GOOD]).logprobs == (-0.5, -0.1, 0.0, -2.0)


JUNK: dict[str, Any] = {
    "nothing": [],
    "a million pieces": [GOOD] * 1_000_000,
    "a million tokens": [{**GOOD, "tokens": [[1, -0.5]] * 1_000_000}],
    "a million characters": [{**GOOD, "text": "x" * 1_000_000}],
    "not an object": ["junk"],
    "null": [None],
    "no text": [{"tokens": []}],
    "text of another type": [{**GOOD, "text": 5}],
    "tokens of another type": [{**GOOD, "tokens": {"1": -0.5}}],
    "pair too long": [{**GOOD, "tokens": [[1, -0.5, 3]]}],
    "negative id": [{**GOOD, "tokens": [[-1, -0.5]]}],
    "id past the vocabulary": [{**GOOD, "tokens": [[100, -0.5]]}],
    "id true": [{**GOOD, "tokens": [[True, -0.5]]}],
    "fraction of an id": [{**GOOD, "tokens": [[1.5, -0.5]]}],
    "not a number": [{**GOOD, "tokens": [[1, float("nan")]]}],
    "infinite": [{**GOOD, "tokens": [[1, float("-inf")]]}],
    "more than certain": [{**GOOD, "tokens": [[1, 0.5]]}],
    "a number of 400 digits": [{**GOOD, "tokens": [[1, -(10**400)]]}],
    "no finish": [{**GOOD, "finish": None}],
    "unhashable finish": [{**GOOD, "finish": []}],
    "no usage": [{**GOOD, "usage": None}],
    "usage of another type": [{**GOOD, "usage": {"prompt": "9", "completion": 4}}],
    "prompt overcharged": [{**GOOD, "usage": {"prompt": 90, "completion": 4}}],
    "completion overcharged": [{**GOOD, "usage": {"prompt": 9, "completion": 10**5000}}],
    "no tokens": [{"text": "", "tokens": [], **END, "usage": {"prompt": 9, "completion": 0}}],
    "cut short": [{**GOOD, "tokens": [[1, -0.5]], "usage": {"prompt": 9, "completion": 1}}],
}


@pytest.mark.parametrize("pieces", JUNK.values(), ids=JUNK)
def test_junk_is_one_short_sentence_at_once(pieces: Any) -> None:
    """No other error, and no work in proportion to the junk."""
    begun = time.thread_time()
    with pytest.raises(Flaw) as caught:
        read(pieces)
    assert 0 < len(str(caught.value)) < 160
    assert time.thread_time() - begun < 0.5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*GOOD, "prompt"]), inner, max_size=6),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=6), st.sampled_from(["text", "tokens", "finish", "usage"]), JSON)
def test_any_json_is_an_answer_or_a_flaw(pieces: list[Any], field: str, value: Any) -> None:
    """Nothing else is ever raised, whether all of it is junk or one field of a good answer."""
    for attempt in (pieces, [{**GOOD, field: value}]):
        with contextlib.suppress(Flaw):
            assert read(attempt).tokens


def check(
    text: str, before: str, last: str, *, finish: str = "length", stops: tuple[str, ...] = (), ended: bool = False
) -> None:
    check_text(ChatAnswer((1, 2), (-1.0, -1.0), text, finish), before, last, stops, ended=ended)


def test_text_and_tokens_must_say_the_same() -> None:
    """Broken characters and a tokenizer's leading space aside."""
    check("a b", " a", " a b")
    check("a", "a", "a\ufffd")
    with pytest.raises(Flaw, match="do not spell"):
        check("a better answer", "a", "a b")
    with pytest.raises(Flaw, match="do not spell"):
        check("\udc00", "a", "a b")


def test_an_answer_ends_where_it_says() -> None:
    """Before a stop, at the end of the turn, or at its length; not earlier, not later."""
    check("a ", "a", "a END", finish="stop", stops=("END",))
    check("a", "a", "a", finish="stop", ended=True)
    with pytest.raises(Flaw, match="claims to have ended"):
        check("a b", "a", "a b", finish="stop", stops=("END",))
    with pytest.raises(Flaw, match="claims to have ended"):
        check("a ", "a", "a END", finish="length", stops=("END",))
    with pytest.raises(Flaw, match="went on after a stop"):
        check("a ", "a END and", "a END and on", finish="stop", stops=("END",))


ANSWER = ChatAnswer(tuple(range(40)), tuple([-0.01, -1.5] * 20), "x", "length")


def test_positions_are_the_unsure_ones_in_ascending_order() -> None:
    """And the last one on top when it claims to end the answer."""
    chosen = choose_positions(ANSWER, b"evidence", b"salt", 10)
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == 10
    assert all(position % 2 for position in chosen)
    ended = ChatAnswer((*ANSWER.tokens, 5), (*ANSWER.logprobs, -0.01), "x", "stop")
    assert choose_positions(ended, b"evidence", b"salt", 10)[-1] == 40


def test_nobody_knows_the_positions_beforehand() -> None:
    """They change with the miner's signature and with the judge's secret."""
    first = choose_positions(ANSWER, b"evidence", b"salt", 10)
    assert first == choose_positions(ANSWER, b"evidence", b"salt", 10)
    assert first != choose_positions(ANSWER, b"other evidence", b"salt", 10)
    assert first != choose_positions(ANSWER, b"evidence", b"other salt", 10)


def test_a_miner_that_feigns_certainty_is_checked_all_the_same() -> None:
    """With nothing unsure, positions come from everywhere."""
    certain = ChatAnswer(ANSWER.tokens, (0.0,) * 40, "x", "length")
    assert len(choose_positions(certain, b"evidence", b"salt", 10)) == 10
