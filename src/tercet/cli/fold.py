"""`tercet fold`: a PDB file goes out to miners, the lowest energy that holds comes back as another, with a picture."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tercet.cli.connection import open_market
from tercet.cli.fold_picture import draw_path
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import market_option, spending_options, state_option, wallet_option
from tercet.cli.output import confirm, print_json, say
from tercet.cli.settings import Settings
from tercet.cli.unlock import unlock
from tercet.errors import BudgetError, NoMinerError, SubmissionError, SubnetError, UsageError
from tercet.market import CREDIT, Amount
from tercet.nodes.shop import Purchase, Shop
from tercet.subnets import Piece
from tercet.subnets.folding import (
    MAX_STEPS,
    Folding,
    FoldTask,
    Molecule,
    Physics,
    Workbench,
    contacts,
    read_pdb,
    rmsd,
    verify,
    write_pdb,
)

__all__ = ["command"]

ROUNDS = 3
"""A miner whose answer does not hold is replaced so many times."""

SCHEMA = {
    "sequence": "one letter for each residue, chains parted by /",
    "atoms": "with hydrogens",
    "energy_before": "kJ/mol, of the file with its hydrogens added",
    "energy_after": "kJ/mol, computed here from the coordinates that came",
    "moved": "root mean square distance of the CA atoms from the file's, nm",
    "contacts_kept": "part of the file's contacts between CA atoms that the fold has too, 0 to 1",
    "uid": "the miner whose fold it is",
    "operator": "who signed it",
    "charged": "credit units for that answer",
    "spent": "credit units in all, with what miners that failed may take all the same",
    "answers": "folds that held",
    "refused[]": "answers that did not",
    "refused[].uid": "whose",
    "refused[].why": "what was wrong",
    "out": "the PDB file",
    "picture": "the SVG file",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A fold that held when it was computed again."""

    purchase: Purchase
    coordinates: Any
    energy: float


@dataclass(frozen=True, slots=True)
class _Order:
    """What the command line asked for."""

    file: Path
    out: Path
    budget: int
    steps: int
    count: int
    seconds: float


