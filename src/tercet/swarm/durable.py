"""Agents of pydantic-ai whose model calls and tools are steps of the journal.

`Agent(..., name="coder", capabilities=[JournalDurability()])`, run inside `run_scope`, resumes where it was killed.
Outside of a scope the capability does nothing. Tools run one after the other, so that their numbers are the same each
time. Names of steps are pydantic-ai's and are kept in journals, which is one reason why its version is pinned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic_ai.capabilities import WrapRunHandler
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    DurableOperationBackend,
    DurableOperationId,
    JournalCallableOperationBackend,
    RoleBasedOperationConfig,
    ToolsetCallToolId,
    conversation_id_from_run_id,
    record_durable_unit,
    replay_scope,
)
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import AgentDepsT, RunContext
from pydantic_core import to_jsonable_python

from tercet.swarm.events import encode
from tercet.swarm.steps import current_scope, payment_key, run_scope, step

__all__ = ["JournalDurability", "payment_key", "run_scope", "step"]


class _Steps(JournalCallableOperationBackend[None]):
    """Runs each of an agent's operations as a step of the scope it is in."""

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],
        config: None,  # noqa: ARG002 - the base class's signature
    ) -> object:
        done = False

        async def do() -> object:
            nonlocal done
            done = True
            return await body()

        output = await step(name, do, key=_arguments(operation_id, cache_key))
        record_durable_unit(executed=done)
        return output


def _arguments(operation_id: DurableOperationId, cache_key: tuple[object, ...]) -> str:
    # Of a tool its name and arguments. Messages hold the time, and come from the steps before, so they add nothing.
    if not isinstance(operation_id, ToolsetCallToolId):
        return ""
    return encode(to_jsonable_python(cache_key[:2], fallback=lambda value: type(value).__qualname__))


class JournalDurability(BaseDurabilityCapability[AgentDepsT]):
    """Capability that makes an agent's model requests, tools and MCP calls steps of the scope it runs in."""

    engine_spec: ClassVar[DurabilityEngineSpec] = DurabilityEngineSpec(
        engine_name="Tercet",
        durable_unit_noun="step",
        durable_container_noun="scope",
        codec=JSON_CODEC,
        wrapped_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        sequential_tools_in_durable_context=True,
    )

    @property
    def in_durable_context(self) -> bool:
        """Whether there is a scope, and we are not inside one of its steps already."""
        return current_scope() is not None

    def get_durable_operation_backend(self) -> DurableOperationBackend[None]:
        """What runs the operations."""
        return _Steps(
            agent_name=self.name,
            default_model_id=self.default_model_id,
            config=RoleBasedOperationConfig[None](model=None, event=None, capability=None, tool=None),
        )

    def get_default_run_id(self) -> str | None:
        """The same id each time this agent runs at this place of its scope."""
        scope = current_scope()
        return f"{scope.journal.run}:{scope.name}:{scope.number}" if scope else None

    def get_default_conversation_id(self, run_id: str) -> str | None:
        """Derived, so that a resumed run draws no chance."""
        return conversation_id_from_run_id(run_id) if self.in_durable_context else None

    async def get_run_start_time(self, run_id: str) -> datetime | None:  # noqa: ARG002 - the base class's signature
        """When the run first started, so that a resume does not lengthen its `timeout=`."""
        if not self.in_durable_context:
            return None

        async def now() -> str:
            return datetime.now(UTC).isoformat()

        return datetime.fromisoformat(await step(f"{self.name}__run_start_time", now))

    async def wrap_run(self, ctx: RunContext[AgentDepsT], *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        """Keep what is only read back out of traces and metrics."""
        with replay_scope():
            return await super().wrap_run(ctx, handler=handler)
