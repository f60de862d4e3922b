"""A language model in its own process, asked for one thing: what may come next after these tokens.

Knows processes, HTTP on the loopback and time-outs; nothing of tasks, sampling or judging. A crash on a hostile model
file kills the worker, not the node (docs/decisions/0041-one-process-per-model.md has the measurements).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import aiohttp

from tercet.errors import ModelError, SubnetError, TaskError
from tercet.subnets.inference.gguf import read_head
from tercet.subnets.inference.sampling import RANKED, Candidate

__all__ = ["ModelServer", "Seat"]

_STEP = aiohttp.ClientTimeout(total=120)
_FIELDS = ["completion_probabilities"]


class Seat:
    """A place of the server, with its own cache of the last prompt: asking on about the same text is cheap."""

    def __init__(self, server: ModelServer, number: int) -> None:
        self._server = server
        self._number = number

    async def rank(self, tokens: Sequence[int]) -> Sequence[Candidate]:
        """The most probable next tokens after `tokens`, best first."""
        return await self._server._rank(self._number, tokens)  # noqa: SLF001  two halves of one thing


class ModelServer:
    """A running model. Make one with `start`."""

    def __init__(
        self, process: asyncio.subprocess.Process, session: aiohttp.ClientSession, slots: int, url: str
    ) -> None:
        self.url = url
        """Its address on the loopback."""
        self._process = process
        self._session = session
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for number in range(slots):
            self._free.put_nowait(number)
        self.vocabulary = 0
        """Token ids are below this."""
        self.context = 0
        """Tokens of prompt and answer together."""
        self.control: frozenset[int] = frozenset()
        """Tokens without a text; drawing one ends the answer."""
        self._plain = 0
        """Some token with an ordinary letter. See `_rank`."""

    @classmethod
    async def start(
        cls, model: Path, *, context: int = 4096, slots: int = 1, threads: int = 1, patience: float = 120
    ) -> ModelServer:
        """Load `model` and serve it on 127.0.0.1.

        Args:
            model: a GGUF file.
            context: tokens of prompt and answer together, per seat.
            slots: how many answers are worked on at once.
            threads: of the CPU. More than one collapses when the machine has anything else to do.
            patience: seconds until it must be ready.

        Raises:
            ModelError: it does not load, or not in time.

        """
        head = await asyncio.to_thread(read_head, model)
        key = secrets.token_hex(16)
        settings = {"model": str(model), "context": context, "slots": slots, "threads": threads, "key": key}
        with tempfile.TemporaryFile() as noise:
            process = await _spawn(noise)
            try:
                url = await asyncio.wait_for(_handshake(process, settings, model, noise), patience)
                connector = aiohttp.TCPConnector(force_close=True)  # the server drops kept connections unannounced
                session = aiohttp.ClientSession(
                    url,
                    connector=connector,
                    headers={"Authorization": f"Bearer {key}"},
                    timeout=_STEP,
                )
            except BaseException as error:
                await _end(process)
                if isinstance(error, TimeoutError):
                    raise ModelError(
                        f"Model {str(model)!r} was not ready after {patience:.0f} s. Stop other work on this machine, or choose a smaller model."
                    ) from None
                raise
        server = cls(process, session, slots, url)
        try:
            meta = (await server._call("GET", "/v1/models"))["data"][0]["meta"]
            server.vocabulary, server.context = int(meta["n_vocab"]), context
            server.control = head.control_tokens()
            server._plain = (await server.encode("a"))[-1]
        except BaseException:
            await server.stop()
            raise
        return server

    async def stop(self) -> None:
        """End the process; twice is fine."""
        await self._session.close()
        await _end(self._process)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @contextlib.asynccontextmanager
    async def seat(self) -> AsyncIterator[Seat]:
        """Wait for a free place and hold it."""
        number = await self._free.get()
        try:
            yield Seat(self, number)
        finally:
            self._free.put_nowait(number)

    async def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Tokens of a conversation in the model's own template, ready for the assistant's turn."""
        rendered = await self._call("POST", "/apply-template", {"messages": list(messages)})
        return await self.encode(rendered["prompt"])

    async def chat(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, temperature: float, seed: int
    ) -> tuple[str, int, int]:
        """An answer by the server's own draw, for a user of the model rather than a market in it.

        Returns:
            The text, and the tokens of prompt and answer.

        """
        request = {
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "cache_prompt": True,
        }
        reply = await self._call("POST", "/v1/chat/completions", request)
        usage = reply["usage"]
        text = reply["choices"][0]["message"]["content"] or ""
        return str(text), int(usage["prompt_tokens"]), int(usage["completion_tokens"])

    async def complete(self, request: Mapping[str, Any], *, seconds: float | None = None) -> Any:
        """A body of llama.cpp's `/v1/chat/completions`, `grammar` included, and its reply; None waits as long as it takes.

        Raises:
            SubnetError: no answer; TaskError: the server refuses the request.

        """
        return await self._call("POST", "/v1/chat/completions", request, aiohttp.ClientTimeout(total=seconds))

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process.returncode is None

    async def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Tokens of `text`. `special`: a first token where the model has one, and special tokens written out count as such."""
        reply = await self._call(
            "POST", "/tokenize", {"content": text, "add_special": special, "parse_special": special}
        )
        return [int(token) for token in reply["tokens"]]

    async def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, each below `vocabulary`; broken UTF-8 becomes U+FFFD."""
        return str((await self._call("POST", "/detokenize", {"tokens": list(tokens)}))["content"])

    async def _rank(self, seat: int, tokens: Sequence[int]) -> Sequence[Candidate]:
        # The server reports no probabilities when the token it draws itself is part of a character. We have no use
        # for its draw, so it is made to draw a plain letter; the probabilities it reports are those before the bias.
        request = {
            "prompt": list(tokens),
            "id_slot": seat,
            "n_predict": 1,
            "n_probs": RANKED,
            "temperature": 0,
            "logit_bias": [[self._plain, 1000]],
            "cache_prompt": True,
            "response_fields": _FIELDS,
        }
        reply = await self._call("POST", "/completion", request)
        return [
            Candidate(entry["id"], entry["logprob"], bytes(entry["bytes"]))
            for entry in reply["completion_probabilities"][0]["top_logprobs"]
        ]

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        patience: aiohttp.ClientTimeout = _STEP,
    ) -> Any:
        try:
            async with self._session.request(method, path, json=body, timeout=patience) as response:
                reply = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise SubnetError(
                f"The model server did not answer {path}: {type(error).__name__}. Start the role again; if it stays so, the machine is short of memory or time."
            ) from error
        if response.status != 200:
            raise TaskError(f"The model server refused {path}: {_message(reply)}")
        return reply


def _message(reply: Any) -> str:
    error = reply.get("error") if isinstance(reply, dict) else None
    return str(error.get("message", "no reason") if isinstance(error, dict) else error)[:300]


async def _spawn(noise: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tercet.subnets.inference.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=noise,
        start_new_session=True,  # Ctrl-C is for the role, which then closes stdin
    )


async def _handshake(
    process: asyncio.subprocess.Process, settings: Mapping[str, Any], model: Path, noise: IO[bytes]
) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(settings).encode() + b"\n")
    await process.stdin.drain()
    line = await process.stdout.readline()
    reply = json.loads(line) if line else {"error": _last_words(noise)}
    if "url" not in reply:
        raise ModelError(
            f"Model {str(model)!r} does not load: {reply['error'].rstrip('.')}. Check that it is a whole file of a kind llama.cpp knows, and that xllamacpp is installed (`pip install 'tercet[inference]'`)."
        )
    return str(reply["url"])


def _last_words(noise: IO[bytes]) -> str:
    noise.seek(0)
    lines = noise.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "its process ended"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close stdin, which ends the worker; kill it when that takes long."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 5)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
