"""Text comes out whole: no half characters, nothing of a stop."""

from __future__ import annotations

import pytest

from tercet.errors import TaskError
from tercet.subnets.inference.generate import TextFlow, generate
from tercet.subnets.inference.serve import ModelServer
from tercet.subnets.inference.tasks import ChatTask


def flow(stops: list[str], *pieces: bytes) -> tuple[list[str], TextFlow]:
    """What comes out for each piece, then the rest."""
    text = TextFlow(stops)
    return [*(text.feed(piece) for piece in pieces), text.finish()], text


def test_a_character_waits_for_its_last_byte() -> None:
    """Emoji arrive in up to four tokens."""
    smile = "😀".encode()
    assert flow([], b"a", smile[:2], smile[2:], smile[:3])[0] == ["a", "", "😀", "", ""]


def test_a_stop_is_found_across_pieces_and_never_shown() -> None:
    """Its first letters are held back, and come out when they were nothing."""
    out, text = flow(["END"], b"one E", b"N", b"D two")
    assert "".join(out) == "one "
    assert text.stopped
    out, text = flow(["END", "\n\n"], b"one EN", b"TRY\n", b"two E")
    assert out == ["one ", "ENTRY", "\ntwo ", "E"]
    assert not text.stopped


def test_the_earliest_stop_counts() -> None:
    """Whichever comes first in the text."""
    assert flow(["b", "a"], b"x a b")[0] == ["x ", ""]


CHAT = [{"role": "user", "content": "Count: one two three four five six seven eight nine ten"}]


@pytest.mark.model
async def test_an_answer_has_a_logprob_for_every_token(server: ModelServer) -> None:
    """Also where a character takes several tokens; the last piece has finish, usage and model."""
    task = ChatTask([{"role": "user", "content": "Repeat exactly: 😀🎉🚀 你好世界 😀🎉🚀"}], 30, 0.7, 3, [])
    pieces = [piece async for piece in generate(server, task, "smol")]
    pairs = [pair for piece in pieces for pair in piece["tokens"]]
    assert len(pairs) == pieces[-1]["usage"]["completion"]
    assert all(logprob <= 0 for _, logprob in pairs)
    assert pieces[-1]["finish"] in {"stop", "length"}
    text = "".join(piece["text"] for piece in pieces)
    assert "\ufffd" not in text
    ids = [token for token, _ in pairs if token not in server.control]
    assert (await server.decode(ids)).replace("\ufffd", "") == text


@pytest.mark.model
async def test_a_stop_ends_an_answer(server: ModelServer) -> None:
    """The stop is not in the text; its tokens are counted, the model made them."""
    whole = "".join([piece["text"] async for piece in generate(server, ChatTask(CHAT, 40, 0.0, 1, []), "smol")])
    stop = whole.split()[2]
    pieces = [piece async for piece in generate(server, ChatTask(CHAT, 40, 0.0, 1, [stop]), "smol")]
    assert "".join(piece["text"] for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1]["finish"] == "stop"


@pytest.mark.model
async def test_the_seed_decides_the_answer(server: ModelServer) -> None:
    """The same one twice is the same text; another one is another."""

    async def say(seed: int) -> str:
        task = ChatTask([{"role": "user", "content": "Invent a name."}], 16, 1.0, seed, [])
        return "".join([piece["text"] async for piece in generate(server, task, "smol")])

    assert await say(1) == await say(1)
    assert len({await say(seed) for seed in range(2, 5)}) > 1


@pytest.mark.model
async def test_what_cannot_fit_the_context_is_refused_before_work(server: ModelServer) -> None:
    """With both numbers."""
    with pytest.raises(TaskError, match=r"context of 1024 tokens"):
        await anext(generate(server, ChatTask(CHAT, 1020, 1.0, 1, []), "smol"))
