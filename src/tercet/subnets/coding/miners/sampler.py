"""Mend a program by asking a language model for the suspicious function anew, until an answer passes the tests.

Every try starts afresh: a small model that is told what was wrong with its last try tends to repeat it, while another
sample may differ. The model is behind any OpenAI-compatible URL, such as a
gateway that pays for it, or in a process of our own.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import aiohttp

from tercet.errors import SubnetError, TaskError
from tercet.market.text import decode_json
from tercet.subnets.coding.miners.solver import Function, Problem, suspicious_functions
from tercet.subnets.inference import find_model
from tercet.subnets.inference.serve import ModelServer

__all__ = ["Chat", "ChatError", "GatewayChat", "LocalChat", "Sampler"]

log = logging.getLogger(__name__)

_SYSTEM = (
    "You repair Python functions. Answer with the whole corrected function in one ```python block, and nothing else."
)
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_FUNCTIONS = 3
"""Suspicious functions that are tried in turn."""
_MAX_FAILURE = 600
_MAX_SOURCE = 6000
_MAX_REPLY = 1 << 20
_CALL_SECONDS = 300


class ChatError(SubnetError):
    """The model gave no answer: its URL is down, its budget is out, or it said something else than a completion."""


class Chat(Protocol):
    """Something that completes a conversation."""

    async def open(self) -> None:
        """Load or connect."""

    async def close(self) -> None:
        """Let go."""

    async def ask(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, temperature: float, seed: int
    ) -> str:
        """The answer. Raises `ChatError`."""


class GatewayChat:
    """A model behind an OpenAI-compatible URL."""

    def __init__(self, url: str, model: str, key: str) -> None:
        """`url` ends in /v1; `key` may be empty."""
        self._url, self._model, self._key = url.rstrip("/"), model, key
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Nothing is sent yet."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)

    async def close(self) -> None:
        """Drop the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, temperature: float, seed: int
    ) -> str:
        """One completion."""
        assert self._session is not None, "open the chat first"
        body = {
            "model": self._model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        try:
            async with self._session.post(f"{self._url}/chat/completions", json=body) as response:
                raw = await _read(response)
                if response.status != 200:
                    raise ChatError(f"{self._url} answered {response.status}: {raw[:200].decode(errors='replace')}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ChatError(
                f"{self._url} does not answer: {type(error).__name__}. Check the URL, which ends in /v1."
            ) from error
        reply = decode_json(raw)
        try:
            return str(reply["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError):
            raise ChatError(f"{self._url} sent something that is no completion.") from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    raw = b""
    while len(raw) < _MAX_REPLY and (chunk := await response.content.readany()):
        raw += chunk
    return raw


class LocalChat:
    """One of the shipped models, or any GGUF file, in a process of our own."""

    def __init__(self, model: str, models: Path | None = None) -> None:
        """`model` as for the inference subnet."""
        self._model, self._models = model, models
        self._server: ModelServer | None = None

    async def open(self) -> None:
        """Load it, fetching it first when it is not in the cache."""
        path = await asyncio.to_thread(find_model, self._model, self._models, None)
        self._server = await ModelServer.start(path)

    async def close(self) -> None:
        """End the process."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def ask(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, temperature: float, seed: int
    ) -> str:
        """One completion."""
        assert self._server is not None, "open the chat first"
        try:
            text, _, _ = await self._server.chat(messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
        except TaskError as error:
            raise ChatError(str(error)) from error
        return text


class Sampler:
    """Best of n: the first sample after which all visible tests pass."""

    def __init__(self, chat: Chat, samples: int = 8, temperature: float = 0.8) -> None:
        """`samples` at most for each task; the first one of each function is drawn at temperature 0."""
        self._chat, self._samples, self._temperature = chat, samples, temperature
        self.asked = 0
        """Samples so far."""

    async def open(self) -> None:
        """Open the model."""
        await self._chat.open()

    async def close(self) -> None:
        """Close it."""
        await self._chat.close()

    async def solve(self, problem: Problem, seconds: float) -> str:
        """A diff found in time, or an empty text."""
        try:
            async with asyncio.timeout(seconds):
                return await self._sample(problem)
        except TimeoutError:
            log.info("sampler.stopped seconds=%g asked=%d", seconds, self.asked)
        except ChatError as error:
            log.warning("sampler.no_model why=%s", error)
        return ""

    async def _sample(self, problem: Problem) -> str:
        report = await problem.run(problem.files, trace=True)
        functions = suspicious_functions(problem.files, report)[:_FUNCTIONS]
        for number in range(self._samples if functions else 0):
            function = functions[number % len(functions)]
            first = number < len(functions)
            after = await self.rewrite(
                problem, function, report.words(3), temperature=0.0 if first else self._temperature, seed=number
            )
            diff = problem.diff(after) if after else ""
            if after and diff and (await problem.run(after)).good:
                return diff
        return ""

    async def rewrite(
        self, problem: Problem, function: Function, failure: str, *, temperature: float, seed: int
    ) -> dict[str, str] | None:
        """One sample: the files with the function as the model writes it; None when it writes no such function."""
        reply = await self._chat.ask(
            _question(problem, function, failure),
            max_tokens=_room(problem, function),
            temperature=temperature,
            seed=seed,
        )
        self.asked += 1
        return _rewritten(problem.files, function, reply)


def _question(problem: Problem, function: Function, failure: str) -> list[dict[str, str]]:
    source = textwrap.dedent(_source(problem.files[function.path], function))[:_MAX_SOURCE]
    told = (problem.failure or failure)[:_MAX_FAILURE]
    return [
        {"role": "system", "content": _SYSTEM},
        {
            "role": "user",
            "content": f"This function has a bug:\n\n```python\n{source}\n```\n\nTests fail:\n{told}\n\nWrite the whole corrected function `{function.name}`.",
        },
    ]


def _room(problem: Problem, function: Function) -> int:
    """Tokens for the answer: about twice what the function has."""
    return min(1024, 96 + len(_source(problem.files[function.path], function)) // 2)


def _source(text: str, function: Function) -> str:
    return "\n".join(text.split("\n")[function.first - 1 : function.last])


def _rewritten(files: Mapping[str, str], function: Function, reply: str) -> dict[str, str] | None:
    """The files with the function as the model wrote it; None when the reply holds no such function."""
    for block in [*_FENCE.findall(reply), reply]:
        code = _extract(block, function.name)
        if code is not None:
            lines = files[function.path].split("\n")
            new = textwrap.indent(code, " " * function.indent).split("\n")
            changed = [*lines[: function.first - 1], *new, *lines[function.last :]]
            return {**files, function.path: "\n".join(changed)}
    return None


def _extract(block: str, name: str) -> str | None:
    """The text of the function, with the imports that the model put before it moved inside."""
    try:
        tree = ast.parse(block)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            lines = block.split("\n")
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            code = lines[first - 1 : node.end_lineno]
            imports = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
            body = node.body[0]
            if imports and body.lineno > node.lineno:
                indent = " " * body.col_offset
                code[body.lineno - first : body.lineno - first] = [indent + ast.unparse(n) for n in imports]
            return "\n".join(code)
    return None
