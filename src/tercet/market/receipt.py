"""What a gateway writes down about each call: who asked, who answered, what it cost, and the proof. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from tercet.errors import MarketError
from tercet.market.message import Answer, Price, Usage

__all__ = ["Receipt", "Status"]

Status: TypeAlias = Literal["complete", "budget", "client_gone", "failed", "lost"]
"""How a call ended.

complete: the whole answer, its signature verified. budget: the answer was cut because the key's budget could not pay
for more. client_gone: the client hung up before the end. failed: no miner gave a whole answer. lost: the gateway itself
stopped in the middle, and says so after its restart.
"""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One call at a gateway, as its journal keeps it."""

    id: str
    """Unique for ever; names the reservation too."""
    key: str
    """Id of the API key that paid. Never the key itself."""
    kind: str
    """What was asked for: `chat` or `embed`; of an answer that was bought by itself, the subnet's name."""
    model: str
    status: Status
    time_ms: int
    """When the call came in, Unix milliseconds."""
    request: bytes = b""
    """sha256 of the canonical request text sent to the miner; empty when none was sent."""
    uid: int = 0
    """The miner that answered, or was tried last; 0 means none."""
    generation: int = 0
    """Which holder of that uid."""
    operator: str = ""
    """The address that signed."""
    usage: Usage = Usage()  # noqa: RUF009 - frozen
    charged: int = 0
    """Credit units taken from the key's budget; of a failed purchase, what the miner may take all the same."""
    price: Price = Price()  # noqa: RUF009 - frozen
    """What was offered to the miner."""
    probation: bool = False
    """Whether the miner was unproven and so paid a fraction of its ask."""
    first_seconds: float = 0.0
    """From sending the request to the first piece; 0 when none came."""
    total_seconds: float = 0.0
    """From the call's arrival to its end, retries and waiting included."""
    attempts: int = 0
    """How many miners were tried."""
    answer: Answer | None = None
    """The miner's signed trailer: evidence. None when no answer was completed."""
    detail: str = ""
    """Why it did not end well; empty when it did."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; bytes as hex."""
        return {
            "id": self.id,
            "key": self.key,
            "kind": self.kind,
            "model": self.model,
            "status": self.status,
            "time_ms": self.time_ms,
            "request": self.request.hex(),
            "miner": {"uid": self.uid, "generation": self.generation, "operator": self.operator},
            "usage": _usage_json(self.usage),
            "charged": self.charged,
            "price": {
                "per_request": self.price.per_request,
                "prompt_per_1k": self.price.prompt_per_1k,
                "completion_per_1k": self.price.completion_per_1k,
            },
            "probation": self.probation,
            "first_seconds": round(self.first_seconds, 6),
            "total_seconds": round(self.total_seconds, 6),
            "attempts": self.attempts,
            "answer": None if self.answer is None else _answer_json(self.answer),
            "detail": self.detail,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Receipt:
        """Read what `to_json` wrote.

        Raises:
            MarketError: a field is missing or of the wrong kind.

        """
        try:
            return _read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MarketError(
                f"This is no receipt: {error!r}. A receipt is the JSON object of docs/reference/gateway.md."
            ) from error


def _read(data: Mapping[str, Any]) -> Receipt:
    if data["status"] not in get_args(Status):
        raise ValueError(f"unknown status {data['status']!r}")
    miner = data["miner"]
    return Receipt(
        id=str(data["id"]),
        key=str(data["key"]),
        kind=str(data["kind"]),
        model=str(data["model"]),
        status=data["status"],
        time_ms=int(data["time_ms"]),
        request=bytes.fromhex(data["request"]),
        uid=int(miner["uid"]),
        generation=int(miner["generation"]),
        operator=str(miner["operator"]),
        usage=_usage(data["usage"]),
        charged=int(data["charged"]),
        price=Price(**{name: int(value) for name, value in data["price"].items()}),
        probation=bool(data["probation"]),
        first_seconds=float(data["first_seconds"]),
        total_seconds=float(data["total_seconds"]),
        attempts=int(data["attempts"]),
        answer=None if data["answer"] is None else _answer(data["answer"]),
        detail=str(data["detail"]),
    )


def _usage_json(usage: Usage) -> dict[str, int]:
    return {"prompt": usage.prompt, "completion": usage.completion}


def _usage(data: Mapping[str, Any]) -> Usage:
    return Usage(int(data["prompt"]), int(data["completion"]))


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {
        "request": answer.request.hex(),
        "body": answer.body.hex(),
        "usage": _usage_json(answer.usage),
        "charged": answer.charged,
        "charged_total": answer.charged_total,
        "signer": answer.signer,
        "signature": answer.signature.hex(),
    }


def _answer(data: Mapping[str, Any]) -> Answer:
    return Answer(
        request=bytes.fromhex(data["request"]),
        body=bytes.fromhex(data["body"]),
        usage=_usage(data["usage"]),
        charged=int(data["charged"]),
        charged_total=int(data["charged_total"]),
        signer=str(data["signer"]),
        signature=bytes.fromhex(data["signature"]),
    )
