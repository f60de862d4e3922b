"""A model in its own process: ready or a clear error, quiet, gone when its parent is."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import aiohttp
import pytest

from tercet.errors import ModelError, SubnetError, TaskError
from tercet.subnets.inference.serve import ModelServer

pytestmark = pytest.mark.model
CHAT = [{"role": "user", "content": "Name three rivers."}]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def command_line(pid: int) -> str:
    """What everybody on the machine can see."""
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.fixture
def broken(smol: Path, tmp_path: Path) -> Path:
    """Smol, cut in the middle of its tensors."""
    path = tmp_path / "broken.gguf"
    path.write_bytes(smol.read_bytes()[:60_000_000])
    return path


async def test_candidates_are_probabilities_best_first(server: ModelServer) -> None:
    """24 of them, of the whole vocabulary: together less than 1."""
    prompt = await server.encode_chat(CHAT)
    async with server.seat() as seat:
        ranking = await seat.rank(prompt)
    logprobs = [candidate.logprob for candidate in ranking]
    assert len(ranking) == 24
    assert logprobs == sorted(logprobs, reverse=True)
    assert 0.5 < sum(map(math.exp, logprobs)) <= 1.0001


async def test_the_models_own_template_is_used(server: ModelServer) -> None:
    """Turn marks are single tokens without a text."""
    prompt = await server.encode_chat(CHAT)
    text = await server.decode(prompt)
    assert text.startswith("<|im_start|>system")
    assert text.endswith("<|im_start|>assistant\n")
    assert set(await server.encode("<|im_end|>")) <= server.control


async def test_parts_of_characters_are_ranked_too(server: ModelServer) -> None:
    """Emoji are made of several tokens; each of them has a log-probability and its own bytes."""
    prompt = await server.encode_chat([{"role": "user", "content": "Repeat: 😀🎉🚀😀🎉🚀"}])
    async with server.seat() as seat:
        ranking = await seat.rank(prompt + await server.encode("😀", special=False))
    assert any(_broken(candidate.piece) for candidate in ranking)


def _broken(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return True
    return False


async def test_the_same_question_has_the_same_candidates_bit_for_bit(server: ModelServer) -> None:
    """On either seat, after other work, and from another process."""
    prompt = await server.encode_chat(CHAT)
    async with server.seat() as first, server.seat() as second:
        before = await first.rank(prompt)
        assert await second.rank(prompt) == before
        await first.rank(prompt[:-3] + prompt[:5])
        again = await first.rank(prompt)
    assert [candidate.token for candidate in again] == [candidate.token for candidate in before]
    assert max(abs(a.logprob - b.logprob) for a, b in zip(again, before, strict=True)) < 0.2


async def test_strangers_on_this_machine_are_refused(server: ModelServer) -> None:
    """The key is random, and in no process list."""
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.post(f"{server.url}/completion", json={"prompt": "x"}) as reply,
    ):
        assert reply.status == 401
    key = server._session.headers["Authorization"].split()[1]
    assert key not in command_line(server.pid)


async def test_a_prompt_past_the_context_is_a_task_error(server: ModelServer) -> None:
    """In the model server's words."""
    async with server.seat() as seat:
        with pytest.raises(TaskError, match="context"):
            await seat.rank([5] * 2000)


async def test_a_dead_worker_is_a_clear_error(smol: Path) -> None:
    """Killed from outside: the next question says so, and stopping is still clean."""
    server = await ModelServer.start(smol, context=256)
    os.kill(server.pid, signal.SIGKILL)
    async with server.seat() as seat:
        with pytest.raises(SubnetError, match="did not answer"):
            await seat.rank([1, 2, 3])
    await server.stop()
    await server.stop()


async def test_a_broken_model_file_is_refused(broken: Path) -> None:
    """Whichever check finds it, the error names the file."""
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        await ModelServer.start(broken)


async def test_a_model_that_does_not_load_in_time_is_given_up(smol: Path) -> None:
    """And leaves no process behind."""
    with pytest.raises(ModelError, match="not ready after"):
        await ModelServer.start(smol, patience=0.001)


_PARENT = """
    import asyncio, sys
    from pathlib import Path
    from tercet.subnets.inference.serve import ModelServer

    async def main():
        server = await ModelServer.start(Path(sys.argv[1]), context=256)
        async with server.seat() as seat:
            await seat.rank([1, 2, 3])
        print(server.pid, flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


async def test_a_killed_parent_takes_the_model_with_it_and_nothing_is_printed(smol: Path) -> None:
    """The role dies by kill -9; llama.cpp's chatter reaches neither stdout nor stderr."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(_PARENT), str(smol), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )  # fmt: skip
    assert parent.stdout is not None
    assert parent.stderr is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 60))
    assert alive(pid)
    parent.kill()
    out, err = await asyncio.wait_for(parent.communicate(), 20)
    assert (out, err) == (b"", b"")
    deadline = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < deadline, "the model's process outlived its parent"
        await asyncio.sleep(0.05)
