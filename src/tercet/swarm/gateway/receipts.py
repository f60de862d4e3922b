"""The receipt of a call: the `call` event of the journal, written and read back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Literal

from tercet.errors import OutOfBudgetError
from tercet.swarm.gateway.call import Call, Completion, Cost, Reply, Upstream

__all__ = ["FREE", "Receipt", "Status", "at_most", "closing", "read_lacking", "read_reply", "seller_of"]

Status = Literal["complete", "failed", "refused", "lost", "unknown"]
"""`failed`: a model was down or answered junk; `refused`: by a budget or because it was ended; `lost`: its process was
killed; `unknown`: it was sent, and its seller cannot say what it cost, so the most that it can have cost is booked."""
_LONGEST_WHY = 500


FREE = Cost()


class Receipt:
    """The receipt of one call, from its opening on."""

    def __init__(self, call: Call, upstream: Upstream) -> None:
        self.id = f"call-{secrets.token_hex(8)}"
        self.actor = call.agent.rpartition("/")[2]
        self._call = call
        self._upstream = {"name": upstream.name}
        self._seller = seller_of(upstream)
        self._model = call.model or next(iter(upstream.models), "")

    def opened(self, most: Cost) -> dict[str, Any]:
        """Body of `call.opened`, which says that money was set aside and a model may be working."""
        return {
            **self._who(), "upstream": self._seller, "request": self._call.digest, "reserved": most.charged,
            "reserved_prompt": most.prompt, "reserved_completion": most.completion,
        }  # fmt: skip

    def closed(
        self, status: Status, cost: Cost, *, error: BaseException | None = None, completion: Completion | None = None
    ) -> dict[str, Any]:
        """Body of `call`; with the answer when the call is a step, so that it is never asked again."""
        body = {**self._who(), **closing(status, cost)}
        if error is not None and str(error):
            body["why"] = str(error)[:_LONGEST_WHY]
        if isinstance(error, OutOfBudgetError):
            body["lacking"] = {
                "node": error.node, "resource": error.resource, "needed": error.needed, "left": error.left,
            }  # fmt: skip
        if status == "unknown":
            body["upstream"] = self._seller
        if completion is not None:
            body["upstream"] = {**self._upstream, **completion.receipt}
            if self._call.step:
                body["answer"] = {
                    "text": completion.text, "tool_calls": list(completion.tool_calls), "finish": completion.finish,
                }  # fmt: skip
        return body

    def reply(self, completion: Completion, cost: Cost) -> Reply:
        """What the agent gets."""
        return Reply(
            text=completion.text,
            tool_calls=tuple(completion.tool_calls),
            finish=completion.finish,
            prompt=cost.prompt,
            completion=cost.completion,
            charged=cost.charged,
            receipt=self.id,
        )

    def _who(self) -> dict[str, Any]:
        call = self._call
        return {
            "id": self.id, "agent": call.agent, "task": call.task, "step": call.step,
            "model": self._model, "upstream": self._upstream,
        }  # fmt: skip


def closing(status: Status, cost: Cost) -> dict[str, Any]:
    """The fields that close a call."""
    return {
        "status": status,
        "charged": cost.charged,
        "prompt": cost.prompt,
        "completion": cost.completion,
        "seconds": cost.seconds,
    }


def seller_of(upstream: Upstream) -> dict[str, str]:
    """Who can say later what a call cost."""
    return {"name": upstream.name, **({"account": upstream.account} if upstream.account else {})}


def at_most(opened: Mapping[str, Any]) -> Cost:
    """The most that a call can have cost, from its `call.opened`."""
    return Cost(
        int(opened["reserved"]), int(opened.get("reserved_prompt", 0)), int(opened.get("reserved_completion", 0))
    )


def read_reply(body: Mapping[str, Any]) -> Reply:
    """The answer that a step's `call` event keeps."""
    answer = body["answer"]
    return Reply(
        text=answer["text"],
        tool_calls=tuple(answer["tool_calls"]),
        finish=answer["finish"],
        prompt=body["prompt"],
        completion=body["completion"],
        charged=body["charged"],
        receipt=body["id"],
    )


def read_lacking(body: Mapping[str, Any]) -> OutOfBudgetError | None:
    """What a refused `call` lacked; None where no budget refused it."""
    lacking = body.get("lacking")
    return OutOfBudgetError(str(body.get("why", "")), **lacking) if lacking else None