@click.command(
    "fold",
    cls=TercetCommand,
    examples=(
        "tercet fold peptide.pdb --wallet buyer",
        "tercet fold 1yrf.pdb --protein-only --steps 50000 --count 3 --budget 2 --out folded.pdb --wallet buyer",
    ),
    schema=SCHEMA,
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="Where the fold goes (default: FILE.fold.pdb)."
)
@click.option(
    "--budget", default="1", show_default=True, metavar="CREDIT", help="The most to spend, failures included."
)
@click.option(
    "--steps",
    default=20_000,
    show_default=True,
    type=click.IntRange(1, MAX_STEPS),
    help="Of dynamics to pay each miner for.",
)
@click.option(
    "--count", default=1, show_default=True, type=click.IntRange(1, 32), help="Miners to ask; the lowest wins."
)
@click.option(
    "--deadline", default=900.0, show_default=True, type=click.FloatRange(1), metavar="SECONDS", help="For all answers."
)
@click.option("--protein-only", is_flag=True, help="Leave out water, ions and other residues that are no amino acids.")
@spending_options
@state_option("shop")
@market_option
@wallet_option
@pass_state
def command(
    state: State, /, *, file: Path, out: Path | None, budget: str, steps: int, count: int, deadline: float,
    protein_only: bool, yes: bool, dry_run: bool, folder: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Buy folds of the protein in FILE, compute their energies again, and write the lowest as PDB and SVG."""
    place = out or file.with_suffix(".fold.pdb")
    if place.resolve() == file.resolve():
        raise UsageError(f"The fold would overwrite {str(file)!r}. Name another file with --out.")
    if not place.parent.is_dir():
        raise UsageError(f"There is no folder {str(place.parent)!r} for the fold. Make it, or name another with --out.")
    order = _Order(file, place, Amount.parse(budget, CREDIT).units, steps, count, deadline)
    molecule = read_pdb(file, protein_only=protein_only)
    physics = Workbench().physics(molecule)
    fetch = _fetch(state.settings, order, molecule, physics, state.folder("shop", folder), yes=yes, dry_run=dry_run)
    found = asyncio.run(fetch)
    if found is not None:
        _tell(order, physics, found, as_json=as_json)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Everything that came of an order."""

    held: Sequence[_Held]
    refused: Sequence[tuple[int, str]]
    spent: int

    @property
    def best(self) -> _Held:
        return min(self.held, key=lambda one: one.energy)


async def _fetch(
    settings: Settings, order: _Order, molecule: Molecule, physics: Physics, place: Path, *, yes: bool, dry_run: bool
) -> _Found | None:
    """Buy, and check what comes; None when nothing was to be sent."""
    work = FoldTask(molecule, order.steps)
    async with open_market(settings, Folding.name) as (client, market):
        key = unlock(settings)
        async with Shop.open(client, market, Folding(), key, place, deposit=order.budget) as shop:
            quotes = shop.quotes(work.to_task())
            if not quotes:
                raise NoMinerError("No miner folds in this market now. See who is registered: tercet market show.")
            most = sum(quote.most for quote in quotes[: order.count])
            what = (
                f"ask {min(order.count, len(quotes))} of {len(quotes)} miners to fold {molecule.atoms} atoms for up to "
                f"{_credit(most)} (never above {_credit(order.budget)}), out of a channel of {_credit(order.budget)} "
                "for each of them; the rest comes home with tercet withdraw"
            )
            if not confirm(what, yes=yes, dry_run=dry_run):
                return None
            return await _buy(shop, work, order, physics)


async def _buy(shop: Shop, work: FoldTask, order: _Order, physics: Physics) -> _Found:
    """Answers that hold, as many as were asked for if they can be had."""
    held: list[_Held] = []
    refused: list[tuple[int, str]] = []
    asked: set[int] = set()
    loop = asyncio.get_running_loop()
    ends = loop.time() + order.seconds
    for _ in range(ROUNDS):
        wanted, left = order.count - len(held), ends - loop.time()
        if not wanted or left <= 0:
            break
        try:
            bought = await shop.buy_many(
                work.to_task(), wanted, budget=order.budget - shop.spent, deadline_seconds=left, avoid=asked
            )
        except (NoMinerError, BudgetError):
            if not held and not refused:
                raise
            break
        for purchase in bought:
            asked.add(purchase.uid)
            try:
                coordinates, energy = await asyncio.to_thread(verify, physics, work, purchase.submission)
            except SubmissionError as error:
                refused.append((purchase.uid, str(error)))
                shop.reject(purchase)
                say(f"The answer of miner {purchase.uid} does not hold: {error}.")
            else:
                held.append(_Held(purchase, coordinates, energy))
                say(f"Miner {purchase.uid}: {energy:.1f} kJ/mol in {purchase.seconds:.0f} s.")
    if not held:
        whose = ", ".join(str(uid) for uid, _ in refused)
        raise SubnetError(
            f"No answer held: those of miners {whose} were refused, {_credit(shop.spent)} were spent. "
            "Ask more of them with --count, or later."
        )
    return _Found(held, refused, shop.spent)


def _tell(order: _Order, physics: Physics, found: _Found, *, as_json: bool) -> None:
    """Write both files, and say what is in them."""
    best, molecule = found.best, physics.molecule
    before, trace = physics.energy(molecule.start), physics.shape.trace
    moved = rmsd(molecule.start[trace], best.coordinates[trace])
    kept = contacts(physics.shape, molecule.start, best.coordinates)
    remarks = [
        f"FOLDED FROM {order.file.name[:50]}",
        f"ENERGY {best.energy:.3f} KJ/MOL, AMBER99SB-ILDN AND OBC",
        f"BY {best.purchase.operator}",
    ]
    picture = order.out.with_suffix(".svg")
    order.out.write_text(write_pdb(molecule, best.coordinates, remarks))
    picture.write_text(draw_path(order.file.name, read_path(best.purchase.pieces), before, best.energy))
    if as_json:
        print_json(
            {
                "sequence": molecule.sequence,
                "atoms": molecule.atoms,
                "energy_before": before if math.isfinite(before) else None,
                "energy_after": best.energy,
                "moved": moved,
                "contacts_kept": kept,
                "uid": best.purchase.uid,
                "operator": best.purchase.operator,
                "charged": best.purchase.charged,
                "spent": found.spent,
                "answers": len(found.held),
                "refused": [{"uid": uid, "why": why} for uid, why in found.refused],
                "out": str(order.out),
                "picture": str(picture),
            }
        )
        return
    click.echo(f"{molecule.atoms} atoms, {len(molecule.residues)} residues")
    click.echo(f"{'energy':<9} {before:.1f} -> {best.energy:.1f} kJ/mol, computed here")
    click.echo(f"{'moved':<9} {moved:.3f} nm (CA), {kept:.0%} of the contacts kept")
    click.echo(f"{'miner':<9} {best.purchase.uid}, {len(found.held)} answers held, {len(found.refused)} did not")
    click.echo(f"{'paid':<9} {_credit(found.spent)}")
    click.echo(f"{'files':<9} {order.out}, {picture}")


def read_path(pieces: Sequence[Piece]) -> list[tuple[int, float]]:
    """(step, kJ/mol) as the miner reported them on its way; what is no such pair is left out."""
    found = []
    for piece in pieces[:-1]:
        step, energy = piece.get("step"), piece.get("energy")
        if isinstance(step, int) and 0 <= step < 10**9 and isinstance(energy, int | float) and abs(energy) < 1e9:
            found.append((step, float(energy)))
    return found


def _credit(units: int) -> str:
    return str(Amount(units, CREDIT))
