"""A market with people in it: opens one on a ledger in memory, fills it, plays epochs.

`Arena.state()` reads from the chain exactly what the Python twin needs, as any stranger could who closes an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from eth_abi.abi import encode
from eth_utils import keccak
from tests.chain.contracts.evm import Contract, Ledger, Log, Receipt

from tercet.market.epoch import MarketOutcome, MarketRules, MarketState, Seat, close_market_epoch, pack_row, unpack_row

TCT = 10**18
CREDIT = 10**6
SUPPLY = 100_000_000 * TCT
SALT = b"salt".ljust(32, b"\0")


@dataclass(frozen=True, slots=True)
class Params:
    """A market's rules, in the order of the contract's struct."""

    subnet: str = "inference"
    mechanism_version: int = 1
    commit_seconds: int = 60
    reveal_seconds: int = 60
    activity_epochs: int = 2
    kappa: int = 6 * 10**17
    bond_alpha: int = 10**17
    validator_share_bps: int = 5_000
    max_miners: int = 255
    max_validators: int = 64
    miner_deposit: int = 10 * TCT
    min_stake: int = 100 * TCT

    def tuple(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def rules(self) -> MarketRules:
        return MarketRules(self.kappa, self.bond_alpha, self.validator_share_bps, self.activity_epochs)


@dataclass(slots=True)
class Member:
    """A miner or a validator."""

    slot: int
    owner: str
    operator: str


class Arena:
    """One market, its two tokens and its registry."""

    def __init__(self, params: Params | None = None) -> None:
        self.params = params or Params()
        self.ledger = Ledger()
        self.bank = self.ledger.account("bank")
        self.opener = self.ledger.account("opener")
        self.token = self.ledger.deploy("Token", self.bank, SUPPLY)
        self.credit = self.ledger.deploy("Credit", self.bank)
        blueprint = self.ledger.deploy_blueprint("Market")
        self.registry = self.ledger.deploy("Registry", self.token.address, blueprint, 1_000 * TCT)
        self.give_stake_token(self.opener, 1_000 * TCT, self.registry)
        receipt = self.registry.send(
            self.opener, "open_market", self.credit.address, "first market", self.params.tuple()
        )
        self.opening = receipt
        self.market = self.ledger.attach("Market", receipt.value)
        self.miners: dict[int, Member] = {}
        self.validators: dict[int, Member] = {}
        self.last: MarketOutcome | None = None
        self.everybody: list[Member] = []
        """Also those who have left since."""

    # --- People ---

    def give_stake_token(self, who: str, amount: int, spender: Contract | None = None) -> None:
        """Hand out stake token, approved for the market or another contract."""
        if amount:
            self.token.send(self.bank, "transfer", who, amount)
        self.token.send(who, "approve", (spender or self.market).address, amount)

    def add_miner(self, endpoint: str = "http://127.0.0.1:8091") -> Member:
        owner, operator = self.ledger.account("miner"), self.ledger.account("miner operator")
        self.give_stake_token(owner, self.params.miner_deposit)
        uid = self.market.send(owner, "register_miner", operator, endpoint).value
        self.miners[uid] = Member(uid, owner, operator)
        self.everybody.append(self.miners[uid])
        return self.miners[uid]

    def add_validator(self, stake: int = 1_000 * TCT) -> Member:
        owner, operator = self.ledger.account("validator"), self.ledger.account("validator operator")
        self.give_stake_token(owner, stake)
        vid = self.market.send(owner, "register_validator", operator, stake).value
        self.validators[vid] = Member(vid, owner, operator)
        self.everybody.append(self.validators[vid])
        return self.validators[vid]

    def add_sponsor(self, budget: int, epochs: int) -> tuple[str, int]:
        """A sponsor's address and the number of its sponsorship."""
        sponsor = self.ledger.account("sponsor")
        self.credit.send(self.bank, "mint", sponsor, budget)
        self.credit.send(sponsor, "approve", self.market.address, budget)
        return sponsor, self.market.send(sponsor, "sponsor", budget, epochs).value

    # --- The epoch ---

    @property
    def epoch(self) -> int:
        return int(self.market.call("epoch"))

    def digest(self, member: Member, as_of: int, words: Sequence[int], salt: bytes = SALT) -> bytes:
        """What this validator commits to in this epoch."""
        types = ["uint256", "address", "uint256", "address", "bytes32", "uint256", "uint256[]"]
        values = [self.ledger.chain_id, self.market.address, self.epoch, member.owner, salt, as_of, words]
        return bytes(keccak(encode(types, values)))

    def commit(self, member: Member, row: Sequence[int], as_of: int | None = None) -> Receipt:
        return self.market.send(member.operator, "commit", self.digest(member, self.as_of(as_of), pack_row(row)))

    def reveal(self, member: Member, row: Sequence[int], as_of: int | None = None) -> Receipt:
        return self.market.send(member.operator, "reveal", self.as_of(as_of), SALT, pack_row(row))

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
        seats: list[Seat | None] = [None] * 64
        for view in self.market.call("get_validators"):
            seats[view["vid"]] = Seat(
                stake=view["stake"],
                generation=view["generation"],
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
            reward=status["reward"],
        )

    def _stored(self, vid: int, columns: int) -> tuple[int, ...]:
        """Bonds as the last closing left them; the view of 256 is too slow to ask each time."""
        known = self.last.bonds if self.last else ()
        row = known[vid][:columns] if vid < len(known) else ()
        return (*row, *[0] * (columns - len(row)))

    def bonds(self, vid: int, columns: int) -> tuple[int, ...]:
        return tuple(self.market.call("get_bonds", vid)[:columns])

    def close(self, pages_at_once: int = 16, poker: str | None = None) -> tuple[MarketOutcome, list[Receipt]]:
        """Close the epoch with the twin's hints, in as many transactions as asked."""
        outcome = close_market_epoch(self.state())
        caller = poker or self.ledger.account("poker")
        receipts = [self.market.send(caller, "begin_close")]
        for first in range(0, len(outcome.hints), pages_at_once):
            hints = outcome.hints[first : first + pages_at_once]
            receipts.append(self.market.send(caller, "settle_pages", first, hints))
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
