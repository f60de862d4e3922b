"""One market on the real contracts, with people in it, in this process.

An `Arena` deploys the contracts to a sandbox and offers what anybody can do there; who does what when is the actors'
business. A `Party` is one person's purse, however many addresses it uses; `profit` is what it has in the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from random import Random

from tercet.attacks.archive import Archive
from tercet.attacks.lab import TCT, Lab
from tercet.attacks.scenario import Machine, Scenario
from tercet.chain import ledger
from tercet.chain.devnet.sandbox import CHAIN_ID, Result, Sandbox, SandboxContract
from tercet.chain.keys import NOBODY, Key, keccak
from tercet.chain.market import build_commit_digest
from tercet.errors import AlreadyDoneError, RevertedError, WrongPhaseError
from tercet.market.audit import EMPTY_EVIDENCE, SCORE_SCALE, pack_marks, sample_index
from tercet.market.epoch import FULL, PRECISE, find_consensus, pack_row, unpack_row

BOND = 1_000 * TCT
SAMPLES = 4
"""Entries of each validator's log that are run again."""
NOTICE = 60
"""The shortest notice of a payment channel, seconds."""
_MOST = 2**256 - 1
_COLUMNS = 16


@dataclass(slots=True, eq=False)
class Party:
    """One person: its addresses, what it brought, what it spent outside of the chain, what it was refused."""

    arena: Arena
    name: str
    addresses: list[str] = field(default_factory=list)
    brought: int = 0
    spent: int = 0
    pools: set[tuple[int, str]] = field(default_factory=set)
    """Where it has stake: pool and address."""
    sponsorships: list[int] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)

    def key(self, tct: int = 0) -> Key:
        """A new key with stake token; the market's contracts may take it."""
        key = self.arena.make_key(f"{self.name} {len(self.addresses)}")
        self.addresses.append(key.address)
        self.brought += tct
        self.arena.hand_out(key.address, tct)
        return key

    def address(self, tct: int = 0) -> str:
        """The address of a new key."""
        return self.key(tct).address

    def top_up(self, address: str, tct: int) -> None:
        """Bring more money."""
        self.brought += tct
        self.arena.token.write(self.arena.bank, "transfer", address, tct)

    def absorb(self, other: Party) -> None:
        """Be one person with another, from the beginning."""
        self.addresses += other.addresses
        self.brought += other.brought
        self.spent += other.spent
        self.pools |= other.pools
        self.sponsorships += other.sponsorships
        for slot in (*self.arena.slots.values(), *self.arena.waiting.values()):
            if slot.party is other:
                slot.party = self

    def spend(self, amount: int) -> None:
        """Pay for something outside of the chain."""
        self.spent += amount

    @property
    def wealth(self) -> int:
        """All that it could take home, now or after its notice."""
        return self.arena.count_wealth(self)

    @property
    def profit(self) -> int:
        """Wealth, less all that was brought, spent and burned as gas."""
        gas = sum(self.arena.sandbox.gas[address] for address in self.addresses)
        return self.wealth - self.brought - self.spent - gas * self.arena.lab.economy.gas_price


@dataclass(slots=True, eq=False)
class Seat:
    """A validator's place."""

    party: Party
    vid: int
    owner: str
    operator: str
    pool: int
    ballot: tuple[int, bytes, bytes, list[int]] | None = None
    """What it committed to: as_of, salt, evidence, words."""
    digest: bytes = bytes(32)
    """Of that, as the chain shows it."""
    revealed: int = -1
    """Epoch of the newest reveal."""


@dataclass(slots=True, eq=False)
class Slot:
    """A miner's place."""

    party: Party
    uid: int
    owner: str
    operator: str
    generation: int
    machine: Machine


