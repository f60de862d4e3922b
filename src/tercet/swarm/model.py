"""The model that agents think with: it asks the run's desk, which meters, budgets, holds and writes receipts.

A refusal of the desk (out of budget, ended, model down) leaves as it is and ends the agent's run; nothing here tries
again. What an answer cost on the market is its `usage.cost` in credits, so an agent's own `cost_limit` bites too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol

from pydantic_ai.messages import FinishReason, ModelMessage, ModelResponse, ModelResponsePart, TextPart, ToolCallPart
from pydantic_ai.models import CompletedStreamedResponse, Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.profiles import InlineDefsJsonSchemaTransformer, ModelProfile
from pydantic_ai.settings import ModelSettingName, ModelSettings
from pydantic_ai.tools import RunContext, ToolDefinition
from pydantic_ai.usage import RequestUsage

from tercet.swarm.choices import Choices
from tercet.swarm.dialogue import dialogue, last_instructions, plain_dialogue
from tercet.swarm.gateway import Call, Reply
from tercet.swarm.steps import payment_key

__all__ = ["CREDIT", "Asking", "GatewayModel"]

CREDIT = 1_000_000
"""Units of one credit."""
_DEFAULT_TOKENS = 1024
_OUTPUT_MODES: Mapping[Literal["calls", "schema"], Literal["tool", "native"]] = {"calls": "tool", "schema": "native"}
_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_call"}


_PROFILES = {
    tools: ModelProfile(
        supports_json_schema_output=True,
        default_structured_output_mode=mode,
        json_schema_transformer=InlineDefsJsonSchemaTransformer,
        supports_image_input=False,
        supports_document_input=False,
        supports_audio_file_input=False,
        supports_video_input=False,
    )
    for tools, mode in _OUTPUT_MODES.items()
}


class Asking(Protocol):
    """The part of a desk that thinking needs."""

    async def ask(self, call: Call) -> Reply:
        """Answer a call, or raise why not."""
        ...


class GatewayModel(Model[None]):
    """A model of pydantic-ai that thinks through a run's desk, at the cost of one of its nodes."""

    unsupported_settings: ClassVar[frozenset[ModelSettingName]] = frozenset(
        {
            "extra_body", "extra_headers", "frequency_penalty", "logit_bias", "parallel_tool_calls", "presence_penalty",
            "service_tier", "timeout", "top_k", "top_p",
        }
    )  # fmt: skip

    def __init__(
        self,
        desk: Asking,
        node: str,
        task: str = "",
        model: str = "",
        *,
        tools: Literal["calls", "schema"] = "calls",
        settings: ModelSettings | None = None,
    ) -> None:
        """Ask `desk` for `node`.

        Args:
            desk: of the run.
            node: path of who pays, such as `run/crew/coder-1`.
            task: id of the task it is for.
            model: its name; empty is the desk's first.
            tools: `calls` for models that call tools themselves; `schema` for small ones, whose every answer is bound
                to a JSON schema of the tools and the typed answer.
            settings: defaults, such as `{"max_tokens": 300, "temperature": 0.7}`.

        """
        self._desk, self._node, self._task, self._model, self._tools = desk, node, task, model, tools
        super().__init__(settings=settings, profile=_PROFILES[tools])

    @property
    def model_name(self) -> str:
        """Its name, or `default`."""
        return self._model or "default"

    @property
    def system(self) -> str:
        """Who provides it."""
        return "tercet"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask once.

        Raises:
            OutOfBudgetError: the node, or one above it, has too little left.
            EndedError: it was killed, or the run was stopped.
            ThinkingError: the model is down or answers junk.

        """
        settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        choices = _choices(parameters, settings or {})
        call = self._call(messages, settings or {}, parameters, choices)
        reply = await self._desk.ask(call.known_as(step=payment_key(call.digest)))
        parts = _parts(reply) if self._tools == "calls" else choices.parse(reply.text, reply.receipt)
        return ModelResponse(
            parts=parts,
            usage=RequestUsage(
                input_tokens=reply.prompt, output_tokens=reply.completion, cost=Decimal(reply.charged) / CREDIT
            ),
            model_name=self.model_name,
            provider_name=self.system,
            provider_response_id=reply.receipt,
            provider_details={"receipt": reply.receipt, "charged": reply.charged},
            finish_reason=_FINISH.get(reply.finish),
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,  # noqa: ARG002 - the base class's signature
    ) -> AsyncGenerator[StreamedResponse]:
        """The whole answer as one piece: a desk pays for answers, not for their beginnings."""
        response = await self.request(messages, model_settings, model_request_parameters)
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        yield CompletedStreamedResponse(response, model_request_parameters=parameters, replay_events=True)

    def _call(
        self,
        messages: list[ModelMessage],
        settings: ModelSettings,
        parameters: ModelRequestParameters,
        choices: Choices,
    ) -> Call:
        parts = parameters.instruction_parts
        system = [part.content for part in parts] if parts is not None else [last_instructions(messages)]
        native = self._tools == "calls"
        if not native:
            system.append(choices.advice)
        said = [text for text in system if text.strip()]
        return Call(
            agent=self._node,
            task=self._task,
            model=self._model,
            messages=dialogue(said, messages) if native else plain_dialogue(said, messages),
            max_tokens=settings.get("max_tokens", _DEFAULT_TOKENS),
            temperature=settings.get("temperature"),
            seed=settings.get("seed"),
            schema=choices.output if native else choices.schema,
            tools=[_tool(tool) for tool in choices.tools] or None if native else None,
            stop=settings.get("stop_sequences", ()),
        )


def _choices(parameters: ModelRequestParameters, settings: ModelSettings) -> Choices:
    tools = list(parameters.declared_tool_defs.values()) if settings.get("tool_choice") != "none" else []
    output = parameters.output_object.json_schema if parameters.output_object else None
    return Choices(tools, output, parameters.allow_text_output)


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description or "", "parameters": tool.parameters_json_schema}
    return {"type": "function", "function": function}


def _parts(reply: Reply) -> list[ModelResponsePart]:
    parts: list[ModelResponsePart] = [TextPart(reply.text)] if reply.text else []
    for place, call in enumerate(reply.tool_calls):
        function = call["function"]
        name, arguments = function["name"], function.get("arguments")
        parts.append(ToolCallPart(name, arguments, tool_call_id=call.get("id") or f"{reply.receipt}.{place}"))
    return parts
