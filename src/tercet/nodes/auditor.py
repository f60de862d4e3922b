"""A validator's second duty: in each epoch it runs samples of the others' evaluations again, and says what it found.

load (the round, the others' logs) -> decide (`Case`, `nodes.audit_log`: pure but for the mechanism) -> apply (attest,
accuse, vote, settle). What cannot be fetched is asked for again until the commit phase ends; then the attestation leaves
with those that are in order by then. Whatever fails is logged and tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from enum import Enum

from tercet.chain.audits import AccusationState, AuditRound, AuditSeat, Proof, Stage
from tercet.chain.history import find_epoch_start
from tercet.chain.ledger import Ledger
from tercet.chain.market import MarketContract
from tercet.chain.sender import Sender
from tercet.errors import (
    AlreadyDoneError,
    ChainError,
    InsufficientFundsError,
    MinerError,
    SubnetError,
    UnreachableError,
    WrongPhaseError,
)
from tercet.market.audit import Evaluation, EvaluationLog, list_marks, pack_marks, sample_index
from tercet.market.epoch import unpack_row
from tercet.nodes import wire
from tercet.nodes.archive import ENTRY_ROUTE, LOG_ROUTE
from tercet.nodes.audit_log import Evidence, EvidenceError, check_age, check_row, parse_entries, read_package
from tercet.nodes.caller import MAX_ANSWER_BYTES, Caller
from tercet.nodes.rounds import draw_seed
from tercet.nodes.schedule import Phase
from tercet.subnets import Auditable, Mechanism, Traceable

__all__ = ["Auditor", "Case", "Outcome"]

log = logging.getLogger(__name__)

FETCH_SECONDS = 10.0
RECHECK_SECONDS = 120.0
PACKAGE_BYTES = 4 * MAX_ANSWER_BYTES + (4 << 20)
"""The largest answer, whose quotes are escaped twice on its way here, and what stands beside it."""
_KEPT_REQUESTS = 100_000


class Outcome(Enum):
    """What a look at one sample, or at a whole log, came to."""

    PENDING = "pending"
    """Not looked at yet, or its author was not there."""
    GOOD = "good"
    DOUBTFUL = "doubtful"
    """Not vouched for, and no reason to accuse."""
    BAD = "bad"
    """Any honest judge sees that it does not reproduce."""


@dataclass(slots=True)
class Case:
    """One other validator in one round."""

    seat: AuditSeat
    evidence: bytes
    operator: str
    row: list[int] | None
    """Its weights of the audited epoch; None when it has revealed again since."""
    entries: list[Evaluation] = field(default_factory=list)
    log: EvaluationLog | None = None
    flaw: str = ""
    """What is wrong with the log as a whole."""
    samples: dict[int, Outcome] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)

    def outcome(self, samples: int) -> Outcome:
        """Of all of it."""
        found = [self.samples.get(sample, Outcome.PENDING) for sample in range(samples)]
        for worst in (Outcome.BAD, Outcome.PENDING, Outcome.DOUBTFUL):
            if worst in found and not (worst is Outcome.PENDING and self.flaw):
                return worst
        return Outcome.DOUBTFUL if self.flaw else Outcome.GOOD


class Auditor:
    """Audits one market with one validator's key, turn after turn."""

    def __init__(
        self,
        ledger: Ledger,
        market: MarketContract,
        sender: Sender,
        mechanism: Mechanism | None = None,
        *,
        accuse: bool = True,
    ) -> None:
        """Nothing is done yet.

        Args:
            ledger: with the audits contract.
            market: whose validators.
            sender: the operator of a seat; asks the others under the same key. Its stake token pays bonds.
            mechanism: opened as a validator; without one, scores are taken on trust.
            accuse: whether to accuse what does not reproduce; votes and attestations are cast in any case.

        """
        self._ledger, self._market, self._sender, self._mechanism = ledger, market, sender, mechanism
        self._audits, self._accuses = ledger.audits, accuse
        self._caller = Caller(sender.key, most_bytes=PACKAGE_BYTES)
        self._cases: dict[int, dict[int, Case]] = {}
        self._samples = 0
        self._operators: dict[tuple[int, int], set[str]] = {}
        """By (uid, generation): every key that it has had since we look."""
        self._since: int | None = None
        """The epoch in which we began to look."""
        self._starts: dict[int, int] = {}
        """When an epoch began, Unix seconds by the chain's clock, of those that were asked for."""
        self._done: set[int] = set()
        """Rounds with nothing left to do."""
        self._requests: dict[bytes, tuple[int, int, int]] = {}
        """Request seen in a sample, to the (epoch, pool, index) where it was."""

    async def close(self) -> None:
        """Drop the connections."""
        await self._caller.close()

    async def run(self, poll_seconds: float) -> None:
        """Turn after turn until cancelled, or until the market's last round is settled."""
        while True:
            try:
                if await self.turn():
                    return
            except (AlreadyDoneError, WrongPhaseError) as error:
                log.info("audit.late why=%r", error.reason)
            except (ChainError, UnreachableError) as error:
                log.warning("audit.postponed why=%r", str(error))
            await asyncio.sleep(poll_seconds)

    async def turn(self) -> bool:
        """Do what is due now; whether nothing will ever be due any more."""
        status = await self._market.status()
        epoch, phase = status.epoch, Phase(int(status.phase))
        self._since = epoch if self._since is None else self._since
        for miner in await self._market.miners():
            self._operators.setdefault((miner.uid, miner.generation), set()).add(miner.operator)
        if not self._samples:
            self._samples = await self._audits.samples()
        if phase is not Phase.CLOSING and epoch > 0:
            await self._audit(epoch - 1, patient=phase is Phase.COMMIT)
        rounds = {back: await self._round(epoch - back) for back in (1, 2, 3) if epoch >= back}
        for back, found in rounds.items():
            if found is not None and epoch - back not in self._done:
                await self._finish(epoch - back, found)
        self._cases = {known: cases for known, cases in self._cases.items() if known >= epoch - 3}
        self._starts = {known: start for known, start in self._starts.items() if known >= epoch - 4}
        return phase is Phase.ENDED and epoch - 1 in self._done

    async def _round(self, epoch: int) -> AuditRound | None:
        return await self._audits.round(self._market.address, epoch)

    # Attesting

    async def _audit(self, epoch: int, *, patient: bool) -> None:
        """Look at everybody's samples; attest when that is done, or when there is no more time."""
        market = self._market.address
        found = await self._round(epoch)
        if found is None:
            await self._audits.open_round(self._sender, market)
            found = await self._round(epoch)
            assert found is not None
        own = await self._own_seat(epoch)
        if own is None or found.stage is not Stage.ATTEST:
            return
        cases = await self._open_cases(epoch, own.vid)
        for case in cases.values():
            await self._look(epoch, found.beacon, case)
        await self._accuse_one(epoch, cases, found)
        if found.attested >> own.vid & 1:
            return
        outcomes = {vid: case.outcome(self._samples) for vid, case in cases.items()}
        if patient and Outcome.PENDING in outcomes.values():
            return
        good = [vid for vid, outcome in outcomes.items() if outcome is Outcome.GOOD]
        await self._audits.attest(self._sender, market, epoch, pack_marks(good))
        for vid, case in cases.items():
            why = case.flaw or "; ".join(case.reasons.values())
            log.info("audit.attested epoch=%d vid=%d outcome=%s why=%r", epoch, vid, outcomes[vid].value, why)

    async def _own_seat(self, epoch: int) -> AuditSeat | None:
        pools = {slot.pool for slot in await self._market.validators() if slot.operator == self._sender.address}
        seats = await self._audits.seats(self._market.address, epoch)
        return next((seat for seat in seats if seat.pool in pools), None)

    async def _open_cases(self, epoch: int, own: int) -> dict[int, Case]:
        if epoch not in self._cases:
            evidence = await self._audits.evidence(self._market.address, epoch)
            slots = {slot.pool: slot for slot in await self._market.validators()}
            cases = {}
            for seat in await self._audits.seats(self._market.address, epoch):
                slot = slots.get(seat.pool)
                if seat.vid == own or seat.pool not in evidence or slot is None:
                    continue
                row = unpack_row(await self._market.row(seat.vid)) if slot.revealed == epoch + 1 else None
                cases[seat.vid] = Case(seat, evidence[seat.pool], slot.operator, row)
            self._cases[epoch] = cases
        return self._cases[epoch]

    async def _look(self, epoch: int, beacon: bytes, case: Case) -> None:
        """Fetch what is missing of a case and judge it."""
        try:
            if case.log is None and not case.flaw:
                await self._fetch_log(epoch, case)
            if case.log is None:
                return
            for sample in range(self._samples):
                if case.samples.get(sample, Outcome.PENDING) is Outcome.PENDING:
                    await self._look_at(epoch, beacon, case, sample)
        except (MinerError, SubnetError, TimeoutError) as error:
            log.info("audit.unanswered epoch=%d vid=%d why=%r", epoch, case.seat.vid, str(error))

    async def _fetch_log(self, epoch: int, case: Case) -> None:
        answer = await self._ask(case, LOG_ROUTE, {"epoch": epoch})
        try:
            entries = parse_entries(self._market.address, epoch, case.seat.pool, answer.get("entries"))
        except EvidenceError as error:
            case.flaw = str(error)
            return
        tree = EvaluationLog([entry.leaf for entry in entries]) if entries else None
        if tree is None or tree.evidence != case.evidence:
            case.flaw = "the log that it hands out is not the one that it revealed"
            return
        case.entries, case.log = entries, tree
        if case.row is not None:
            generations = {miner.uid: miner.generation for miner in await self._market.miners()}
            case.flaw = check_row(case.row, entries, generations)

    async def _look_at(self, epoch: int, beacon: bytes, case: Case, sample: int) -> None:
        index = sample_index(beacon, case.seat.pool, sample, len(case.entries))
        entry = case.entries[index]
        answer = await self._ask(case, ENTRY_ROUTE, {"epoch": epoch, "sample": sample})
        package = str(answer.get("package")).encode()
        known = self._operators.get((entry.uid, entry.generation), set())
        try:
            evidence = read_package(package, entry, known)
        except EvidenceError as error:
            watched = self._since is not None and self._since <= epoch
            case.samples[sample] = Outcome.BAD if error.certain and watched else Outcome.DOUBTFUL
            case.reasons[sample] = str(error)
            return
        if evidence is None:
            case.samples[sample] = Outcome.GOOD
            return
        if stale := check_age(evidence.made_ms, *await self._window(epoch)):
            # Not vouched for, and never accused of it: every judge has a clock of its own.
            case.samples[sample], case.reasons[sample] = Outcome.DOUBTFUL, stale
            return
        case.samples[sample], why = await self._recheck(evidence, (epoch, case.seat.pool, index))
        if why:
            case.reasons[sample] = why

    async def _window(self, epoch: int) -> tuple[int, int]:
        """(begin of the epoch before this one, now) by the clock of this machine, Unix milliseconds."""
        before = max(0, epoch - 1)
        if before not in self._starts:
            first = self._ledger.deployment.block
            self._starts[before] = await find_epoch_start(self._market, before, first)
        now = time.time()
        # A chain whose clock was wound forward was so by less when that epoch began.
        ahead = max(0.0, (await self._ledger.rpc.head()).timestamp - now)
        return int(1000 * (self._starts[before] - ahead)), int(1000 * now)

    async def _recheck(self, evidence: Evidence, place: tuple[int, int, int]) -> tuple[Outcome, str]:
        first = self._requests.setdefault(evidence.request, place)
        if len(self._requests) > _KEPT_REQUESTS:
            self._requests.pop(next(iter(self._requests)))
        if first != place:
            again = Outcome.BAD if first[1] == place[1] else Outcome.DOUBTFUL
            return again, f"the same answer stands in the log of pool {first[1]}, epoch {first[0]}"
        mechanism: object = self._mechanism
        if isinstance(mechanism, Traceable) and not await self._is_assigned(mechanism, evidence, place[0]):
            return Outcome.BAD, "it asked something else than the round's task"
        if not isinstance(mechanism, Auditable):
            return Outcome.GOOD, ""
        async with asyncio.timeout(RECHECK_SECONDS):
            found = await mechanism.recheck(evidence.task, evidence.submission, evidence.verdict)
        if found.agrees:
            return Outcome.GOOD, ""
        return Outcome.BAD if found.certain else Outcome.DOUBTFUL, found.reason

    async def _is_assigned(self, contest: Traceable, evidence: Evidence, epoch: int) -> bool:
        """Whether this is what the round of `epoch` asks of the miner; yes when its beacon is not known any more."""
        beacon = bytes(32)
        if epoch >= 2:
            drawn_from = await self._round(epoch - 2)
            if drawn_from is None:
                return True
            beacon = drawn_from.beacon
        seed = draw_seed("ask", beacon, self._market.address, epoch)
        return contest.is_assigned(seed, evidence.submission.uid, evidence.task)

    async def _ask(self, case: Case, route: str, question: dict[str, int]) -> dict[str, object]:
        """One piece from a validator's archive; `MinerError` for anything else."""
        endpoint = await self._audits.endpoint(self._market.address, case.seat.pool)
        peer = self._caller.peer(endpoint, case.operator)
        deadline = asyncio.get_running_loop().time() + FETCH_SECONDS
        body = wire.encode_json(question)
        async with self._caller.ask(peer, wire.PREFIX + route, body, deadline=deadline) as reply:
            pieces = [dict(piece) async for piece in reply]
        return pieces[0] if pieces else {}

    # Accusing and voting

    async def _accuse_one(self, epoch: int, cases: dict[int, Case], found: AuditRound) -> None:
        """Accuse the first that is bad and not yet accused of it; a validator can accuse once in a round."""
        bad = [
            (case, sample)
            for case in cases.values()
            for sample, outcome in case.samples.items()
            if outcome is Outcome.BAD and not found.convicted >> case.seat.vid & 1
        ]
        if not self._accuses or not bad:
            return
        for case, sample in bad:
            if await self._audits.accusation(self._market.address, epoch, case.seat.vid, sample) is not None:
                return
        case, sample = bad[0]
        try:
            await self._file(epoch, found.beacon, case, sample)
        except (AlreadyDoneError, InsufficientFundsError) as error:
            log.warning("audit.not_accused epoch=%d vid=%d why=%r", epoch, case.seat.vid, error.reason)
            return
        why = case.reasons.get(sample, "")
        log.warning("audit.accused epoch=%d vid=%d sample=%d why=%r", epoch, case.seat.vid, sample, why)

    async def accuse(self, epoch: int, vid: int, sample: int) -> None:
        """Accuse, whatever we think of the entry: fetch the log, approve the bond, send the proof.

        Raises:
            EvidenceError: the validator has no evidence in this round, or hands out another log than it revealed.
            MinerError: its archive does not answer.
            ChainError: the contract refuses.

        """
        found, own = await self._round(epoch), await self._own_seat(epoch)
        if found is None or own is None:
            raise EvidenceError(
                f"{self._sender.address} has no weight in a round of epoch {epoch}. Look with: tercet audit show."
            )
        case = (await self._open_cases(epoch, own.vid)).get(vid)
        if case is None:
            raise EvidenceError(f"Validator {vid} has no evidence in epoch {epoch}, so it is not paid for it anyway.")
        await self._fetch_log(epoch, case)
        if case.log is None:
            raise EvidenceError(f"Validator {vid}: {case.flaw}. There is no entry to accuse; do not vouch for it.")
        await self._file(epoch, found.beacon, case, sample)

    async def _file(self, epoch: int, beacon: bytes, case: Case, sample: int) -> None:
        assert case.log is not None
        index = sample_index(beacon, case.seat.pool, sample, case.log.count)
        proof = Proof(case.log.count, case.log.root, case.entries[index].leaf, case.log.proof(index))
        evidence = list((await self._audits.evidence(self._market.address, epoch)).values())
        bond = await self._audits.bond(self._market.address)
        await self._ledger.token.ensure_allowance(self._sender, self._audits.address, bond)
        await self._audits.accuse(self._sender, self._market.address, epoch, case.seat.vid, sample, proof, evidence)

    async def _finish(self, epoch: int, found: AuditRound) -> None:
        """Vote on what is open, end what is over, settle what can be settled."""
        market = self._market.address
        if found.accusations:
            await self._attend(epoch, found)
            found = await self._round(epoch) or found
        if found.stage is Stage.ATTEST or found.accusations:
            return
        seats = pack_marks([seat.vid for seat in await self._audits.seats(market, epoch)])
        if seats & ~found.settled:
            await self._audits.settle(self._sender, market, epoch)
            log.info("audit.settled epoch=%d", epoch)
        self._done.add(epoch)

    async def _attend(self, epoch: int, found: AuditRound) -> None:
        market, own = self._market.address, await self._own_seat(epoch)
        for vid in list_marks(found.evidence):
            for sample in range(self._samples):
                accusation = await self._audits.accusation(market, epoch, vid, sample)
                if accusation is None or accusation.state is not AccusationState.OPEN:
                    continue
                if found.convicted >> vid & 1 or found.stage is Stage.OVER:
                    await self._audits.resolve(self._sender, market, epoch, vid, sample)
                elif own is not None and vid != own.vid and not accusation.voters >> own.vid & 1:
                    await self._vote(epoch, found, vid, sample, own)

    async def _vote(self, epoch: int, found: AuditRound, vid: int, sample: int, own: AuditSeat) -> None:
        """As we found it ourselves; who could not look, or is not sure, has no vote."""
        case = (await self._open_cases(epoch, own.vid)).get(vid)
        if case is None:
            return
        await self._look(epoch, found.beacon, case)
        outcome = case.samples.get(sample, Outcome.PENDING)
        if outcome in (Outcome.GOOD, Outcome.BAD):
            guilty = outcome is Outcome.BAD
            await self._audits.vote(self._sender, self._market.address, epoch, vid, sample, guilty=guilty)
            log.info("audit.voted epoch=%d vid=%d sample=%d guilty=%s", epoch, vid, sample, guilty)
