"""One market: slots, stake, commit and reveal, sponsors, the steps of closing, withdrawals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tercet.chain.abi import encode, parse_type
from tercet.chain.bindings import BoundContract
from tercet.chain.keys import keccak
from tercet.chain.registry import MarketParams
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender

_UIDS = 256
_VIEW_PAGE = 64
_COMMIT_TYPES = tuple(
    parse_type({"type": text})
    for text in ("uint256", "address", "uint256", "address", "bytes32", "uint256", "uint256[]")
)


class Phase(IntEnum):
    """Where an epoch stands."""

    COMMIT = 0
    REVEAL = 1
    READY = 2
    """Over; anybody may begin to close it."""
    CLOSING = 3
    ENDED = 4
    """The market is wound down; only withdrawals are left."""


@dataclass(frozen=True, slots=True)
class MarketStatus:
    """Where the market stands, as of the pending block."""

    epoch: int
    started_at: int
    """Unix seconds by the chain's clock, as the next two."""
    commit_ends: int
    reveal_ends: int
    phase: Phase
    pages: int
    """Of 16 columns."""
    next_page: int
    """While closing: the page to settle next."""
    columns: int
    """Highest uid + 1."""
    generation: int
    """Registrations so far."""
    reward: int
    """Of this epoch, reward token base units."""
    total_weight: int
    """While closing: stake units in the consensus."""
    last_epoch: int | None
    """None unless the market winds down."""


@dataclass(frozen=True, slots=True)
class MinerSlot:
    """A registered miner."""

    uid: int
    owner: str
    operator: str
    generation: int
    deposit: int
    consensus: int
    """Of the last closed epoch, 0..65535."""
    rank: int
    """Of the last closed epoch, stake units times weight."""
    endpoint: str


@dataclass(frozen=True, slots=True)
class ValidatorSlot:
    """A registered validator."""

    vid: int
    owner: str
    operator: str
    generation: int
    stake: int
    """Stake token base units."""
    committed: int
    """Epoch of the newest commit plus one; 0 means never."""
    revealed: int
    """Epoch of the newest reveal plus one; 0 means never."""
    as_of: int
    words: int
    """Length of the newest row in words of 16 weights."""


@dataclass(frozen=True, slots=True)
class Books:
    """What a market holds and for whom: the first two in stake token, the others in reward token."""

    staked: int
    deposits: int
    owed: int
    budget: int
    refundable: int


@dataclass(frozen=True, slots=True)
class Sponsorship:
    """A sponsor's grant."""

    sponsor: str
    rate: int
    """Reward token base units for each epoch."""
    first_epoch: int
    end_epoch: int
    """First epoch without it."""
    returned: int
    claimed: int
    settled: bool
    claimable: int
    """What the sponsor could claim now."""


def build_commit_digest(
    chain_id: int, market: str, epoch: int, owner: str, salt: bytes, as_of: int, words: Sequence[int]
) -> bytes:
    """What a validator commits to; the salt keeps it secret until the reveal.

    Args:
        chain_id: of the chain the market is on.
        market: its address.
        epoch: the epoch that the row is for.
        owner: the validator's owner, not its operator.
        salt: 32 random bytes, kept for the reveal.
        as_of: the market's registration counter when the validator measured.
        words: the row, 16 weights to a word (`tercet.market.epoch.pack_row`).
    """
    return keccak(encode(_COMMIT_TYPES, (chain_id, market, epoch, owner, salt, as_of, tuple(words))))