class Arena:
    """A market, its contracts and its people."""

    def __init__(self, lab: Lab, scenario: str = "stable, quiet", *, chain_id: int = CHAIN_ID) -> None:
        self.lab, self.rules = lab, lab.rules
        self.scenario = Scenario.parse(scenario, lab.seed, together=lab.economy.probing == "together")
        self.random = Random(f"people {lab.seed}")
        self.sandbox = Sandbox(chain_id)
        self.seats: list[Seat] = []
        self.slots: dict[int, Slot] = {}
        """By uid."""
        self.waiting: dict[str, Slot] = {}
        """Applicants, by operator; uid 0."""
        self.archive = Archive()
        self.accusations: list[tuple[int, Seat, Seat, int]] = []
        """Epoch, accuser, accused, sample."""
        self.history: list[list[int]] = []
        """By epoch: the consensus, by column."""
        self._keys = 0
        self._epoch = (-1, 0)
        self._deploy()
        self.founder = Party(self, "founder")
        self.owner = self.make_key("owner").address
        self.founder.addresses.append(self.owner)
        self.founder.brought = BOND
        self._give(self.owner, BOND, [self.registry])
        self._take_over(self.open_market(self.owner, "arena"))
        self.keeper = Party(self, "keeper")
        self._keeper = self.keeper.address()

    def _deploy(self) -> None:
        """As `ledger.deploy` does it, with this lab's timelock and emission period."""
        economy, deploy = self.lab.economy, self.sandbox.deploy
        self.bank = bank = self.make_key("bank").address
        self.token = deploy(bank, "Token", bank, ledger.TOKEN_SUPPLY)
        token = self.token.address
        self.audits = deploy(bank, "Audits", token, SAMPLES)
        blueprints = tuple(self.sandbox.deploy_blueprint(bank, name) for name in ledger.BLUEPRINTS)
        terms = (BOND, economy.timelock_seconds, self.audits.address, NOBODY)
        self.registry = deploy(bank, "Registry", token, blueprints, *terms)
        self.audits.write(bank, "attach", self.registry.address)
        auction = (ledger.FORWARD_BPS, ledger.HALF_LIFE, ledger.MIN_REFERENCE, economy.period_seconds)
        self.fees = deploy(bank, "Fees", token, self.registry.address, *auction)
        self.escrow = deploy(bank, "Escrow", NOTICE, economy.fee_bps, self.fees.address, bank)
        self.fees.write(bank, "set_sources", self.escrow.address, NOBODY)
        allocator = deploy(bank, "Allocator", self.fees.address, ledger.BETA_BPS)
        schedule = (ledger.TOKEN_CAP - ledger.TOKEN_SUPPLY, ledger.EMISSION_RATE, ledger.BETA_BPS, ledger.EXPIRY)
        self.emission = deploy(bank, "Emission", self.fees.address, allocator.address, bank, *schedule)
        self.token.write(bank, "set_minter", self.emission.address)

    # --- People and money ---

    def make_key(self, name: str) -> Key:
        """A key that is the same in every run."""
        self._keys += 1
        return Key(keccak(f"tercet attack: {name} {self._keys}".encode()))

    def party(self, name: str) -> Party:
        """Somebody with nothing."""
        return Party(self, name)

    def hand_out(self, address: str, tct: int) -> None:
        """Give an address stake token, and let the contracts take it."""
        self._give(address, tct, [self.market, self.stakes, self.treasury, self.audits, self.escrow])

    def _give(self, address: str, tct: int, spenders: Sequence[SandboxContract]) -> None:
        if tct:
            self.token.write(self.bank, "transfer", address, tct)
            for spender in spenders:
                self.token.write(address, "approve", spender.address, _MOST)

    def try_write(self, party: Party, contract: SandboxContract, sender: str, *call: object) -> Result | None:
        """Send a transaction that may be refused; the refusal is noted."""
        name, *arguments = call
        try:
            return contract.write(sender, str(name), *arguments)
        except RevertedError as error:
            party.refusals[error.reason or "refused without a reason"] += 1
            return None

    def count_wealth(self, party: Party) -> int:
        """All of this party's stake token: in hand, staked, unbonding, earned, deposited, or to come back."""
        total = 0
        for address in party.addresses:
            total += self.token.read("balanceOf", address)
            total += self.treasury.read("owed", self.token.address, address)
            total += self.market.read("deposit_owed", address)
        for pool, address in party.pools:
            position = self.stakes.read("get_position", pool, address)
            total += sum(position[part] for part in ("active", "pending", "unbonding", "reward", "stake_reward"))
        for number in party.sponsorships:
            grant, claimable = self.treasury.read("get_sponsorship", number)
            total += claimable + grant["rate"] * max(0, grant["end_epoch"] - self.epoch)
        total += sum(self._deposit(slot) for slot in self.slots.values() if slot.party is party)
        total += sum(self._paid(operator) for operator, slot in self.waiting.items() if slot.party is party)
        if self.owner in party.addresses:
            total += BOND
        return total

    def _deposit(self, slot: Slot) -> int:
        return int(self.market.read("get_miners", slot.uid, 1)[0]["deposit"])

    def _paid(self, operator: str) -> int:
        return int(self.market.read("get_application", operator)["paid"])

    # --- Opening ---

    def open_market(self, owner: str, name: str) -> str:
        """Open a market against the bond, which the owner has approved to the registry; its address."""
        result = self.registry.write(owner, "open_market", self.token.address, name, astuple(self.rules))
        return str(result.value)

    def _take_over(self, market: str) -> None:
        """Make this market the arena's."""
        attach = self.sandbox.attach
        self.market = attach("Market", market)
        self.stakes = attach("Stakes", self.market.read("stakes"))
        self.treasury = attach("Treasury", self.market.read("treasury"))
        self.rule_book = attach("Rules", self.market.read("rules"))

    def add_sponsor(self, party: Party, reward: int | None = None, epochs: int | None = None) -> str:
        """Pay a reward into every epoch of the run (and one more, so that no epoch is the last)."""
        rate = self.lab.economy.reward if reward is None else reward
        count = self.lab.epochs + 1 if epochs is None else epochs
        sponsor = party.address(rate * count)
        number = self.treasury.write(sponsor, "sponsor", rate * count, count).value
        party.sponsorships.append(int(number))
        return sponsor

    # --- Miners ---

    def add_miner(self, party: Party, machine: Machine | None = None) -> Slot:
        """Register a miner at today's price, on its own machine unless one is given."""
        machine = machine or self.scenario.build_machine()
        price = int(self.market.read("price"))
        owner, operator = party.address(price), party.address()
        result = self.market.write(owner, "register_miner", operator, "http://miner", price)
        generation = int(result.find("MinerRegistered")["generation"])
        slot = Slot(party, int(result.value), owner, operator, generation, machine)
        machine.tenants += 1
        self.slots[slot.uid] = slot
        return slot

    def remove_miner(self, slot: Slot) -> None:
        """Leave: the deposit comes home."""
        self.market.write(slot.owner, "leave_miner", slot.uid)
        self._forget(slot)

    def apply_miner(self, party: Party, machine: Machine | None = None) -> Slot | None:
        """Wait for a place in a full market; None when the contract refuses."""
        machine = machine or self.scenario.build_machine()
        price = int(self.market.read("price"))
        owner, operator = party.address(price), party.address()
        call = ("apply_miner", operator, "http://miner", price)
        if self.try_write(party, self.market, owner, *call) is None:
            return None
        self.waiting[operator] = Slot(party, 0, owner, operator, 0, machine)
        return self.waiting[operator]

    @property
    def generations(self) -> dict[int, int]:
        """Of all miners, by uid."""
        return {uid: slot.generation for uid, slot in self.slots.items()}

    @property
    def is_full(self) -> bool:
        """Whether a newcomer has to apply."""
        return len(self.slots) >= self.rules.max_miners

    def _forget(self, slot: Slot) -> None:
        slot.machine.tenants -= 1
        if self.slots.get(slot.uid) is slot:
            del self.slots[slot.uid]

    def look(self) -> dict[int, float]:
        """One validator's scores of all miners in this epoch, by uid. In steps of the audit's scale."""
        return {uid: round_score(self.scenario.look(slot.machine)) for uid, slot in sorted(self.slots.items())}

    # --- Validators ---

    def add_validator(self, party: Party, stake: int, take_bps: int = 0) -> Seat:
        """Take a seat with this stake; it counts from the next epoch on."""
        owner, operator = party.address(stake), party.address(TCT)  # for the bond of an accusation
        result = self.market.write(owner, "register_validator", operator, stake, take_bps)
        pool = int(result.find("ValidatorRegistered")["generation"])
        seat = Seat(party, int(result.value), owner, operator, pool)
        party.pools.add((pool, owner))
        self.seats.append(seat)
        return seat

    @property
    def columns(self) -> int:
        """Highest uid + 1."""
        return max(self.slots, default=0) + 1

    def commit(self, seat: Seat, row: Sequence[int], evidence: bytes = EMPTY_EVIDENCE) -> bool:
        """Commit to a row and the root of the log behind it; whether the contract took it."""
        as_of, salt = int(self.market.read("generation")), keccak(f"{seat.vid} {self.epoch}".encode())
        words = pack_row(row)
        place = (self.sandbox.chain_id, self.market.address, self.epoch, seat.owner)
        version = self.rules.mechanism_version
        digest = build_commit_digest(*place, salt, as_of, words, version=version, evidence=evidence)
        seat.ballot, seat.digest = (as_of, salt, evidence, words), digest
        return self.try_write(seat.party, self.market, seat.operator, "commit", digest) is not None

    def reveal(self, seat: Seat) -> bool:
        """Reveal what was committed; whether the contract took it."""
        if seat.ballot is None:
            return False
        as_of, salt, evidence, words = seat.ballot
        call = ("reveal", as_of, self.rules.mechanism_version, salt, evidence, words)
        if self.try_write(seat.party, self.market, seat.operator, *call) is None:
            return False
        seat.revealed = self.epoch
        return True

    # --- Audits; who checks what is the actors' business ---

    def weighs(self, seat: Seat) -> bool:
        """Whether the newest closing counted this seat."""
        return bool(self.market.read("weight_of", seat.vid))

    def beacon(self, epoch: int) -> bytes:
        """What picks the samples of the newest closed epoch."""
        return bytes(self.market.read("beacon", epoch))

    def attest(self, seat: Seat, epoch: int, good: Sequence[Seat]) -> bool:
        """Say whose logs were found in order; whether the contract took it."""
        call = ("attest", self.market.address, epoch, pack_marks([other.vid for other in good]))
        return self.try_write(seat.party, self.audits, seat.operator, *call) is not None

    def accuse(self, accuser: Seat, accused: Seat, epoch: int, sample: int) -> bool:
        """Claim under a bond that an entry does not reproduce; whether the contract took it."""
        log = self.archive.fetch(epoch, accused.pool)
        if log is None:
            return False
        index = sample_index(self.beacon(epoch), accused.pool, sample, log.count)
        proof = (log.count, log.tree.root, log.entries[index].leaf, log.tree.proof(index))
        call = ("accuse", self.market.address, epoch, accused.vid, sample, *proof, self._evidence(epoch))
        if self.try_write(accuser.party, self.audits, accuser.operator, *call) is None:
            return False
        self.accusations.append((epoch, accuser, accused, sample))
        return True

    def _evidence(self, epoch: int) -> list[bytes]:
        """All evidence of the round in order of vid: what `RoundOpened` told."""
        shown = self.audits.read("get_round", self.market.address, epoch)["evidence"]
        seats = sorted((seat for seat in self.seats if shown >> seat.vid & 1), key=lambda seat: seat.vid)
        logs = [self.archive.fetch(epoch, seat.pool) for seat in seats]
        return [log.tree.evidence for log in logs if log is not None]

    def vote(self, voter: Seat, accused: Seat, epoch: int, sample: int, *, guilty: bool) -> bool:
        """Say whether an accusation is right; whether the contract took it."""
        call = ("vote", self.market.address, epoch, accused.vid, sample, guilty)
        return self.try_write(voter.party, self.audits, voter.operator, *call) is not None

    def settle_audits(self) -> None:
        """Pay or take away what was held of the rewards of epochs whose audit is over; anybody may."""
        if not self.rules.audit_share_bps:
            return
        now, market = self.epoch, self.market.address
        for epoch, _, accused, sample in [found for found in self.accusations if found[0] <= now - 3]:
            with suppress(AlreadyDoneError):  # it was decided by votes
                self.audits.write(self._keeper, "resolve", market, epoch, accused.vid, sample)
        everybody = pack_marks([seat.vid for seat in self.seats])
        again = [now - 3] if any(found[0] == now - 3 for found in self.accusations) else []
        for epoch in [*again, *([now - 2] if now > 1 else [])]:
            with suppress(WrongPhaseError):  # no round, or an accusation is open
                self.audits.write(self._keeper, "settle", market, epoch, everybody)
        self.accusations = [found for found in self.accusations if found[0] > now - 3]

    # --- The epoch ---

    @property
    def epoch(self) -> int:
        """The running one; asked anew only after a transaction."""
        if self._epoch[0] != self.sandbox.block:
            self._epoch = self.sandbox.block, int(self.market.read("epoch"))
        return self._epoch[1]

    @property
    def phase(self) -> int:
        """0 commit, 1 reveal, 2 ready to close, 3 closing, 4 wound down."""
        return int(self.market.read("status")["phase"])

    def pass_time(self, seconds: int) -> None:
        """Let the clock run."""
        self.sandbox.now += seconds

    def close(self, keeper: str | None = None) -> None:
        """Bring the closing to its end, from wherever it stands."""
        who = keeper or self._keeper
        if self.phase == 2:
            self.market.write(who, "begin_close")
        hints = self.find_hints()
        status = self.market.read("status")
        for page in range(status["next_page"], status["pages"]):
            self.market.write(who, "settle_pages", page, [hints[page]])
        result = self.market.write(who, "finish_close")
        self.history.append(unpack_row(hints)[: self.columns])
        for event in result.events:
            self._move_house(event.name, event.fields)

    def find_hints(self) -> list[int]:
        """The consensus of an epoch whose closing has begun, packed by page.

        From what was revealed before everybody's eyes; a mistake would not pass, since the contract checks every hint.
        """
        status = self.market.read("status")
        total, columns = int(status["total_weight"]), int(status["columns"])
        threshold = max(1, -(-self.rules.kappa * total // PRECISE))
        votes = [
            (int(self.market.read("weight_of", seat.vid)), self._known(seat, columns))
            for seat in self.seats
            if seat.revealed == status["epoch"]
        ]
        silent = total - sum(weight for weight, _ in votes)
        agreed = [
            find_consensus([*((row[column], weight) for weight, row in votes), (0, silent)], threshold)
            for column in range(columns)
        ]
        return pack_row(agreed + [0] * (-columns % _COLUMNS))

    def _known(self, seat: Seat, columns: int) -> list[int]:
        """A revealed row without weights for miners that came after it was measured."""
        assert seat.ballot is not None
        as_of, _, _, words = seat.ballot
        known = [uid for uid, slot in self.slots.items() if slot.generation <= as_of]
        return [weight if uid == 0 or uid in known else 0 for uid, weight in enumerate(unpack_row(words, columns))]

    def _move_house(self, event: str, fields: Mapping[str, object]) -> None:
        """Follow who was evicted and who was let in at an epoch's end."""
        if event == "MinerEvicted":
            uid = fields["uid"]
            assert isinstance(uid, int)
            self._forget(self.slots[uid])
        elif event == "MinerRegistered":
            slot = self.waiting.pop(str(fields["operator"]))
            uid, generation = fields["uid"], fields["generation"]
            assert isinstance(uid, int)
            assert isinstance(generation, int)
            slot.uid, slot.generation = uid, generation
            slot.machine.tenants += 1
            self.slots[uid] = slot


def round_score(score: float) -> float:
    """To what a log can say of it."""
    return round(score * SCORE_SCALE) / SCORE_SCALE


def spread_evenly(uids: Sequence[int], columns: int) -> list[int]:
    """The row of somebody who looked at nothing: equal weights for everybody."""
    row = [0] * columns
    for uid in uids:
        row[uid] = FULL // len(uids)
    row[0] = FULL - sum(row)
    return row
