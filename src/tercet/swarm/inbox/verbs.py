"""What a run's control socket does with the inbox: answer, policy, revoke. Strangers' JSON comes in here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import CardError
from tercet.swarm.inbox.cards import Choice, Scope
from tercet.swarm.inbox.inbox import Inbox

__all__ = ["Verb", "build_verbs"]

Body = TypeVar("Body", bound=BaseModel)
Verb = Callable[..., Awaitable[dict[str, Any]]]


class _Scope(BaseModel):
    model_config = ConfigDict(extra="ignore")
    kind: str = Field(max_length=200)
    up_to: int = Field(ge=0)
    until: float
    each: int | None = Field(default=None, ge=0)
    node: str = "run"
    tool: str = ""
    cause: str = ""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")
    card: str = Field(min_length=1, max_length=200)
    choice: Choice
    scope: _Scope | None = None
    seen: int | None = None
    dwell: float | None = Field(default=None, ge=0, le=86_400)


class _Policy(BaseModel):
    model_config = ConfigDict(extra="ignore")
    scope: _Scope
    choice: Choice = "yes"


class _Revoke(BaseModel):
    model_config = ConfigDict(extra="ignore")
    policy: str = Field(min_length=1, max_length=64)


def build_verbs(inbox: Inbox) -> Mapping[str, Verb]:
    """The handlers by verb, for `serve_control`."""

    async def answer(**raw: Any) -> dict[str, Any]:
        args = _read(_Answer, raw)
        made = await inbox.answer(args.card, args.choice, scope=_scope(args.scope), seen=args.seen, dwell=args.dwell)
        return {
            "status": made.status,
            "cards": list(made.cards),
            "policy": made.policy,
            "wait": made.wait,
            "canary": made.canary,
        }

    async def policy(**raw: Any) -> dict[str, Any]:
        args = _read(_Policy, raw)
        scope = _scope(args.scope)
        assert scope is not None
        return {"policy": (await inbox.make_policy(scope, args.choice)).to_json()}

    async def revoke(**raw: Any) -> dict[str, Any]:
        return {"policy": (await inbox.revoke(_read(_Revoke, raw).policy)).to_json()}

    return {"answer": answer, "policy": policy, "revoke": revoke}


def _read(shape: type[Body], raw: Mapping[str, Any]) -> Body:
    try:
        return shape.model_validate(raw)
    except ValidationError as error:
        fault = error.errors()[0]
        raise CardError(f"{'.'.join(map(str, fault['loc'])) or 'the request'}: {fault['msg']}.") from error


def _scope(raw: _Scope | None) -> Scope | None:
    return None if raw is None else Scope(**raw.model_dump())
