"""Thinking on this machine: a shipped model in its own process, held to schemas and tools by a grammar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tercet.errors import ModelError, SubnetError, TaskError, ThinkingError
from tercet.market import Price
from tercet.subnets.inference import count_cores, find_model, model_threads
from tercet.subnets.inference.serve import ModelServer
from tercet.swarm.gateway.call import Call, Completion, Cost
from tercet.swarm.gateway.reading import read_completion
from tercet.swarm.gateway.structured import build_grammar, instruct, is_structured, read_answer

__all__ = ["LocalUpstream"]

log = logging.getLogger(__name__)


class LocalUpstream:
    """A model file, served to this run alone. Free, unless it is given a price."""

    def __init__(
        self,
        model: str = "small",
        directory: Path | None = None,
        *,
        context: int = 8192,
        slots: int = 1,
        threads: int = 0,
        price: Price | None = None,
    ) -> None:
        """See `find_model` for names.

        Args:
            model: a catalogue name, a path, or a repository's.
            directory: where model files lie; None is the usual place.
            context: tokens of question and answer together.
            slots: answers worked on at once.
            threads: of the CPU; 0 takes what `model_threads` says of this machine.
            price: what to charge.

        """
        self.models: Sequence[str] = (model,)
        self.name, self.account = f"local {model}", ""
        self._directory = directory
        self._context = context
        self._slots = slots
        self.threads = threads or model_threads(count_cores())
        self._places = asyncio.Semaphore(slots)
        self._price = price or Price()
        self._starting = asyncio.Lock()
        self._server: ModelServer | None = None

    @property
    def pid(self) -> int | None:
        """The model's process; None while there is none."""
        return None if self._server is None else self._server.pid

    def price(self, model: str) -> Price:  # noqa: ARG002 - it has one model
        """The price it was given."""
        return self._price

    def samples(self, call: Call) -> int:  # noqa: ARG002 - a grammar needs no second try
        """One."""
        return 1

    async def open(self) -> None:
        """Load the model.

        Raises:
            ThinkingError: it cannot be had, or does not load.

        """
        async with self._starting:
            if self._server is not None and self._server.is_alive:
                return
            if self._server is not None:
                log.warning("swarm.model.restarted model=%s", self.models[0])
                await self._server.stop()
            try:
                path = await asyncio.to_thread(find_model, self.models[0], self._directory)
                self._server = await ModelServer.start(
                    path, context=self._context, slots=self._slots, threads=self.threads
                )
            except ModelError as error:
                raise ThinkingError(f"The model {self.models[0]!r} cannot think here: {error}", again=False) from error

    async def close(self) -> None:
        """End its process."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def find_cost(self, call: str) -> Cost:  # noqa: ARG002 - nobody is paid for an answer that did not come
        """Nothing."""
        return Cost()

    async def complete(self, call: Call) -> Completion:
        """Answer; a process that died is started once more."""
        async with self._places:
            await self.open()
            assert self._server is not None
            try:
                raw = await self._server.complete(_request(call))
            except TaskError as error:
                raise ThinkingError(f"{self.name} refuses the question: {error}", again=False) from error
            except SubnetError as error:
                raise ThinkingError(f"{self.name} broke off: {error}") from error
        if not isinstance(raw, dict):
            raise ThinkingError(f"{self.name} answered with something that is no JSON object.")
        return self._read(call, read_completion(raw, call, self.name))

    def _read(self, call: Call, completion: Completion) -> Completion:
        found = read_answer(call, completion.text)
        if isinstance(found, Completion):
            finish = found.finish if is_structured(call) else completion.finish
            return replace(completion, text=found.text, tool_calls=found.tool_calls, finish=finish)
        cut = completion.finish == "length"
        why = f"it was cut off after {completion.usage.completion} tokens" if cut else found
        raise ThinkingError(
            f"{self.name} gave no answer of the shape that was asked for: {why}. Allow longer answers, or another model.",
            prompt=completion.usage.prompt,
            completion=completion.usage.completion,
        )


def _request(call: Call) -> dict[str, Any]:
    request: dict[str, Any] = {
        "messages": list(instruct(call).messages),
        "max_tokens": call.max_tokens,
        "temperature": 0.0 if call.temperature is None else call.temperature,
        "cache_prompt": True,
    }
    optional: Mapping[str, Any] = {"seed": call.seed, "stop": list(call.stop), "grammar": build_grammar(call)}
    return request | {name: value for name, value in optional.items() if value not in (None, "", [])}
