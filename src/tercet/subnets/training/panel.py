"""The validator's side: hand out a round, judge it, take the step, and show others how it was judged."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tercet.errors import SubmissionError, SubnetError, TaskError
from tercet.market import Task, Verdict
from tercet.market.text import decode_json
from tercet.subnets.kit import derive
from tercet.subnets.mechanism import Contender, Recheck, Submission
from tercet.subnets.training.compress import Update
from tercet.subnets.training.curve import CURVE, WINDOWS, note_loss
from tercet.subnets.training.data import Corpus
from tercet.subnets.training.judge import COPY, Entrant, Judge, Ruling
from tercet.subnets.training.keeper import Keeper
from tercet.subnets.training.setting import Setting
from tercet.subnets.training.standing import LEAST_GAIN, Measure, Pay, Standard, Standing, price_standing
from tercet.subnets.training.tasks import RoundTask, Rules, parse_task

__all__ = ["Panel"]

GAIN_TOLERANCE = 0.002
"""Nats per token, and a fiftieth of the gain, by which two machines' arithmetic may differ."""
PROOF_TOLERANCE = 0.35
"""Standard deviations: a rank or two of a hundred."""
SCORE_TOLERANCE = 0.05


@dataclass(slots=True)
class Panel:
    """Judges one market. Everything here blocks, one call at a time."""

    setting: Setting
    rules: Rules
    corpus: Corpus
    keeper: Keeper
    judge: Judge
    weight: float = 1.0
    """Of this validator beside its peers'."""
    _turn: threading.Lock = field(init=False, default_factory=threading.Lock)

    def begin(self) -> None:
        """Stand where the others stand, and have it published."""
        with self._turn:
            if self.keeper.follow(self.weight):
                self.export()
            self.keeper.publish()

    def assign(self, seed: bytes, uid: int) -> Task:
        """A miner's share of the round that begins at our checkpoint."""
        here = self.keeper.checkpoint
        return RoundTask(self.rules, here.round, here.digest, derive(seed, "assigned", uid)).to_json()

    def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> list[Verdict]:
        """Judge all, and take the outer step."""
        with self._turn:
            tasks = [parse_task(contender.task) for contender in contenders]
            starts = {task.checkpoint for task in tasks}
            if not contenders or len(starts) != 1:
                raise SubnetError("The contenders of a round do not start from one checkpoint.")
            (start,) = starts
            if self._is_judged(start, seed):
                return [_read_verdict(value) for value in self.keeper.judged["verdicts"]]
            base = self.keeper.recall(start)
            entrants = [
                self._read(contender.uid, contender.generation, task, contender.submission)
                for contender, task in zip(contenders, tasks, strict=True)
            ]
            ruling = self.judge.judge(base, seed, entrants, self.keeper.standings)
            verdicts = [
                _verdict(seed, entrant, measure, pay, ruling)
                for entrant, measure, pay in zip(entrants, ruling.measures, ruling.pay, strict=True)
            ]
            judged = {"checkpoint": start, "seed": seed.hex(), "verdicts": [_show_verdict(v) for v in verdicts]}
            received = [entrant.update for entrant in entrants if entrant.update is not None]
            self.keeper.advance(ruling.accepted, received, ruling.standings, judged)
            self.export()
            return verdicts

    def judge_one(self, task: Task, submission: Submission) -> Verdict:
        """A single answer, bought by somebody: no standing comes of it, and no step."""
        with self._turn:
            parsed = parse_task(task)
            entrant = self._read(submission.uid, 0, parsed, submission)
            seed = derive(submission.evidence, "single", parsed.seed)
            ruling = self.judge.judge(self.keeper.recall(parsed.checkpoint), seed, [entrant], {})
            (found,) = ruling.measures
            if found.flaw or found.gain <= 0:
                return Verdict(0.0, found.flaw or "the update does not lower the loss on data drawn from the text")
            # One answer alone can be lucky: what chance makes half as often as not is worth half.
            score = min(1.0, max(0.05, 0.5 + found.proof / 4))
            return Verdict(score, "" if score > 0.9 else "a single answer proves little", _measures(found, None))

    def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        """Measure again what another validator measured, with what it says it drew."""
        with self._turn:
            try:
                parsed = parse_task(task)
            except TaskError as error:
                return Recheck(agrees=False, certain=True, reason=str(error))
            entrant = self._read(submission.uid, 0, parsed, submission)
            if entrant.update is None:
                wrong = claimed.score > 0
                return Recheck(agrees=not wrong, certain=wrong, reason=entrant.reason if wrong else "")
            try:
                opening = _Opening.parse(claimed.opening)
            except ValueError as error:
                return Recheck(agrees=False, certain=claimed.score > 0, reason=f"the opening is none: {error}")
            return self._recheck(parsed, entrant, opening, claimed.score)

    def _recheck(self, task: RoundTask, entrant: Entrant, opening: _Opening, score: float) -> Recheck:
        update = entrant.update
        assert update is not None
        try:
            base = self.keeper.recall(task.checkpoint)
            peers = [self.keeper.library.update(digest) for digest in opening.peers]
            original = self.keeper.library.update(opening.copied) if opening.copied else None
        except SubnetError as error:
            # Of another branch, or too long ago: nothing that could be held against anybody.
            return Recheck(agrees=False, reason=str(error))
        if original is not None:
            copied = original.cosine(update) >= COPY and original.digest != update.digest
            same = original.digest == update.digest
            return _agree(score == 0 and (copied or same), "this is no copy of what it is said to copy")
        if opening.flaw:
            size = update.norm / (opening.middle or 1.0)
            return _agree(score == 0 and (size == 0 or size > 1), f"nothing is wrong with it: {opening.flaw}")
        gain, losses = self.judge.gain(base, opening.seed, update)
        reference = self.judge.refer(base, opening.seed, peers)
        proof = self.judge.prove(base, opening.seed, entrant, reference, losses)
        if abs(gain - opening.gain) > GAIN_TOLERANCE + abs(gain) / 50:
            return _agree(False, f"its gain is {gain:.4f}, not {opening.gain:.4f} nats per token")
        if abs(proof - opening.proof) > PROOF_TOLERANCE:
            return _agree(False, f"its proof is {proof:.2f}, not {opening.proof:.2f}")
        size = update.norm / (opening.middle or 1.0)
        measure = Measure(opening.gain, opening.proof, size, weight=opening.weight)
        standing = opening.before.after(measure, opening.usual)
        pay = price_standing(standing, opening.standard, measure)
        if abs(pay.score - score) > SCORE_TOLERANCE:
            return _agree(False, f"this standing earns {pay.score:.3f}, not {score:.3f}")
        return self._remember(task, opening)

    def _remember(self, task: RoundTask, opening: _Opening) -> Recheck:
        """What only our own memory can tell, and so is no proof: the seed of the round."""
        judged = self.keeper.judged
        if judged.get("checkpoint") == task.checkpoint and judged.get("seed") != opening.seed.hex():
            return Recheck(agrees=False, reason="the round was judged with another seed")
        return Recheck(agrees=True)

    def _is_judged(self, start: str, seed: bytes) -> bool:
        judged = self.keeper.judged
        return judged.get("checkpoint") == start and judged.get("seed") == seed.hex()

    def _read(self, uid: int, generation: int, task: RoundTask, submission: Submission) -> Entrant:
        update, reason = None, submission.failure
        if not reason:
            try:
                update = self._find_update(submission)
            except SubmissionError as error:
                reason = str(error)
        return Entrant(uid, generation, task.seed, update, reason)

    def _find_update(self, submission: Submission) -> Update:
        if len(submission.pieces) != 1 or not isinstance(submission.pieces[0], Mapping):
            raise SubmissionError('An answer is one piece: {"update", "usage"}.')
        return self.setting.codec.decode(submission.pieces[0].get("update"))

    def export(self) -> None:
        """Put the trained model where anybody can take it, and write down how good it is."""
        here, trainee = self.keeper.checkpoint, self.setting.trainee
        self.keeper.store.put("model.safetensors", self.setting.export(here.theta))
        loss = float(trainee.losses(self.corpus.held_out(WINDOWS, self.rules.context)).mean())
        note_loss(self.keeper.folder / CURVE, here.round, here.digest, loss)


