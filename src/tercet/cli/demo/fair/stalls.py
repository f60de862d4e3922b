"""The stalls of the fair: for each competition who takes part, scaled down to a part of two cores, and what a unit is.

Knows how to read verdicts, not who runs what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from tercet.cli.demo.cast import Actor
from tercet.cli.demo.findings import read_findings

__all__ = ["STALLS", "Deed", "Stall", "read_deeds"]


@dataclass(frozen=True, slots=True)
class Deed:
    """One answer of a miner, as the validator judged it."""

    uid: int
    epoch: int
    answered: bool
    score: float
    reason: str
    charged: int
    """Credit units."""
    measures: Mapping[str, float]

    @property
    def good(self) -> bool:
        """Whether it was worth anything: to its miner, or to the model that it went into before anybody was paid."""
        return self.answered and (self.score > 0 or self.measures.get("gain", 0.0) > 0)


def read_deeds(folder: Path) -> list[Deed]:
    """All that one validator found, oldest first; nothing while it has not written."""
    try:
        found = read_findings(folder)
    except FileNotFoundError:
        return []
    return [
        Deed(
            uid=told["uid"],
            epoch=told["epoch"],
            answered=told["kind"] == "judged",
            score=told["score"],
            reason=told["reason"],
            charged=told["charged"],
            measures=told["measures"] or {},
        )
        for told in found
    ]


@dataclass(frozen=True, slots=True)
class Stall:
    """One market of the fair. In options `{home}`, `{name}` and `{port}` are filled in."""

    subnet: str
    needs: str
    """The module that the extra of the subnet's name brings."""
    unit: str
    """What one pays for, in the plural."""
    miners: Sequence[Actor]
    count: Callable[[Deed], float]
    """Units in one good answer."""
    tell: Callable[[Sequence[Deed]], str]
    """What the good answers of all miners came to, in a line."""
    rules: Sequence[str] = ()
    """Options of the subnet for miners and validator alike."""
    judge: Sequence[str] = ()
    """Words of `tercet validate` beyond what all validators get."""
    mine: Sequence[str] = ()
    """Words of `tercet mine` beyond what all miners get."""
    curve: str = ""
    """Where the validator writes the loss of the model that all of them train, under the fair's home."""


def _measured(name: str) -> Callable[[Deed], float]:
    return lambda deed: deed.measures.get(name, 0.0)


def _mean(deeds: Sequence[Deed], name: str) -> float:
    found = [deed.measures[name] for deed in deeds if name in deed.measures]
    return fmean(found) if found else 0.0


def _tell_tokens(deeds: Sequence[Deed]) -> str:
    speeds = [d.measures["tokens_per_second"] for d in deeds if "tokens_per_second" in d.measures]
    pace = f", {median(speeds):.1f} a second in the middle" if speeds else ""
    return f"{sum(d.measures.get('completion', 0) for d in deeds):.0f} tokens of the promised model{pace}"


def _tell_loss(deeds: Sequence[Deed]) -> str:
    gains = _by_epoch(deeds, "gain")
    steps = ", ".join(f"{gain:.2f}" for gain in gains)
    return f"an accepted update lowers the loss by {steps} nats a byte, epoch by epoch"


def _tell_labels(deeds: Sequence[Deed]) -> str:
    return f"{100 * _mean(deeds, 'accuracy'):.1f} % of the labels right, over {len(deeds)} batches"


def _tell_fixes(deeds: Sequence[Deed]) -> str:
    return f"{sum(d.measures.get('fixed', 0) for d in deeds):.0f} of {len(deeds)} programs mended, by tests that nobody saw"


def _tell_energies(deeds: Sequence[Deed]) -> str:
    energies = [d.measures["energy"] for d in deeds if "energy" in d.measures]
    lowest = f", the lowest at {min(energies):,.0f} kJ/mol" if energies else ""
    return f"energy lowered by {_mean(deeds, 'gain'):,.0f} kJ/mol on average{lowest}"


