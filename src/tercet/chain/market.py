"""One market: slots and their price, commit and reveal, the steps of closing; where its three other contracts are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tercet.chain.abi import encode, parse_type
from tercet.chain.bindings import BoundContract
from tercet.chain.keys import keccak
from tercet.chain.registry import MarketParams
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.rules import RulesContract
from tercet.chain.sender import Sender
from tercet.chain.stakes import StakesContract
from tercet.chain.treasury import TreasuryContract

_UIDS = 256
_VIEW_PAGE = 64
_COMMIT_TYPES = tuple(
    parse_type({"type": text})
    for text in (
        *("uint256", "address", "uint256", "address", "bytes32"),
        *("uint256", "uint256", "bytes32", "uint256[]"),
    )
)
NO_EVIDENCE = bytes(32)
"""A row without an evaluation log behind it."""


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
    """While closing: the page to settle next; one more than there are when the miners are paid already."""
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
    price: int
    """Of a miner's registration now, stake token base units."""


@dataclass(frozen=True, slots=True)
class MinerSlot:
    """A registered miner."""

    uid: int
    owner: str
    operator: str
    generation: int
    since: int
    """Epoch in which it came."""
    deposit: int
    """Comes back when it goes, stake token base units."""
    consensus: int
    """Of the last closed epoch, 0..65535, whoever held the slot then; as the next."""
    rank: int
    """Stake units times weight."""
    endpoint: str


@dataclass(frozen=True, slots=True)
class ValidatorSlot:
    """A registered validator."""

    vid: int
    owner: str
    operator: str
    pool: int
    """Where its stake is: the number of its registration, as a miner's generation."""
    weight: int
    """Stake units in the newest closing, after permits and cap; 0 when it did not count."""
    committed: int
    """Epoch of the newest commit plus one; 0 means never."""
    revealed: int
    """Epoch of the newest reveal plus one; 0 means never."""
    as_of: int
    words: int
    """Length of the newest row in words of 16 weights."""
    evidence: bytes
    """Root of the evaluation log behind the newest row; zeros mean none."""

    @property
    def generation(self) -> int:
        """The registration counter when it came."""
        return self.pool


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who waits for a slot in a full market."""

    operator: str
    owner: str
    paid: int
    """Stake token base units, all of it back if it leaves the queue."""
    epoch: int
    """In which it applied."""
    endpoint: str


def build_commit_digest(
    chain_id: int,
    market: str,
    epoch: int,
    owner: str,
    salt: bytes,
    as_of: int,
    words: Sequence[int],
    *,
    version: int = 1,
    evidence: bytes = NO_EVIDENCE,
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
        version: of the mechanism that judged.
        evidence: root of the validator's evaluation log.
    """
    values = (chain_id, market, epoch, owner, salt, as_of, version, evidence, tuple(words))
    return keccak(encode(_COMMIT_TYPES, values))


