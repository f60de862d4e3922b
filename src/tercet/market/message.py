"""What travels between a buyer and a miner: the terms, the voucher, the signed answer. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Answer", "ChannelConfig", "Price", "Task", "Usage", "Voucher"]

Task: TypeAlias = Mapping[str, Any]
"""A subnet's question as a JSON object. Its shape is the subnet's business; the market never looks inside."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer consumed, in the subnet's own units (tokens for language models, bytes for echo)."""

    prompt: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """What a miner asks, in credit base units."""

    per_request: int = 0
    prompt_per_1k: int = 0
    completion_per_1k: int = 0

    def charge(self, usage: Usage) -> int:
        """Credit units for `usage`, rounded up so that no work is free by rounding."""
        metered = usage.prompt * self.prompt_per_1k + usage.completion * self.completion_per_1k
        return self.per_request + -(-metered // 1000)

    def scaled(self, bps: int) -> Price:
        """The same price at `bps` ten-thousandths, rounded down, field by field."""
        return Price(
            self.per_request * bps // 10_000, self.prompt_per_1k * bps // 10_000, self.completion_per_1k * bps // 10_000
        )

    def at_least(self, floor: Price) -> Price:
        """The same price, raised to `floor` in every part that lies below it."""
        return Price(
            max(self.per_request, floor.per_request),
            max(self.prompt_per_1k, floor.prompt_per_1k),
            max(self.completion_per_1k, floor.completion_per_1k),
        )

    def covers(self, other: Price) -> bool:
        """Whether this offer is at least `other` in every part."""
        return (
            self.per_request >= other.per_request
            and self.prompt_per_1k >= other.prompt_per_1k
            and self.completion_per_1k >= other.completion_per_1k
        )


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """The identity of a payment channel, as in x402's batch settlement. Addresses are EIP-55 strings."""

    payer: str
    payer_authorizer: str
    """Whose signature makes a voucher good."""
    receiver: str
    receiver_authorizer: str
    token: str
    withdraw_delay: int
    """Seconds of notice before the payer may take unspent deposit back."""
    salt: bytes
    """32 bytes. The last 20 name the key that asks for a payer who cannot sign requests, such as a smart account."""


@dataclass(frozen=True, slots=True)
class Voucher:
    """A cumulative promise: the receiver may claim up to `max_claimable` credit units from the channel in all."""

    channel: bytes
    """Channel id, 32 bytes."""
    max_claimable: int
    signature: bytes
    """By the channel's payer authorizer: 65 bytes of a key, up to 1,024 of a smart account."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The signed trailer of an answer: evidence of who answered what, and for how much."""

    request: bytes
    """sha256 of the canonical request text, 32 bytes."""
    body: bytes
    """sha256 of all piece bytes before the trailer, 32 bytes."""
    usage: Usage
    charged: int
    """Credit units charged for this answer."""
    charged_total: int
    """Credit units charged on the channel so far, this answer included."""
    signer: str
    """The miner's operator address."""
    signature: bytes
    """65 bytes over the EIP-191 text of the fields above."""
