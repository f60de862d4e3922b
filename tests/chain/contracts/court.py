"""A market whose validators are audited: the real Audits and Stakes, and a stub for what they see of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chain.contracts.evm import Ledger, Log, Receipt

from tercet.market.audit import EMPTY_EVIDENCE, Evaluation, EvaluationLog, sample_index

TCT = 10**18
UNIT = 10**12
STAKE = 100 * TCT
SAMPLES = 4
PARAMS = {
    "subnet": "echo",
    "mechanism_version": 1,
    "commit_seconds": 60,
    "reveal_seconds": 40,
    "activity_epochs": 3,
    "kappa": 6 * 10**17,
    "bond_alpha": 10**17,
    "validator_share_bps": 5_000,
    "max_miners": 255,
    "max_validators": 64,
    "min_stake": STAKE,
    "weight_cap_bps": 2_000,
    "unbonding_epochs": 3,
    "immunity_epochs": 2,
    "min_price": TCT,
    "max_price": 100 * TCT,
    "price_half_life": 3_600,
    "refund_bps": 5_000,
    "floor_miners": 0,
    "audit_share_bps": 2_000,
    "slash_bps": 1_000,
}


@dataclass(slots=True)
class Juror:
    """One validator."""

    vid: int
    pool: int
    operator: str
    weight: int
    log: EvaluationLog | None = None


@dataclass
class Court:
    """One market with some validators. `begin` plays an epoch up to its end."""

    weights: Sequence[int] = (20, 20, 20, 20, 20)
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger()
        self.bank = self.ledger.account("bank")
        self.deployer = self.ledger.account("deployer")
        self.token = self.ledger.deploy("Token", self.bank, 10_000_000 * TCT)
        self.credit = self.ledger.deploy("Credit", self.bank)
        terms = tuple((PARAMS | dict(self.params)).values())
        self.market = self.ledger.deploy_source("stub_audited", self.credit.address, terms, sender=self.deployer)
        self.audits = self.ledger.deploy("Audits", self.token.address, SAMPLES, sender=self.deployer)
        self.stakes = self.ledger.deploy(
            "Stakes", self.token.address, self.credit.address, self.audits.address, sender=self.deployer
        )
        self.stakes.send(self.deployer, "attach", self.market.address, self.market.address)
        self.audits.send(self.deployer, "attach", self.market.address)
        self.set("set_stakes", self.stakes.address)
        self.credit.send(self.bank, "mint", self.market.address, 10**15)
        self.pools = 0
        self.jurors = [self.seat(vid, weight) for vid, weight in enumerate(self.weights)]

    def set(self, function: str, *arguments: Any) -> Receipt:
        """Have the stub do something."""
        return self.market.send(self.bank, function, *arguments)

    def seat(self, vid: int, weight: int) -> Juror:
        """A new validator in a seat."""
        self.pools += 1
        operator = self.ledger.account(f"validator {vid}")
        self.token.send(self.bank, "transfer", operator, 100 * STAKE)
        self.token.send(operator, "approve", self.stakes.address, STAKE)
        self.token.send(operator, "approve", self.audits.address, 90 * STAKE)
        self.set("seat", vid, operator, self.pools, STAKE)
        return Juror(vid, self.pools, operator, weight)

    @property
    def epoch(self) -> int:
        """The running epoch."""
        return int(self.market.call("epoch"))

    def play(
        self,
        sizes: Mapping[int, int] | None = None,
        *,
        pay: int = 1_000,
        beacon: bytes = b"b" * 32,
        opened: bool = True,
    ) -> int:
        """Everybody reveals a log of `sizes` entries (0: none; 7 where nothing is said), and the epoch is closed."""
        epoch = self.epoch
        for juror in self.jurors:
            size = (sizes or {}).get(juror.vid, 7)
            juror.log = EvaluationLog([self.entry(juror, k).leaf for k in range(size)]) if size else None
            self.set("reveal", juror.vid, juror.log.evidence if juror.log else EMPTY_EVIDENCE)
            self.set("weigh", juror.vid, juror.weight)
        if pay:
            self.set("pay", epoch, [juror.pool for juror in self.jurors], [pay] * len(self.jurors))
        self.set("set_beacon", epoch, beacon)
        self.set("next_epoch")
        if opened:
            self.audits.send(self.bank, "open_round", self.market.address)
        return epoch

    def entry(self, juror: Juror, index: int) -> Evaluation:
        """What a validator claims at one place of its log of this epoch."""
        return Evaluation(
            self.market.address,
            self.epoch,
            juror.pool,
            index,
            1,
            1,
            "judged",
            10**9,
            (juror.vid << 16 | index).to_bytes(32, "big"),
        )

    def evidence(self) -> list[bytes]:
        """Of those that published some, in order of vid."""
        return [juror.log.evidence for juror in self.jurors if juror.log]

    def attest(self, juror: Juror, epoch: int, *others: Juror) -> Receipt:
        """Vouch for others."""
        marks = sum(1 << other.vid for other in others)
        return self.audits.send(juror.operator, "attest", self.market.address, epoch, marks)

    def accuse(self, accuser: Juror, accused: Juror, epoch: int, sample: int = 0, **changes: Any) -> Receipt:
        """Accuse with a right proof, but for the changes."""
        log = accused.log
        assert log is not None
        index = sample_index(b"b" * 32, accused.pool, sample, log.count)
        parts = {
            "count": log.count,
            "root": log.root,
            "leaf": log.levels[0][index],
            "proof": log.proof(index),
            "evidence": self.evidence(),
        } | changes
        return self.audits.send(
            accuser.operator, "accuse", self.market.address, epoch, accused.vid, sample, *parts.values()
        )

    def vote(self, juror: Juror, accused: Juror, epoch: int, *, guilty: bool, sample: int = 0) -> Receipt:
        """Vote on an accusation."""
        return self.audits.send(juror.operator, "vote", self.market.address, epoch, accused.vid, sample, guilty)

    def settle(self, epoch: int, vids: int = 2**64 - 1) -> Receipt:
        """Settle seats."""
        return self.audits.send(self.bank, "settle", self.market.address, epoch, vids)

    def resolve(self, accused: Juror, epoch: int, sample: int = 0) -> Receipt:
        """End an accusation."""
        return self.audits.send(self.bank, "resolve", self.market.address, epoch, accused.vid, sample)

    def round(self, epoch: int) -> dict[str, Any]:
        """A round's state."""
        return dict(self.audits.call("get_round", self.market.address, epoch))

    def accusation(self, accused: Juror, epoch: int, sample: int = 0) -> dict[str, Any]:
        """An accusation's state."""
        return dict(self.audits.call("get_accusation", self.market.address, epoch, accused.vid, sample))

    def held(self, juror: Juror, epoch: int) -> int:
        """Reward token held for a validator's epoch."""
        return int(self.stakes.call("get_held", juror.pool, epoch)[0])

    def stake(self, juror: Juror) -> int:
        """What is bonded in a validator's pool."""
        return int(self.stakes.call("get_pool", juror.pool)["bonded"])

    def balance(self, who: str) -> int:
        """Stake token."""
        return int(self.token.call("balanceOf", who))


def find_logs(receipt: Receipt, name: str) -> list[Log]:
    """The events of one kind."""
    return [log for log in receipt.logs if log.name == name]
