"""A market with people in it: opens one on a ledger in memory, fills it, plays epochs.

`Arena.state()` reads from the chain exactly what the Python twin needs, as any stranger could who closes an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from eth_abi.abi import encode
from eth_utils import keccak
from tests.chain.contracts.evm import Contract, Ledger, Log, Receipt

from tercet.chain.artifacts import ContractName
from tercet.chain.registry import MarketParams
from tercet.market.epoch import MarketOutcome, MarketState, Seat, close_market_epoch, pack_row, unpack_row
from tercet.market.registration import EvictionRules, PriceRules
from tercet.market.treasury import pay_poke

TCT = 10**18
CREDIT = 10**6
SUPPLY = 50_000_000 * TCT
"""Half of the cap; the rest is for the emission."""
SALT = b"salt".ljust(32, b"\0")
BOND = 1_000 * TCT
TIMELOCK = 1_000
FOREVER = 2**256 - 1
ZERO = "0x" + "00" * 20
NOTHING = b"\0" * 32
FOUR: tuple[ContractName, ...] = ("Market", "Stakes", "Treasury", "Rules")
"""What one market is made of, in the registry's order of blueprints."""


@dataclass(frozen=True, slots=True)
class Params(MarketParams):
    """A market's rules, with values that suit tests; what is not here is as a market has it."""

    subnet: str = "inference"
    commit_seconds: int = 60
    reveal_seconds: int = 60
    activity_epochs: int = 2
    kappa: int = 6 * 10**17
    bond_alpha: int = 10**17
    validator_share_bps: int = 5_000
    min_stake: int = 100 * TCT
    weight_cap_bps: int = 10_000
    min_price: int = 10 * TCT
    max_price: int = 10 * TCT
    price_half_life: int = 3_600
    floor_miners: int = 0

    def tuple(self) -> tuple[Any, ...]:
        return astuple(self)

    def price_rules(self) -> PriceRules:
        return PriceRules(self.min_price, self.max_price, self.price_half_life, self.refund_bps)

    def eviction_rules(self) -> EvictionRules:
        return EvictionRules(self.immunity_epochs, self.floor_miners)


@dataclass(slots=True)
class Member:
    """A miner or a validator."""

    slot: int
    owner: str
    operator: str
    pool: int = 0
    """Of a validator: its seat's generation."""


