"""Steering a run: pause, resume, kill, nice and budgets, for any agent of any framework.

Thinking is steered at the desk, so it works on agents that know nothing of us. What else an agent does, such as a process
of its own, is steered by hooks that its worker leaves here. What was said is written down and holds in the next process
too, except for a stop of the whole run, which lasts until the run is resumed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias

from tercet.errors import UsageError
from tercet.swarm.control import Handler
from tercet.swarm.gateway import Budget, Desk
from tercet.swarm.journal import Journal

__all__ = ["Hook", "HookVerb", "Steering"]

log = logging.getLogger(__name__)

HookVerb: TypeAlias = Literal["pause", "resume", "kill"]
Hook: TypeAlias = Callable[[], Awaitable[object]]
_RUN = "run"
_HOOK_SECONDS = 5.0


class Steering:
    """What the person, or a lead, may do to a run and its parts."""

    def __init__(self, desk: Desk, journal: Journal) -> None:
        """Take up what was said before: pauses, kills and weights of crews and agents."""
        self._desk = desk
        self._journal = journal
        self._hooks: dict[object, tuple[str, HookVerb, Hook]] = {}
        for event in journal.events(kinds=("control",)):
            self._again(event.body)

    def on(self, verb: HookVerb, node: str, hook: Hook) -> Callable[[], None]:
        """Call `hook` when `node`, or one above it, is told `verb`; for a worker's process, or the kernel's own tasks.

        Returns:
            What takes the hook away again.

        """
        key = object()
        self._hooks[key] = (node, verb, hook)
        return lambda: self._hooks.pop(key, None) and None

    def handlers(self) -> Mapping[str, Handler]:
        """The verbs for `serve_control`. `node` is a path such as `run/crew/coder-1`."""
        return {
            "pause": self.pause,
            "resume": self.resume,
            "kill": self.kill,
            "stop": self.stop,
            "nice": self.nice,
            "budget_add": self.budget_add,
            "budget_set": self.budget_set,
        }

    async def pause(self, node: str = _RUN, by: str = "person") -> dict[str, Any]:
        """Let all thinking of `node` wait from now on."""
        self._desk.hold(_path(node))
        return await self._tell("pause", node, by)

    async def resume(self, node: str = _RUN, by: str = "person") -> dict[str, Any]:
        """Let it go on."""
        self._desk.release(_path(node))
        if node == _RUN:
            self._desk.resume_all()
        return await self._tell("resume", node, by)

    async def kill(self, node: str = _RUN, by: str = "person") -> dict[str, Any]:
        """End `node` for good: its thinking is refused, its processes are stopped. The whole run can be resumed."""
        if _path(node) == _RUN:
            self._desk.stop_all(f"the run was killed by the {by}")
        else:
            self._desk.end(node, f"killed by the {by}")
        return await self._tell("kill", node, by)

    async def stop(self, by: str = "person") -> dict[str, Any]:
        """Refuse every new call of a model from this moment, as `kill` of the run."""
        return await self.kill(_RUN, by)

    async def nice(self, node: str, weight: int, by: str = "person") -> dict[str, Any]:
        """Give each agent of `node` this many shares of the queue."""
        if not isinstance(weight, int) or not 1 <= weight <= 1000:
            raise UsageError(f"A weight is a whole number from 1 to 1000, not {weight!r}; 1 is usual, more is sooner.")
        self._desk.nice(_path(node), weight)
        return await self._write("nice", node, by, weight=weight)

    async def budget_add(
        self, node: str = _RUN, credit: int = 0, tokens: int = 0, seconds: float = 0.0, attention: float = 0.0
    ) -> dict[str, Any]:
        """Raise limits of `node`, and wake who waits for them."""
        self._desk.budgets.add(_path(node), credit=credit, tokens=tokens, seconds=seconds, attention=attention)
        await self._journal.flush()
        return self._standing(node)

    async def budget_set(
        self,
        node: str = _RUN,
        credit: int | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
        attention: float | None = None,
    ) -> dict[str, Any]:
        """Give `node` these limits; None leaves one as it is."""
        now = self._desk.budgets.limit(_path(node))
        self._desk.budgets.set(
            node,
            Budget(
                now.credit if credit is None else credit,
                now.tokens if tokens is None else tokens,
                now.seconds if seconds is None else seconds,
                now.attention if attention is None else attention,
            ),
        )
        await self._journal.flush()
        return self._standing(node)

    def _standing(self, node: str) -> dict[str, Any]:
        limit, left = self._desk.budgets.limit(node), self._desk.budgets.left(node)
        return {"node": node, "credit": limit.credit, "left": left.credit}

    async def _tell(self, verb: HookVerb, node: str, by: str) -> dict[str, Any]:
        hooks = [(path, hook) for path, its, hook in self._hooks.values() if its == verb and _is_below(path, node)]
        told = await asyncio.gather(*(_call(path, hook) for path, hook in hooks))
        return await self._write(verb, node, by, told=sum(told), failed=len(told) - sum(told))

    async def _write(self, verb: str, node: str, by: str, **more: Any) -> dict[str, Any]:
        body = {"verb": verb, "target": node, "by": by, **more}
        await self._journal.append("control", body, actor=by)
        return body

    def _again(self, said: Mapping[str, Any]) -> None:
        node, verb = str(said.get("target", "")), said.get("verb")
        if verb == "pause":
            self._desk.hold(node)
        elif verb == "resume":
            self._desk.release(node)
        elif verb == "kill" and node != _RUN:
            self._desk.end(node, f"killed by the {said.get('by', 'person')}")
        elif verb == "nice":
            self._desk.nice(node, int(said.get("weight", 1)))


async def _call(path: str, hook: Hook) -> bool:
    try:
        await asyncio.wait_for(hook(), _HOOK_SECONDS)
    except Exception:  # a worker that cannot be stopped must not keep the others alive
        log.exception("swarm.hook node=%s", path)
        return False
    return True


def _path(node: object) -> str:
    if not isinstance(node, str) or node.split("/")[0] != _RUN or not all(node.split("/")):
        raise UsageError(f"{node!r} is no part of a run. Name it as run, run/<crew> or run/<crew>/<agent>.")
    return node


def _is_below(node: str, above: str) -> bool:
    return node == above or node.startswith(f"{above}/")
