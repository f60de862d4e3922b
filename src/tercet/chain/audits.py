"""The audits contract: rounds, attestations, accusations and votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tercet.chain.bindings import BoundContract
from tercet.chain.logs import Event, read_events
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender


class Stage(IntEnum):
    """What a round is open for."""

    ATTEST = 0
    """The epoch after the audited one: attest, accuse, vote."""
    VOTE = 1
    """The epoch after that: vote on what is still open; settle when nothing is."""
    OVER = 2


class AccusationState(IntEnum):
    """What became of an accusation."""

    NONE = 0
    OPEN = 1
    CONFIRMED = 2
    REJECTED = 3
    MOOT = 4
    """The accused was convicted of another entry; the bond came back."""


@dataclass(frozen=True, slots=True)
class AuditRound:
    """The audit of one closed epoch of one market."""

    opened_at: int
    """Unix seconds."""
    stage: Stage
    beacon: bytes
    weight: int
    """Of all seats, stake units."""
    evidence: int
    """Bitmap of vids, as the next three."""
    attested: int
    convicted: int
    settled: int
    accusations: int
    """How many are open."""


@dataclass(frozen=True, slots=True)
class AuditSeat:
    """A validator in a round."""

    vid: int
    pool: int
    weight: int
    """Stake units."""
    marks: int
    """Bitmap of the vids that it found in order."""
    support: int
    """Weight of the others that found it in order."""


@dataclass(frozen=True, slots=True)
class Accusation:
    """One claim that a sample does not reproduce."""

    state: AccusationState
    accuser: str
    accuser_vid: int
    slash_bps: int
    guilty: int
    """Weight, the accuser's included."""
    innocent: int
    """Weight, the accused's included."""
    voters: int
    """Bitmap of vids."""
    bond: int
    """Stake token base units."""


@dataclass(frozen=True, slots=True)
class Proof:
    """That an entry stands in a log, as `accuse` takes it."""

    count: int
    root: bytes
    leaf: bytes
    path: Sequence[bytes]


class AuditsContract(BoundContract):
    """The audits of all markets of a registry, at an address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Audits", address)

    async def attach(self, sender: Sender, registry: str) -> Receipt:
        """Name the registry; the deployer, once."""
        return await self.write(sender, "attach", registry)

    async def samples(self) -> int:
        """How many entries of a log are checked."""
        return int(await self.read("samples"))

    async def bond(self, market: str) -> int:
        """What accusing takes in a market, stake token base units."""
        return int(await self.read("bond_of", market))

    async def endpoint(self, market: str, pool: int) -> str:
        """Where a validator hands out its entries; empty when it never said."""
        return str(await self.read("endpoint_of", market, pool))

    async def round(self, market: str, epoch: int) -> AuditRound | None:
        """The audit of a closed epoch; None while nobody has opened it."""
        opened_at, stage, *rest = await self.read("get_round", market, epoch)
        return AuditRound(opened_at, Stage(stage), *rest) if opened_at else None

    async def seats(self, market: str, epoch: int) -> list[AuditSeat]:
        """Those with weight in a round, in order of vid."""
        return [AuditSeat(*row) for row in await self.read("get_seats", market, epoch)]

    async def accusation(self, market: str, epoch: int, vid: int, sample: int) -> Accusation | None:
        """What a validator is accused of for one sample; None when nobody has."""
        state, *rest = await self.read("get_accusation", market, epoch, vid, sample)
        return Accusation(AccusationState(state), *rest) if state else None

    async def evidence(self, market: str, epoch: int) -> dict[int, bytes]:
        """What each pool revealed for an audited epoch, in order of vid: from the event that opened the round."""
        opening = await self._find_opening(market, epoch)
        return {} if opening is None else dict(zip(opening.fields["pools"], opening.fields["evidence"], strict=True))

    async def _find_opening(self, market: str, epoch: int, span: int = 2_000) -> Event | None:
        """Backwards from the head: a round that is still of use was opened lately."""
        last = (await self.rpc.head()).number
        while last >= 0:
            first = max(0, last - span + 1)
            async for batch in read_events(self.rpc, [self], first, last, events=["RoundOpened"]):
                for event in batch.events:
                    if event.fields["market"] == market and event.fields["epoch"] == epoch:
                        return event
            last = first - 1
        return None

    # operators of validators

    async def set_endpoint(self, sender: Sender, market: str, endpoint: str) -> Receipt:
        """Say where the sender's validator hands out its entries."""
        return await self.write(sender, "set_endpoint", market, endpoint)

    async def attest(self, sender: Sender, market: str, epoch: int, marks: int) -> Receipt:
        """Say whose entries are in order."""
        return await self.write(sender, "attest", market, epoch, marks)

    async def accuse(
        self, sender: Sender, market: str, epoch: int, vid: int, sample: int, proof: Proof, evidence: Sequence[bytes]
    ) -> Receipt:
        """Claim that a sample does not reproduce; the bond must be approved."""
        parts = (proof.count, proof.root, proof.leaf, tuple(proof.path), tuple(evidence))
        return await self.write(sender, "accuse", market, epoch, vid, sample, *parts)

    async def vote(self, sender: Sender, market: str, epoch: int, vid: int, sample: int, *, guilty: bool) -> Receipt:
        """Say whether an accusation is right."""
        return await self.write(sender, "vote", market, epoch, vid, sample, guilty)

    # anyone

    async def open_round(self, sender: Sender, market: str) -> Receipt:
        """Copy what the audit of the newest closed epoch needs."""
        return await self.write(sender, "open_round", market)

    async def resolve(self, sender: Sender, market: str, epoch: int, vid: int, sample: int) -> Receipt:
        """End an accusation that nobody needs to vote on any more."""
        return await self.write(sender, "resolve", market, epoch, vid, sample)

    async def settle(self, sender: Sender, market: str, epoch: int, vids: int = 2**64 - 1) -> Receipt:
        """Release or forfeit held rewards."""
        return await self.write(sender, "settle", market, epoch, vids)

    async def forfeit(self, sender: Sender, market: str, epoch: int, pool: int) -> Receipt:
        """Take away what no round can release."""
        return await self.write(sender, "forfeit", market, epoch, pool)