class MarketContract(BoundContract):
    """A market at an address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Market", address)
        self._params: MarketParams | None = None

    # reading

    async def status(self) -> MarketStatus:
        """Where the epoch stands."""
        *front, phase, pages, next_page, columns, generation, reward, weight, last = await self.read("status")
        epoch, started, commit_ends, reveal_ends = front
        ends = None if last == 2**256 - 1 else int(last)
        rest = (pages, next_page, columns, generation, reward, weight, ends)
        return MarketStatus(epoch, started, commit_ends, reveal_ends, Phase(phase), *rest)

    async def params(self) -> MarketParams:
        """The rules; read once, since they never change."""
        if self._params is None:
            self._params = MarketParams(*await self.read("params"))
        return self._params

    async def title(self) -> str:
        """The market's name."""
        return str(await self.read("name"))

    async def owner(self) -> str:
        """Who may wind it down."""
        return str(await self.read("owner"))

    async def tokens(self) -> tuple[str, str]:
        """Addresses of the stake token and of the reward token."""
        return str(await self.read("stake_token")), str(await self.read("reward_token"))

    async def miners(self) -> list[MinerSlot]:
        """All registered miners in order of uid."""
        held, found = int(await self.read("miner_slots")), []
        for first in range(0, _UIDS, _VIEW_PAGE):
            if held >> first & (2**_VIEW_PAGE - 1):
                found += [MinerSlot(*row) for row in await self.read("get_miners", first, _VIEW_PAGE)]
        return found

    async def validators(self) -> list[ValidatorSlot]:
        """All registered validators in order of vid."""
        return [ValidatorSlot(*row) for row in await self.read("get_validators")]

    async def uid_of(self, operator: str) -> int | None:
        """The miner that an operator answers for."""
        return int(await self.read("uid_of", operator)) or None

    async def generations(self) -> tuple[int, ...]:
        """By uid, 256 of them; 0 for an empty slot."""
        return tuple(await self.read("get_generations"))

    async def row(self, vid: int) -> tuple[int, ...]:
        """The newest row that a validator revealed, in words."""
        return tuple(await self.read("get_row", vid))

    async def bonds(self, vid: int) -> tuple[int, ...]:
        """A validator's stored bonds by uid, over 2**16 of a weight."""
        return tuple(await self.read("get_bonds", vid))

    async def closed_generation(self) -> int:
        """The registration counter at the last closing."""
        return int(await self.read("closed_generation"))

    async def consensus(self) -> tuple[int, ...]:
        """Words of the pages that were settled last."""
        return tuple(await self.read("get_consensus"))

    async def books(self) -> Books:
        """What the market holds."""
        return Books(*await self.read("books"))

    async def owed(self, owner: str) -> int:
        """Rewards that an owner can withdraw, reward token base units."""
        return int(await self.read("owed", owner))

    async def sponsorship_count(self) -> int:
        """How many sponsorships there have been."""
        return int(await self.read("sponsorship_count"))

    async def sponsorship(self, number: int) -> Sponsorship:
        """A sponsorship by number."""
        grant, claimable = await self.read("get_sponsorship", number)
        fields = (*grant, claimable)
        return Sponsorship(*fields)

    # miners

    async def register_miner(self, sender: Sender, operator: str, endpoint: str) -> int:
        """Take a slot against the deposit, which must be approved; the uid."""
        receipt = await self.write(sender, "register_miner", operator, endpoint)
        return int(self.find_event(receipt, "MinerRegistered")["uid"])

    async def leave_miner(self, sender: Sender, uid: int) -> Receipt:
        """Free the slot; the deposit comes back."""
        return await self.write(sender, "leave_miner", uid)

    async def set_miner_operator(self, sender: Sender, uid: int, operator: str) -> Receipt:
        """Replace a miner's hot key."""
        return await self.write(sender, "set_miner_operator", uid, operator)

    async def set_endpoint(self, sender: Sender, uid: int, endpoint: str) -> Receipt:
        """Say where a miner answers."""
        return await self.write(sender, "set_endpoint", uid, endpoint)

    # validators

    async def register_validator(self, sender: Sender, operator: str, stake: int) -> int:
        """Take a seat with a stake, which must be approved; the vid."""
        receipt = await self.write(sender, "register_validator", operator, stake)
        return int(self.find_event(receipt, "ValidatorRegistered")["vid"])

    async def leave_validator(self, sender: Sender, vid: int) -> Receipt:
        """Free the seat; the whole stake comes back."""
        return await self.write(sender, "leave_validator", vid)

    async def stake(self, sender: Sender, vid: int, amount: int) -> Receipt:
        """Add to a stake."""
        return await self.write(sender, "stake", vid, amount)

    async def unstake(self, sender: Sender, vid: int, amount: int) -> Receipt:
        """Take a part of a stake back."""
        return await self.write(sender, "unstake", vid, amount)

    async def set_validator_operator(self, sender: Sender, vid: int, operator: str) -> Receipt:
        """Replace a validator's hot key."""
        return await self.write(sender, "set_validator_operator", vid, operator)

    async def commit(self, sender: Sender, digest: bytes) -> Receipt:
        """Commit to this epoch's row."""
        return await self.write(sender, "commit", digest)

    async def reveal(self, sender: Sender, as_of: int, salt: bytes, words: Sequence[int]) -> Receipt:
        """Reveal the row behind the commit."""
        return await self.write(sender, "reveal", as_of, salt, tuple(words))

    # sponsors

    async def sponsor(self, sender: Sender, budget: int, epochs: int) -> int:
        """Pay `budget // epochs` into each of the next epochs, this one included; the sponsorship's number."""
        receipt = await self.write(sender, "sponsor", budget, epochs)
        return int(self.find_event(receipt, "Sponsored")["sponsorship"])

    async def cancel(self, sender: Sender, number: int) -> Receipt:
        """End a sponsorship with the running epoch."""
        return await self.write(sender, "cancel", number)

    async def claim_refund(self, sender: Sender, number: int) -> int:
        """Take what came back; reward token base units."""
        receipt = await self.write(sender, "claim_refund", number)
        return int(self.find_event(receipt, "RefundClaimed")["amount"])

    # closing; `tercet.chain.closing` drives these

    async def begin_close(self, sender: Sender) -> Receipt:
        """Start closing."""
        return await self.write(sender, "begin_close")

    async def settle_pages(self, sender: Sender, first: int, hints: Sequence[int]) -> Receipt:
        """Settle pages with their consensus hints."""
        return await self.write(sender, "settle_pages", first, tuple(hints))

    async def finish_close(self, sender: Sender) -> Receipt:
        """Pay out and start the next epoch."""
        return await self.write(sender, "finish_close")

    async def close_at_once(self, sender: Sender, hints: Sequence[int]) -> Receipt:
        """Begin, settle and finish in one transaction."""
        return await self.write(sender, "close_epoch", tuple(hints))

    # money out, and the end

    async def withdraw(self, sender: Sender) -> int:
        """Take all rewards owed to the sender; reward token base units."""
        receipt = await self.write(sender, "withdraw")
        return int(self.find_event(receipt, "Withdrawn")["amount"])

    async def wind_down(self, sender: Sender) -> Receipt:
        """Make the running epoch the last one."""
        return await self.write(sender, "wind_down")