class Arena:
    """One market of four contracts, its two tokens and its registry.

    Args:
        params: its rules.
        audits: who may slash; nobody when left out.
        sink: who gets the last carry; nobody when left out.
        samples: entries of a log that the real Audits checks; 0 for `audits` as it is said.
        one_token: rewards come in stake token.
    """

    def __init__(
        self,
        params: Params | None = None,
        *,
        audits: str = ZERO,
        sink: str = ZERO,
        samples: int = 0,
        supply: int = SUPPLY,
        one_token: bool = False,
    ) -> None:
        self.params = params or Params()
        self.ledger = Ledger()
        self.bank = self.ledger.account("bank")
        self.opener = self.ledger.account("opener")
        self.token = self.ledger.deploy("Token", self.bank, supply, sender=self.bank)
        self.credit = self.token if one_token else self.ledger.deploy("Credit", self.bank)
        if samples:
            self.audits = self.ledger.deploy("Audits", self.token.address, samples, sender=self.bank)
            audits = self.audits.address
        blueprints = tuple(self.ledger.deploy_blueprint(name) for name in FOUR)
        self.registry = self.ledger.deploy("Registry", self.token.address, blueprints, BOND, TIMELOCK, audits, sink)
        if samples:
            self.audits.send(self.bank, "attach", self.registry.address)
        self.give_stake_token(self.opener, BOND, self.registry)
        receipt = self.registry.send(
            self.opener, "open_market", self.credit.address, "first market", self.params.tuple()
        )
        self.opening = receipt
        self.market = self.ledger.attach("Market", receipt.value)
        self.stakes = self.ledger.attach("Stakes", self.market.call("stakes"))
        self.treasury = self.ledger.attach("Treasury", self.market.call("treasury"))
        self.rules = self.ledger.attach("Rules", self.market.call("rules"))
        self.miners: dict[int, Member] = {}
        self.validators: dict[int, Member] = {}
        self.last: MarketOutcome | None = None
        self.everybody: list[Member] = []
        """Also those who have left since."""
        self.pokers: list[str] = []

    # --- People ---

    def give_stake_token(self, who: str, amount: int, spender: Contract | None = None) -> None:
        """Hand out stake token, approved for the market or another contract."""
        if amount:
            self.token.send(self.bank, "transfer", who, amount)
        self.token.send(who, "approve", (spender or self.market).address, amount)

    def give_credit(self, who: str, amount: int, spender: Contract | None = None) -> None:
        """Hand out reward token, approved for the treasury or another contract."""
        self.credit.send(self.bank, "mint", who, amount)
        self.credit.send(who, "approve", (spender or self.treasury).address, amount)

    def add_miner(self, endpoint: str = "http://127.0.0.1:8091") -> Member:
        owner, operator = self.ledger.account("miner"), self.ledger.account("miner operator")
        self.give_stake_token(owner, self.market.call("price"))
        uid = self.market.send(owner, "register_miner", operator, endpoint, FOREVER).value
        return self._enter(self.miners, Member(uid, owner, operator))

    def add_applicant(self, endpoint: str = "") -> Member:
        """Somebody who waits for a slot; slot 0 for now."""
        owner, operator = self.ledger.account("applicant"), self.ledger.account("applicant operator")
        self.give_stake_token(owner, self.market.call("price"))
        self.market.send(owner, "apply_miner", operator, endpoint, FOREVER)
        self.everybody.append(Member(0, owner, operator))
        return self.everybody[-1]

    def add_validator(self, stake: int = 1_000 * TCT, take_bps: int = 0) -> Member:
        owner, operator = self.ledger.account("validator"), self.ledger.account("validator operator")
        self.give_stake_token(owner, stake, self.stakes)
        vid = self.market.send(owner, "register_validator", operator, stake, take_bps).value
        return self._enter(self.validators, Member(vid, owner, operator, self.as_of()))

    def _enter(self, members: dict[int, Member], member: Member) -> Member:
        members[member.slot] = member
        self.everybody.append(member)
        return member

    def add_sponsor(self, budget: int, epochs: int) -> tuple[str, int]:
        """A sponsor's address and the number of its sponsorship."""
        sponsor = self.ledger.account("sponsor")
        self.give_credit(sponsor, budget)
        return sponsor, self.treasury.send(sponsor, "sponsor", budget, epochs).value

    def add_delegation(self, vid: int, amount: int) -> str:
        """Somebody who stakes with a validator."""
        delegator = self.ledger.account("delegator")
        self.give_stake_token(delegator, amount, self.stakes)
        self.stakes.send(delegator, "stake", self.validators[vid].pool, amount)
        return delegator

    # --- The epoch ---

    @property
    def epoch(self) -> int:
        return int(self.market.call("epoch"))

    @property
    def first_poker(self) -> str:
        """Who closed the first epoch."""
        return self.pokers[0]

    def skip_epoch(self) -> None:
        """An epoch in which nobody votes: afterwards all stake that is here counts."""
        self.vote({})
        self.close()

    def digest(
        self, member: Member, as_of: int, words: Sequence[int], salt: bytes = SALT, evidence: bytes = NOTHING
    ) -> bytes:
        """What this validator commits to in this epoch."""
        types = ["uint256", "address", "uint256", "address", "bytes32", "uint256", "uint256", "bytes32", "uint256[]"]
        head = [self.ledger.chain_id, self.market.address, self.epoch, member.owner]
        rest = [salt, as_of, self.params.mechanism_version, evidence, words]
        return bytes(keccak(encode(types, [*head, *rest])))

    def commit(self, member: Member, row: Sequence[int], as_of: int | None = None) -> Receipt:
        return self.market.send(member.operator, "commit", self.digest(member, self.as_of(as_of), pack_row(row)))

    def reveal(self, member: Member, row: Sequence[int], as_of: int | None = None) -> Receipt:
        return self.market.send(member.operator, "reveal", *self.opening_of(row, as_of))

    def opening_of(self, row: Sequence[int], as_of: int | None = None, evidence: bytes = NOTHING) -> tuple[Any, ...]:
        """The arguments of a reveal."""
        return self.as_of(as_of), self.params.mechanism_version, SALT, evidence, pack_row(row)

    def as_of(self, as_of: int | None = None) -> int:
        return int(self.market.call("generation")) if as_of is None else as_of

    def vote(self, rows: Mapping[int, Sequence[int]], silent: Sequence[int] = ()) -> None:
        """Everybody in `rows` commits and, unless silent, reveals; ends when the epoch can be closed."""
        generation = self.as_of()
        for vid, row in rows.items():
            self.commit(self.validators[vid], row, generation)
        self.ledger.now += self.params.commit_seconds
        for vid, row in rows.items():
            if vid not in silent:
                self.reveal(self.validators[vid], row, generation)
        self.ledger.now += self.params.reveal_seconds

    def state(self) -> MarketState:
        """What the chain says, for the twin."""
        status = self.market.call("status")
        generations = self.market.call("get_generations")[: status["columns"]]
        views = self.market.call("get_validators")
        pools = [view["pool"] for view in views]
        stakes = self.stakes.call("effective", pools, self.params.min_stake)
        seats: list[Seat | None] = [None] * 64
        for view, stake in zip(views, stakes, strict=True):
            seats[view["vid"]] = Seat(
                stake=stake,
                generation=view["pool"],
                committed=view["committed_epoch"],
                revealed=view["revealed_epoch"],
                as_of=view["as_of"],
                row=tuple(unpack_row(self.market.call("get_row", view["vid"]))),
            )
        count = max((vid + 1 for vid, seat in enumerate(seats) if seat), default=0)
        return MarketState(
            epoch=status["epoch"],
            rules=self.params.rules(),
            seats=tuple(seats[:count]),
            generations=tuple(generations),
            bonds=tuple(self._stored(vid, status["columns"]) for vid in range(count)),
            closed_generation=self.market.call("closed_generation"),
            reward=status["reward"] - pay_poke(status["reward"], 1, 1),
        )

    def _stored(self, vid: int, columns: int) -> tuple[int, ...]:
        """Bonds as the last closing left them; the view of 256 is too slow to ask each time."""
        known = self.last.bonds if self.last else ()
        row = known[vid][:columns] if vid < len(known) else ()
        return (*row, *[0] * (columns - len(row)))

    def bonds(self, vid: int, columns: int) -> tuple[int, ...]:
        return tuple(self.market.call("get_bonds", vid)[:columns])

    def close(
        self, pages_at_once: int = 16, poker: str | None = None, *, pay_apart: bool = False
    ) -> tuple[MarketOutcome, list[Receipt]]:
        """Close the epoch with the twin's hints, in as many transactions as asked."""
        outcome = close_market_epoch(self.state())
        caller = poker or self.ledger.account("poker")
        self.pokers.append(caller)
        receipts = [self.market.send(caller, "begin_close")]
        for first in range(0, len(outcome.hints), pages_at_once):
            hints = outcome.hints[first : first + pages_at_once]
            receipts.append(self.market.send(caller, "settle_pages", first, hints))
        if pay_apart:
            receipts.append(self.market.send(caller, "pay_miners"))
        receipts.append(self.market.send(caller, "finish_close"))
        self.last = outcome
        return outcome, receipts


def pick(logs: Sequence[Log], name: str) -> list[dict[str, Any]]:
    """The fields of all events of a name."""
    return [log.fields for log in logs if log.name == name]


def make_row(weights: Sequence[int], columns: int) -> list[int]:
    """A row that sums to 65,535: the given weights by column from uid 1, the rest is unspent."""
    row = [0, *weights, *[0] * (columns - 1 - len(weights))]
    row[0] = 65_535 - sum(weights)
    return row
