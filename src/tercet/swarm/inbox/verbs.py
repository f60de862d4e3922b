"""What a run's control socket does with the inbox: answer, policy, revoke. Strangers' JSON comes in here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import CardError
from tercet.swarm.inbox.cards import Choice
from tercet.swarm.inbox.inbox import Inbox
from tercet.swarm.inbox.policies import Scope
from tercet.swarm.inbox.replies import MOST_OPTIONS, Reply

__all__ = ["Verb", "build_verbs"]

Body = TypeVar("Body", bound=BaseModel)
Verb = Callable[..., Awaitable[dict[str, Any]]]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")
    card: str = Field(min_length=1, max_length=200)
    choice: Reply
    words: str = Field(default="", max_length=100_000)
    """With the choice `words`; how long they may be the inbox says."""
    option: int | None = Field(default=None, ge=1, le=MOST_OPTIONS)
    """With the choice `words`: which of the card's options, from 1 on, instead of them."""
    scope: Scope | None = None
    seen: int | None = None
    dwell: float | None = Field(default=None, ge=0, le=86_400)


class _Policy(BaseModel):
    model_config = ConfigDict(extra="ignore")
    scope: Scope
    choice: Choice = "yes"


class _Revoke(BaseModel):
    model_config = ConfigDict(extra="ignore")
    policy: str = Field(min_length=1, max_length=64)


def build_verbs(inbox: Inbox) -> Mapping[str, Verb]:
    """The handlers by verb, for `serve_control`."""

    async def answer(**raw: Any) -> dict[str, Any]:
        args = _read(_Answer, raw)
        words = args.words if args.option is None else inbox.option(args.card, args.option)
        made = await inbox.answer(
            args.card, args.choice, words=words, scope=args.scope, seen=args.seen, dwell=args.dwell
        )
        return {
            "status": made.status,
            "cards": list(made.cards),
            "policy": made.policy,
            "wait": made.wait,
            "canary": made.canary,
        }

    async def policy(**raw: Any) -> dict[str, Any]:
        args = _read(_Policy, raw)
        return {"policy": (await inbox.make_policy(args.scope, args.choice)).to_json()}

    async def revoke(**raw: Any) -> dict[str, Any]:
        return {"policy": (await inbox.revoke(_read(_Revoke, raw).policy)).to_json()}

    return {"answer": answer, "policy": policy, "revoke": revoke}


def _read(shape: type[Body], raw: Mapping[str, Any]) -> Body:
    try:
        return shape.model_validate(raw)
    except ValidationError as error:
        fault = error.errors()[0]
        raise CardError(f"{'.'.join(map(str, fault['loc'])) or 'the request'}: {fault['msg']}.") from error