def _tell_rates(deeds: Sequence[Deed]) -> str:
    names = sorted({name for d in deeds for name in d.measures if name.startswith("rate_")})
    rates = [
        f"{name.removeprefix('rate_')} {median([d.measures[name] for d in deeds if name in d.measures]) / 1e9:.1f} GFLOP/s"
        for name in names
    ]
    return f"usable for one miner while the whole fair runs: {', '.join(rates) or 'nothing measured'}"


def _operations(deed: Deed) -> float:
    """Billions of operations that were proved."""
    rate = next((value for name, value in deed.measures.items() if name.startswith("rate_")), 0.0)
    return rate * deed.measures.get("work_seconds", 0.0) / 1e9


def _by_epoch(deeds: Sequence[Deed], name: str) -> list[float]:
    epochs: dict[int, list[float]] = {}
    for deed in deeds:
        if name in deed.measures:
            epochs.setdefault(deed.epoch, []).append(deed.measures[name])
    return [fmean(epochs[epoch]) for epoch in sorted(epochs)]


def _cheat(name: str, story: str) -> Actor:
    return Actor(name, "cheat", story, ("-o", f"behaviour={name}"))


STALLS = (
    Stall(
        "inference",
        "xllamacpp",
        "tokens",
        (
            Actor("server", "honest", "serves smol, as promised"),
            _cheat("cacher", "sends canned sentences instead of running smol"),
        ),
        _measured("completion"),
        _tell_tokens,
        rules=("model=smol",),
        judge=("-o", "positions=4"),
    ),
    Stall(
        "training",
        "torch",
        "nats",
        (
            Actor("trainer-1", "honest", "trains on the data it was assigned"),
            Actor("trainer-2", "honest", "trains on the data it was assigned"),
            _cheat("noisy", "sends noise of the right size"),
        ),
        _measured("gain"),
        _tell_loss,
        rules=("model=nano", "corpus=builtin", "steps=8", "batch=8"),  # small rounds: proof comes by the third one
        judge=("-o", "serve=127.0.0.1:{port}", "-o", "folder={home}/training"),
        mine=("-o", "store=http://127.0.0.1:{port}", "-o", "folder={home}/{name}"),
        curve="training/loss.csv",
    ),
    Stall(
        "labelling",
        "sklearn",
        "right labels",
        (
            Actor("knn", "honest", "labels digits with nearest neighbours", ("-o", "by=knn")),
            Actor("logreg", "honest", "labels digits with a linear model", ("-o", "by=logreg")),
            _cheat("guesser", "labels at random"),
        ),
        lambda deed: deed.measures.get("items", 0.0) * deed.measures.get("accuracy", 0.0),
        _tell_labels,
        rules=("items=100",),
    ),
    Stall(
        "coding",
        "pytest",
        "mended programs",
        (
            Actor("searcher", "honest", "tries to undo single edits until the tests pass"),
            _cheat("exiter", "ends the tests before they fail"),
        ),
        _measured("fixed"),
        _tell_fixes,
        rules=("libraries=0", "seconds=20"),
        judge=("-o", "stock=2"),
    ),
    Stall(
        "folding",
        "openmm",
        "kJ/mol",
        (
            Actor("folder", "honest", "minimises and anneals"),
            _cheat("lazy", "sends the start back"),
        ),
        _measured("gain"),
        _tell_energies,
        rules=("shortest=5", "longest=6", "challenge_steps=1500"),
    ),
    Stall(
        "flops",
        "numpy",
        "GFLOP",
        (
            Actor("machine", "honest", "multiplies for as long as it is asked to"),
            _cheat("zeros", "sends zeros"),
        ),
        _operations,
        _tell_rates,
        rules=("size=tiny", "window=1", "kinds=float32,float64"),
    ),
)
"""Small enough for two cores together, and each with somebody who cheats."""
