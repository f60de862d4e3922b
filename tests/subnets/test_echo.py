"""The smallest subnet: the same text, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import SubnetError
from tercet.subnets import Submission
from tercet.subnets.echo import Echo


async def answered(text: str) -> list[dict[str, object]]:
    return [dict(piece) async for piece in Echo().answer({"text": text})]


def submission(pieces: list[dict[str, object]], failure: str = "") -> Submission:
    return Submission(1, pieces, 0.01, 0.02, b"", failure)


@given(st.text(max_size=200))
async def test_an_honest_answer_gets_the_whole_score(text: str) -> None:
    """Whatever the text, and within the limit that the buyer reserved."""
    pieces = await answered(text)
    (verdict,) = await Echo().judge({"text": text}, [submission(pieces)])
    limit = Echo().limit({"text": text})
    assert (verdict.score, verdict.reason) == (1.0, "")
    assert pieces[-1]["usage"] == {"prompt": limit.prompt, "completion": limit.completion}


@pytest.mark.parametrize("pieces", [[], [{}], [{"text": "other"}], [{"text": 7}], [{"text": "a"}, {"text": "b"}]])
async def test_any_other_answer_is_worthless_and_says_why(pieces: list[dict[str, object]]) -> None:
    """Junk never raises: a judge outlives what miners send."""
    (verdict,) = await Echo().judge({"text": "ab"}, [submission(pieces)])
    assert verdict.score == 0
    assert verdict.reason == "the text came back changed"


async def test_a_missing_answer_keeps_its_reason() -> None:
    """Verdicts come in the order of the submissions."""
    good = submission(await answered("hi"))
    verdicts = await Echo().judge({"text": "hi"}, [submission([], "no answer in 2 s"), good])
    assert [verdict.reason for verdict in verdicts] == ["no answer in 2 s", ""]


@given(st.binary(min_size=32, max_size=32))
def test_a_challenge_follows_from_its_beacon(beacon: bytes) -> None:
    """Validators that share a beacon ask the same; another beacon asks something else."""
    assert Echo().challenge(beacon) == Echo().challenge(beacon)
    assert Echo().challenge(beacon) != Echo().challenge(beacon[::-1] + b"x")


@pytest.mark.parametrize("task", [{}, {"text": None}, {"text": 3}])
def test_a_malformed_task_is_refused_before_any_work(task: dict[str, object]) -> None:
    """The message shows the right shape."""
    with pytest.raises(SubnetError, match="An echo task is"):
        Echo().limit(task)