@dataclass(frozen=True, slots=True)
class _Opening:
    """What another judge needs to judge as this one did."""

    seed: bytes
    middle: float
    usual: float
    weight: float
    gain: float
    proof: float
    flaw: str
    copied: str
    peers: Sequence[str]
    before: Standing
    standard: Standard

    def to_text(self) -> str:
        return json.dumps(
            {
                "seed": self.seed.hex(),
                "middle": self.middle,
                "usual": self.usual,
                "weight": self.weight,
                "gain": self.gain,
                "proof": self.proof,
                "flaw": self.flaw,
                "copied": self.copied,
                "peers": list(self.peers),
                "before": self.before.to_json(),
                "standard": [self.standard.proof, self.standard.gain],
            }
        )

    @classmethod
    def parse(cls, text: str) -> _Opening:
        """Read a stranger's. Raises `ValueError`."""
        try:
            value = decode_json(text)
            proof, gain = (float(part) for part in value["standard"])
            seed, peers = bytes.fromhex(value["seed"]), [str(digest) for digest in value["peers"]]
            found = cls(
                seed,
                middle=float(value["middle"]),
                usual=float(value["usual"]),
                weight=float(value["weight"]),
                gain=float(value["gain"]),
                proof=float(value["proof"]),
                flaw=str(value["flaw"]),
                copied=str(value["copied"]),
                peers=peers,
                before=Standing.from_json(value["before"]),
                standard=Standard(proof, gain),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(repr(error)) from error
        digests = [*peers, *filter(None, [found.copied])]
        if len(seed) != 32 or len(peers) > 4096 or not all(_is_hash(digest) for digest in digests):
            raise ValueError("it names no seed or no updates")
        numbers = (found.middle, found.usual, found.weight, found.gain, found.proof, proof, gain)
        if not all(abs(number) < 1e12 for number in numbers):
            raise ValueError("its numbers are not finite")
        if found.usual < LEAST_GAIN or found.weight <= 0:
            raise ValueError("its usual gain and the weight of its round are not above zero")
        return found


def _verdict(seed: bytes, entrant: Entrant, measure: Measure, pay: Pay, ruling: Ruling) -> Verdict:
    if entrant.update is None:
        return Verdict(0.0, entrant.reason)
    who = (entrant.uid, entrant.generation)
    opening = _Opening(
        seed,
        ruling.middle,
        ruling.usual,
        measure.weight,
        measure.gain,
        measure.proof,
        measure.flaw,
        measure.copied,
        measure.peers,
        ruling.before.get(who, Standing()),
        ruling.standard,
    )
    return Verdict(pay.score, pay.reason, _measures(measure, ruling.standings[who]), opening.to_text())


def _measures(measure: Measure, standing: Standing | None) -> Mapping[str, float]:
    found = {"gain": measure.gain, "proof": measure.proof, "size": measure.size}
    if standing is None:
        return found
    return {
        **found,
        "mean_gain": standing.mean_gain,
        "mean_proof": standing.mean_proof,
        "rounds": float(standing.rounds),
    }


def _show_verdict(verdict: Verdict) -> list[Any]:
    return [verdict.score, verdict.reason, dict(verdict.measures or {}), verdict.opening]


def _read_verdict(value: Sequence[Any]) -> Verdict:
    score, reason, measures, opening = value
    return Verdict(float(score), str(reason), measures or None, str(opening))


def _agree(agrees: bool, reason: str) -> Recheck:
    return Recheck(agrees=agrees, certain=not agrees, reason="" if agrees else reason)


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
