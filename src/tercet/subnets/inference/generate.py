"""An honest answer to a chat task: the model's probabilities, the market's draw, text that never splits a character."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Sequence

from tercet.errors import TaskError
from tercet.subnets.inference.sampling import Candidate, draw
from tercet.subnets.inference.serve import ModelServer
from tercet.subnets.inference.tasks import ChatTask
from tercet.subnets.mechanism import Piece

__all__ = ["TextFlow", "encode_prompt", "generate"]


class TextFlow:
    """Bytes in, text out; holds back what may turn out to be half a character or half a stop."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = stops
        self._held = ""
        self.stopped = False
        """A stop was found; nothing more comes out."""

    def feed(self, piece: bytes) -> str:
        """Text that is certain now."""
        self._held += self._decoder.decode(piece)
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._held[: min(found)]
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        sure, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return sure

    def finish(self) -> str:
        """The rest. Bytes of a character that was never finished are dropped."""
        return "" if self.stopped else self._held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


async def encode_prompt(server: ModelServer, task: ChatTask) -> list[int]:
    """The prompt's tokens. Raises `TaskError` when prompt and answer cannot fit the model's context together."""
    prompt = await server.encode_chat(task.messages)
    if len(prompt) + task.max_tokens > server.context:
        raise TaskError(
            f"The prompt's {len(prompt)} tokens and max_tokens {task.max_tokens} exceed the context of {server.context} tokens. Shorten the prompt, or ask for fewer tokens."
        )
    return prompt


async def generate(server: ModelServer, task: ChatTask, model: str) -> AsyncIterator[Piece]:
    """Pieces {"text", "tokens": [[id, logprob]]}, one per token; the last has "finish", "usage" and "model"."""
    prompt = await encode_prompt(server, task)
    flow, tokens, finish = TextFlow(task.stop), list(prompt), "length"
    async with server.seat() as seat:
        while len(tokens) - len(prompt) < task.max_tokens and finish == "length":
            choice = draw(await seat.rank(tokens), task.temperature, task.seed, len(tokens) - len(prompt))
            tokens.append(choice.token)
            text = flow.feed(choice.piece)
            finish = "stop" if flow.stopped or choice.token in server.control else "length"
            yield _piece(text, choice)
    usage = {"prompt": len(prompt), "completion": len(tokens) - len(prompt)}
    yield {"text": flow.finish(), "tokens": [], "finish": finish, "usage": usage, "model": model}


def _piece(text: str, choice: Candidate) -> Piece:
    return {"text": text, "tokens": [[choice.token, round(choice.logprob, 4)]]}
