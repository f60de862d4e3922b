"""Claims: what agents believe, where they have it from, and whether anybody has checked it.

A statement of a model is a claim, and what is made from claims rests on them. The ids of the unchecked ones that
something rests on are its taint; it grows by union and shrinks by checking alone. What a claim is worth is a pure
function of what the journal says: `claim.made` and `claim.checked`.

A check does the work again: by a program, or by another model that has the source before it. What was extracted as a
number, a yes or no, or one of a few words cannot carry an instruction: it may steer, and is no evidence.
"""

from __future__ import annotations

from tercet.swarm.claims.book import Claims, fold_claims
from tercet.swarm.claims.claim import Claim, Origin, State, document_author, model_of, taint_of
from tercet.swarm.claims.extraction import Flag, Number, OneOf, Pattern, Shape, extract
from tercet.swarm.claims.taint import CLEAN, EVERYTHING, MOST_NAMED, TOP, Labelled, Taint, apply, join

__all__ = [
    "CLEAN",
    "EVERYTHING",
    "MOST_NAMED",
    "TOP",
    "Claim",
    "Claims",
    "Flag",
    "Labelled",
    "Number",
    "OneOf",
    "Origin",
    "Pattern",
    "Shape",
    "State",
    "Taint",
    "apply",
    "document_author",
    "extract",
    "fold_claims",
    "join",
    "model_of",
    "taint_of",
]
