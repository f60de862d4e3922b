"""The market's rule for drawing a token: a pure function of the model's probabilities, the seed and the position.

Because the noise is fixed by the seed and not by some program's random state, a judge with its own copy of the model
can check any single position of an answer, and small differences between machines move a draw only when two
candidates were almost level (docs/decisions/0042-seeded-sampling.md).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["RANKED", "Candidate", "draw", "eligible", "regret"]

MIN_P = 0.05
"""A token below this share of the most probable one is never drawn: small models ramble in their tail."""
RANKED = 24
"""How many candidates are asked for; more than 1 / MIN_P, so that all eligible ones are among them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that may come next."""

    token: int
    logprob: float
    """Natural log of the model's own probability: no temperature, no truncation."""
    piece: bytes
    """The bytes it adds to the text; empty for a control token."""


def eligible(ranking: Sequence[Candidate]) -> Sequence[Candidate]:
    """Those that may be drawn. `ranking`: most probable first."""
    floor = ranking[0].logprob + math.log(MIN_P)
    return [candidate for candidate in ranking if candidate.logprob >= floor]


def draw(ranking: Sequence[Candidate], temperature: float, seed: int, position: int) -> Candidate:
    """The token at `position` (0 = first of the answer): the most probable one at temperature 0, else Gumbel-max."""
    return max(
        eligible(ranking), key=lambda candidate: (_value(candidate, temperature, seed, position), -candidate.token)
    )


def regret(
    ranking: Sequence[Candidate], token: int, temperature: float, seed: int, position: int, slack: float
) -> float:
    """How far `token` is from being drawn, in nats: 0 when it is the one, infinite when it is not among `ranking`.

    `slack` nats of doubt about who was eligible go to the miner: a rival that only just was does not count, however
    lucky its noise, because on the miner's machine it may just not have been.
    """
    own = next((candidate for candidate in ranking if candidate.token == token), None)
    if own is None:
        return math.inf
    floor = ranking[0].logprob + math.log(MIN_P)
    rivals = [candidate for candidate in ranking if candidate.logprob >= floor + slack]
    best = max(_value(candidate, temperature, seed, position) for candidate in rivals)
    return max(0.0, best - _value(own, temperature, seed, position), floor - own.logprob)


def _value(candidate: Candidate, temperature: float, seed: int, position: int) -> float:
    """Logprob plus `temperature` times Gumbel noise: its maximum is a draw from softmax(logprob / temperature)."""
    if temperature == 0:
        return candidate.logprob
    digest = hashlib.sha256(f"tercet-draw/1 {seed} {position} {candidate.token}".encode()).digest()
    uniform = (int.from_bytes(digest[:8], "big") + 0.5) / 2**64
    return candidate.logprob - temperature * math.log(-math.log(uniform))
