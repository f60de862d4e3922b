"""Is an answer what the promised model says? Re-scored on the judge's own copy of that model.

Of each answer some tokens are checked, chosen after the answer was signed. At each of them the judge asks its model for
the next token's probabilities and holds three things against them: the log-probability the miner reported, whether that
token can be drawn there at all, and whether it is the one that the task's seed draws.
The figures behind the tolerance stand in docs/decisions/0043-judging-inference.md.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tercet.market import Verdict
from tercet.subnets.inference.embeddings import DIMENSIONS, Embedder
from tercet.subnets.inference.evidence import ChatAnswer, Flaw, check_text, choose_positions, read_answer
from tercet.subnets.inference.generate import encode_prompt
from tercet.subnets.inference.sampling import Candidate, regret
from tercet.subnets.inference.serve import ModelServer
from tercet.subnets.inference.tasks import ChatTask, EmbedTask
from tercet.subnets.mechanism import Recheck, Submission

__all__ = [
    "AUDIT_SLACK",
    "POSITIONS",
    "TOLERANCE",
    "Judge",
    "Rules",
    "judge_embeddings",
    "recheck_chat",
    "recheck_embeddings",
    "speed_score",
]

POSITIONS = 10
"""Tokens checked in an answer."""
TOLERANCE = 0.5
"""Nats that a log-probability may differ from the judge's."""
REGRET = 0.7
"""Nats by which a token may fall short of the one the seed draws: two candidates' doubt."""
_LEAST_COSINE = 0.99
"""Between a miner's vector and ours; the int8 model on other machines stays above 0.999."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a market promises and tolerates. All its validators use the same."""

    model: str
    """Its name, for the reasons."""
    positions: int = POSITIONS
    tolerance: float = TOLERANCE
    tokens_per_second: float = 20.0
    """Enough for the full score."""
    first_seconds: float = 2.0
    """To the first token, fast enough for the full score."""
    slack: float = 1.0
    """Times the regret that is tolerated: more or less than 1 only when another judge's verdict is checked."""


@dataclass(frozen=True, slots=True)
class _Finding:
    """One checked token."""

    position: int
    difference: float
    """Between the reported and the judge's log-probability, nats; a lower bound when the token is not even ranked."""
    regret: float
    """See `sampling.regret`; infinite when the token is not ranked."""
    impossible: bool
    """The token is too improbable to be drawn with any seed."""