class MarketContract(BoundContract):
    """A market at an address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Market", address)
        self._stakes: StakesContract | None = None
        self._treasury: TreasuryContract | None = None
        self._rules: RulesContract | None = None

    # the other three, looked up once: they never change

    async def stakes(self) -> StakesContract:
        """Where validators' stake is."""
        if self._stakes is None:
            self._stakes = StakesContract(self.rpc, str(await self.read("stakes")))
        return self._stakes

    async def treasury(self) -> TreasuryContract:
        """Where rewards come from."""
        if self._treasury is None:
            self._treasury = TreasuryContract(self.rpc, str(await self.read("treasury")))
        return self._treasury

    async def rules(self) -> RulesContract:
        """Where the parameters and the owner are."""
        if self._rules is None:
            self._rules = RulesContract(self.rpc, str(await self.read("rules")))
        return self._rules

    async def contracts(self) -> tuple[BoundContract, ...]:
        """All four, the market first: whose events tell all about it."""
        return self, await self.stakes(), await self.treasury(), await self.rules()

    # reading

    async def status(self) -> MarketStatus:
        """Where the epoch stands."""
        *front, phase, pages, next_page, columns, generation, reward, weight, last, price = await self.read("status")
        epoch, started, commit_ends, reveal_ends = front
        ends = None if last == 2**256 - 1 else int(last)
        rest = (pages, next_page, columns, generation, reward, weight, ends, price)
        return MarketStatus(epoch, started, commit_ends, reveal_ends, Phase(phase), *rest)

    async def params(self) -> MarketParams:
        """The rules in force."""
        return await (await self.rules()).params()

    async def title(self) -> str:
        """The market's name."""
        return str(await self.read("name"))

    async def owner(self) -> str:
        """Who may wind it down."""
        return str(await self.read("owner"))

    async def tokens(self) -> tuple[str, str]:
        """Addresses of the stake token and of the reward token."""
        return str(await self.read("stake_token")), str(await self.read("reward_token"))

    async def price(self) -> int:
        """Of a miner's registration now, stake token base units."""
        return int(await self.read("price"))

    async def miners(self) -> list[MinerSlot]:
        """All registered miners in order of uid."""
        held, found = int(await self.read("miner_slots")), []
        for first in range(0, _UIDS, _VIEW_PAGE):
            if held >> first & (2**_VIEW_PAGE - 1):
                found += [MinerSlot(*row) for row in await self.read("get_miners", first, _VIEW_PAGE)]
        return found

    async def applicants(self) -> list[Applicant]:
        """Who waits for a slot, in order."""
        queue = await self.read("get_applicants")
        return [Applicant(operator, *await self.read("get_application", operator)) for operator in queue]

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

    async def beacon(self, epoch: int) -> bytes:
        """Random bytes that nobody knew before the epoch's reveals."""
        return bytes(await self.read("beacon", epoch))

    async def deposits(self) -> int:
        """All stake token that the market holds: deposits, applications, what evicted miners have not claimed."""
        return int(await self.read("deposits"))

    async def deposit_owed(self, owner: str) -> int:
        """What an evicted miner's owner can claim, stake token base units."""
        return int(await self.read("deposit_owed", owner))

    # miners

    async def register_miner(self, sender: Sender, operator: str, endpoint: str, max_price: int) -> int:
        """Take a slot for the price of now, which must be approved and at most `max_price`; the uid."""
        receipt = await self.write(sender, "register_miner", operator, endpoint, max_price)
        return int(self.find_event(receipt, "MinerRegistered")["uid"])

    async def apply_miner(self, sender: Sender, operator: str, endpoint: str, max_price: int) -> Receipt:
        """Queue for a slot of a full market: the weakest miner's may fall free at the end of an epoch."""
        return await self.write(sender, "apply_miner", operator, endpoint, max_price)

    async def withdraw_application(self, sender: Sender, operator: str) -> Receipt:
        """Leave the queue, in a later epoch than one came; the whole price comes back."""
        return await self.write(sender, "withdraw_application", operator)

    async def leave_miner(self, sender: Sender, uid: int) -> Receipt:
        """Free the slot; the refundable part of its price comes back."""
        return await self.write(sender, "leave_miner", uid)

    async def claim_deposit(self, sender: Sender) -> Receipt:
        """Take what an evicted miner of the sender's had deposited."""
        return await self.write(sender, "claim_deposit")

    async def set_miner_operator(self, sender: Sender, uid: int, operator: str) -> Receipt:
        """Replace a miner's hot key; the zero address revokes it."""
        return await self.write(sender, "set_miner_operator", uid, operator)

    async def set_endpoint(self, sender: Sender, uid: int, endpoint: str) -> Receipt:
        """Say where a miner answers."""
        return await self.write(sender, "set_endpoint", uid, endpoint)

    # validators

    async def register_validator(self, sender: Sender, operator: str, stake: int, take_bps: int = 0) -> int:
        """Take a seat with own stake, which must be approved for the stakes contract; the vid."""
        receipt = await self.write(sender, "register_validator", operator, stake, take_bps)
        return int(self.find_event(receipt, "ValidatorRegistered")["vid"])

    async def leave_validator(self, sender: Sender, vid: int) -> Receipt:
        """Free the seat and close its pool; the stake is then the owner's to unstake."""
        return await self.write(sender, "leave_validator", vid)

    async def set_validator_operator(self, sender: Sender, vid: int, operator: str) -> Receipt:
        """Replace a validator's hot key; the zero address revokes it."""
        return await self.write(sender, "set_validator_operator", vid, operator)

    async def commit(self, sender: Sender, digest: bytes) -> Receipt:
        """Commit to this epoch's row."""
        return await self.write(sender, "commit", digest)

    async def reveal(
        self,
        sender: Sender,
        as_of: int,
        salt: bytes,
        words: Sequence[int],
        *,
        version: int = 1,
        evidence: bytes = NO_EVIDENCE,
    ) -> Receipt:
        """Reveal the row behind the commit."""
        return await self.write(sender, "reveal", as_of, version, salt, evidence, tuple(words))

    # closing; `tercet.chain.closing` drives these

    async def begin_close(self, sender: Sender) -> Receipt:
        """Start closing."""
        return await self.write(sender, "begin_close")

    async def settle_pages(self, sender: Sender, first: int, hints: Sequence[int]) -> Receipt:
        """Settle pages with their consensus hints."""
        return await self.write(sender, "settle_pages", first, tuple(hints))

    async def pay_miners(self, sender: Sender) -> Receipt:
        """Pay the miners of a large market before the rest, once its pages are settled; `finish_close` does it otherwise."""
        return await self.write(sender, "pay_miners")

    async def finish_close(self, sender: Sender) -> Receipt:
        """Pay out and start the next epoch."""
        return await self.write(sender, "finish_close")

    async def close_at_once(self, sender: Sender, hints: Sequence[int]) -> Receipt:
        """Begin, settle and finish in one transaction."""
        return await self.write(sender, "close_epoch", tuple(hints))

    # the end

    async def wind_down(self, sender: Sender) -> Receipt:
        """Make the running epoch the last one."""
        return await self.write(sender, "wind_down")