class Judge:
    """Judges chat answers with one copy of the promised model."""

    def __init__(self, server: ModelServer, rules: Rules, salt: bytes = b"") -> None:
        self._server = server
        self._rules = rules
        self._salt = salt or secrets.token_bytes(32)
        self._turn = asyncio.Lock()
        self.ranked = 0
        """Positions asked of the model so far."""

    async def judge(self, task: ChatTask, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        """One verdict per submission, in order."""
        async with self._turn:
            prompt = await encode_prompt(self._server, task)
            answers = [await self._read(task, len(prompt), submission) for submission in submissions]
            plans = [
                choose_positions(answer, submission.evidence, self._salt, self._rules.positions)
                if isinstance(answer, ChatAnswer)
                else []
                for answer, submission in zip(answers, submissions, strict=True)
            ]
            rankings = await self._rank_all(prompt, answers, plans)
        return [
            self._verdict(task, answer, rankings, plan, submission)
            if isinstance(answer, ChatAnswer)
            else Verdict(0.0, answer)
            for answer, plan, submission in zip(answers, plans, submissions, strict=True)
        ]

    async def _read(self, task: ChatTask, prompt: int, submission: Submission) -> ChatAnswer | str:
        """The answer, or what is wrong with its form."""
        if submission.failure:
            return submission.failure
        try:
            answer = read_answer(task, submission.pieces, vocabulary=self._server.vocabulary, prompt=prompt)
            await self._check_spelling(task, answer)
        except Flaw as flaw:
            return str(flaw)
        return answer

    async def _check_spelling(self, task: ChatTask, answer: ChatAnswer) -> None:
        """Text, stops and end of turn agree with the tokens, or `Flaw`."""
        *body, last = answer.tokens
        if not self._server.control.isdisjoint(body):
            raise Flaw("the answer went on after the end of its turn")
        ended = last in self._server.control
        before = await self._server.decode(body)
        whole = before if ended else await self._server.decode(answer.tokens)
        check_text(answer, before, whole, task.stop, ended=ended)

    async def _rank_all(
        self, prompt: Sequence[int], answers: Sequence[ChatAnswer | str], plans: Sequence[Sequence[int]]
    ) -> Mapping[tuple[int, ...], Mapping[int, Sequence[Candidate]]]:
        """What the model says at every planned position. Equal answers share one pass, always forwards."""
        wanted: dict[tuple[int, ...], set[int]] = {}
        for answer, plan in zip(answers, plans, strict=True):
            if isinstance(answer, ChatAnswer):
                wanted.setdefault(answer.tokens, set()).update(plan)
        found = {}
        async with self._server.seat() as seat:
            for tokens, positions in wanted.items():
                found[tokens] = {
                    position: await seat.rank([*prompt, *tokens[:position]]) for position in sorted(positions)
                }
                self.ranked += len(positions)
        return found

    def _verdict(
        self,
        task: ChatTask,
        answer: ChatAnswer,
        rankings: Mapping[tuple[int, ...], Mapping[int, Sequence[Candidate]]],
        plan: Sequence[int],
        submission: Submission,
    ) -> Verdict:
        findings = [_examine(task, answer, position, rankings[answer.tokens][position]) for position in plan]
        measures = _measures(answer, findings, submission)
        reason = self._fault(findings)
        if reason:
            return Verdict(0.0, reason, measures, self._salt.hex())
        return Verdict(speed_score(self._rules, measures), "", measures, self._salt.hex())

    def _fault(self, findings: Sequence[_Finding]) -> str:
        """What is wrong with the content, or an empty text."""
        rules = self._rules
        foreign = sum(finding.impossible for finding in findings)
        if 2 * foreign > len(findings):
            return (
                f"{foreign} of {len(findings)} checked tokens cannot follow in {rules.model}: "
                "the text was canned, copied or written by something else"
            )
        largest = max(finding.difference for finding in findings)
        if largest > rules.tolerance:
            return f"log-probabilities differ by up to {largest:.2f} from {rules.model} (tolerance {rules.tolerance:.2f}): another model answered, or they were made up"
        worst = max(findings, key=lambda finding: finding.regret)
        if worst.regret > REGRET * rules.slack:
            far = f"{worst.regret:.2f} nats off" if math.isfinite(worst.regret) else "no seed does"
            return (
                f"token {worst.position} is not the one the seed draws from {rules.model} ({far}): "
                "the answer was cached, copied or drawn by other rules"
            )
        return ""


AUDIT_SLACK = 1.5
"""Times the tolerance by which two honest judges may differ on one answer."""
_SLOWEST = 0.02
"""Score of a right answer that took for ever: it is not a wrong one."""
_SPEED_SLACK = 0.01
"""Of a score, for its rounding."""


async def recheck_chat(
    server: ModelServer, rules: Rules, task: ChatTask, submission: Submission, claimed: Verdict
) -> Recheck:
    """Check the same tokens as the other judge did, who opens its salt for that.

    A claimed full score stands unless something is wrong beyond 1.5 times the tolerance; a claimed 0 unless
    nothing is wrong within two thirds of it. In between lies what honest judges may disagree on.
    """
    try:
        salt = bytes.fromhex(claimed.opening)
    except ValueError:
        salt = b""
    good = claimed.score > 0
    if good and len(salt) != 32:
        return Recheck(agrees=False, reason="the judge's salt is not opened")
    factor = AUDIT_SLACK if good else 1 / AUDIT_SLACK
    widened = replace(rules, tolerance=rules.tolerance * factor, slack=factor)
    (found,) = await Judge(server, widened, salt).judge(task, [submission])
    if not good:
        if found.score > 0:
            return Recheck(agrees=False, certain=len(salt) == 32, reason="claims a wrong answer, found a right one")
        return Recheck(agrees=True)
    if found.score <= 0:
        return Recheck(agrees=False, certain=True, reason=f"claims a right answer: {found.reason}")
    if abs(found.score - claimed.score) > _SPEED_SLACK:
        why = f"claims {claimed.score:.3f}, its own times make {found.score:.3f}"
        return Recheck(agrees=False, certain=True, reason=why)
    return Recheck(agrees=True)


def _examine(task: ChatTask, answer: ChatAnswer, position: int, ranking: Sequence[Candidate]) -> _Finding:
    token, reported = answer.tokens[position], answer.logprobs[position]
    own = next((candidate.logprob for candidate in ranking if candidate.token == token), None)
    off = regret(ranking, token, task.temperature, task.seed, position, REGRET / 2)
    floor = ranking[-1].logprob
    return _Finding(
        position,
        difference=abs(reported - own) if own is not None else max(0.0, reported - floor),
        regret=off,
        impossible=own is None or own < ranking[0].logprob + math.log(0.01),
    )


def _measures(answer: ChatAnswer, findings: Sequence[_Finding], submission: Submission) -> Mapping[str, float]:
    return {
        "max_dlogp": max(finding.difference for finding in findings),
        "max_regret": min(99.0, max(finding.regret for finding in findings)),
        "impossible": float(sum(finding.impossible for finding in findings)),
        "checked": float(len(findings)),
        "tokens": float(len(answer.tokens)),
        "tokens_per_second": len(answer.tokens) / max(submission.total_seconds, 1e-3),
        "first_seconds": submission.first_seconds,
    }


def speed_score(rules: Rules, measures: Mapping[str, float]) -> float:
    """Score of a right answer, `_SLOWEST` to 1: nine tenths for tokens per second, one for the first token's delay.

    In proportion up to the target, so that three names on one machine, each a third as fast, are worth one.
    """
    rate = min(1.0, measures["tokens_per_second"] / rules.tokens_per_second)
    start = min(1.0, rules.first_seconds / max(measures["first_seconds"], 1e-3))
    return _SLOWEST + (1 - _SLOWEST) * (0.9 * rate + 0.1 * start)


async def judge_embeddings(
    embedder: Embedder, task: EmbedTask, submissions: Sequence[Submission], rules: Rules
) -> Sequence[Verdict]:
    """Vectors must point where ours do."""
    own = await embedder.embed(task.inputs)
    return [_embedding_verdict(own.vectors, own.tokens, submission, rules) for submission in submissions]


async def recheck_embeddings(
    embedder: Embedder, task: EmbedTask, submission: Submission, claimed: Verdict, rules: Rules
) -> Recheck:
    """Honest machines agree to 0.999, and the judge's bound is 0.99: no honest verdict lies between."""
    (found,) = await judge_embeddings(embedder, task, [submission], rules)
    if (found.score > 0) != (claimed.score > 0):
        cosine = (found.measures or {}).get("cosine", 0.0)
        clear = not _LEAST_COSINE - 0.005 < cosine < _LEAST_COSINE + 0.005
        return Recheck(agrees=False, certain=clear, reason=f"claims {claimed.score:.3f}, found {found.score:.3f}")
    if abs(found.score - claimed.score) > _SPEED_SLACK:
        why = f"claims {claimed.score:.3f}, its own times make {found.score:.3f}"
        return Recheck(agrees=False, certain=True, reason=why)
    return Recheck(agrees=True)


def _embedding_verdict(own: npt.NDArray[np.float32], tokens: int, submission: Submission, rules: Rules) -> Verdict:
    if submission.failure:
        return Verdict(0.0, submission.failure)
    try:
        vectors = _read_vectors(submission.pieces, len(own), tokens)
    except Flaw as flaw:
        return Verdict(0.0, str(flaw))
    lengths = np.linalg.norm(vectors, axis=1)
    cosine = float(((vectors * own).sum(axis=1) / np.maximum(lengths, 1e-9)).min())
    if abs(lengths - 1).max() > 0.01:
        return Verdict(0.0, "vectors do not have length 1", {"cosine": cosine})
    if cosine < _LEAST_COSINE:
        return Verdict(
            0.0, f"cosine to the promised embedding is {cosine:.3f} (at least {_LEAST_COSINE})", {"cosine": cosine}
        )
    start = min(1.0, rules.first_seconds / max(submission.total_seconds, 1e-3))
    return Verdict(_SLOWEST + (1 - _SLOWEST) * start, "", {"cosine": cosine, "first_seconds": submission.first_seconds})


def _read_vectors(pieces: Sequence[object], count: int, tokens: int) -> npt.NDArray[np.float32]:
    piece = pieces[0] if len(pieces) == 1 else None
    rows = piece.get("vectors") if isinstance(piece, Mapping) else None
    if not isinstance(piece, Mapping) or not isinstance(rows, (list, tuple)) or len(rows) != count:
        raise Flaw(f"the answer is not one piece with {count} vectors")
    if piece.get("usage") != {"prompt": tokens, "completion": 0}:
        raise Flaw(f"the usage is not the {tokens} prompt tokens that the texts have")
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != DIMENSIONS or not all(_is_coordinate(x) for x in row):
            raise Flaw(f"a vector is not {DIMENSIONS} numbers from -1 to 1")
    return np.array(rows, np.float32)


def _is_coordinate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1.01 < value < 1.01
