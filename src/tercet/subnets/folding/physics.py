"""The force field: energies, minima and motion of one molecule. The only module that imports OpenMM.

amber99sbildn with the OBC implicit solvent, no cutoff, no constraints, OpenMM's CPU platform with one thread: on one
machine or another the same coordinates have the same energy to a few parts in ten million.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tercet.errors import SubnetError, TaskError
from tercet.subnets.folding.molecule import Coordinates, Molecule
from tercet.subnets.folding.shape import Shape, build_shape

if TYPE_CHECKING:
    from openmm import Context, System, app

__all__ = ["FORCE_FIELD", "Heat", "Physics", "Workbench", "load_openmm"]

FORCE_FIELD = ("amber99sbildn.xml", "amber99_obc.xml")
_KEPT = 8
"""Molecules whose systems are kept: a round is about one of them."""
_HYDROGEN_MASS = 2.0
"""Dalton, in dynamics: slower hydrogens allow for longer steps and change no energy."""
_STEP = 0.004
"""ps."""
_FRICTION = 2.0
"""1/ps."""
FORCE_TOLERANCE = 1.0
"""kJ/mol/nm: where a minimum counts as reached. At ten times that, peptides lie 20 kJ/mol higher."""


def load_openmm() -> Any:
    """The library.

    Raises:
        SubnetError: it is not installed.

    """
    try:
        import openmm  # noqa: PLC0415 - heavy, and an extra
        import openmm.app  # noqa: PLC0415
    except ImportError as error:
        raise SubnetError(
            f"The folding subnet needs OpenMM ({error}). Install it with: pip install 'tercet[folding]'"
        ) from error
    return openmm


class Workbench:
    """Physics of the molecules that were used last, by digest."""

    def __init__(self) -> None:
        self._mm = load_openmm()
        self._field = self._mm.app.ForceField(*FORCE_FIELD)
        self._kept: OrderedDict[str, Physics] = OrderedDict()
        self._lock = threading.Lock()

    def physics(self, molecule: Molecule) -> Physics:
        """Of this molecule.

        Raises:
            TaskError: the force field does not know such a molecule: atoms are missing, or too many.

        """
        digest = molecule.digest()
        with self._lock:
            found = self._kept.pop(digest, None) or Physics(self._mm, self._field, molecule)
            self._kept[digest] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found


class Physics:
    """One molecule in the force field. Used by one thread at a time: take `lock`."""

    def __init__(self, mm: Any, field: app.ForceField, molecule: Molecule) -> None:
        self.lock = threading.RLock()
        self.molecule = molecule
        self._mm, self._field = mm, field
        self.topology = build_topology(mm, molecule)
        try:
            self._system = field.createSystem(self.topology, nonbondedMethod=mm.app.NoCutoff)
        except ValueError as error:
            raise TaskError(f"The force field does not know this molecule: {error}") from error
        self._context = self._build_context(self._system, mm.VerletIntegrator(0.001))
        self.shape: Shape = build_shape(molecule, *_bonds(mm, self._system))
        self._rest: tuple[Coordinates, float] | None = None

    def _build_context(self, system: System, integrator: Any) -> Context:
        platform = self._mm.Platform.getPlatformByName("CPU")
        return self._mm.Context(system, integrator, platform, {"Threads": "1"})

    def energy(self, coordinates: Coordinates) -> float:
        """kJ/mol; infinite where it is no number."""
        with self.lock:
            self._context.setPositions(coordinates.astype(np.float64))
            found = float(self._context.getState(energy=True).getPotentialEnergy() / self._mm.unit.kilojoule_per_mole)
        return found if np.isfinite(found) else float("inf")

    def minimise(
        self, coordinates: npt.NDArray[Any], *, tolerance: float = FORCE_TOLERANCE, iterations: int = 0
    ) -> tuple[Coordinates, float]:
        """Downhill from there.

        Args:
            coordinates: (atoms, 3), nm.
            tolerance: kJ/mol/nm of force where a minimum counts as reached.
            iterations: at most; 0 has no limit.

        Returns:
            Coordinates as they are sent, centred, and their energy in kJ/mol.

        """
        with self.lock:
            self._context.setPositions(coordinates.astype(np.float64))
            self._mm.LocalEnergyMinimizer.minimize(self._context, tolerance, iterations)
            state = self._context.getState(positions=True)
            found = np.asarray(state.getPositions(asNumpy=True) / self._mm.unit.nanometer)
            centred = (found - found.mean(axis=0)).astype(np.float32)
            return centred, self.energy(centred)

    def rest(self) -> tuple[Coordinates, float]:
        """The minimum next to the start: what anybody reaches without a search. Computed once; copy before changing."""
        with self.lock:
            if self._rest is None:
                self._rest = self.minimise(self.molecule.start)
            return self._rest

    def reference(self) -> float:
        """Its energy, kJ/mol: where gains are counted from."""
        return self.rest()[1]

    def heat(self, seed: int) -> Heat:
        """A copy of the molecule that moves."""
        mm = self._mm
        system = self._field.createSystem(
            self.topology,
            nonbondedMethod=mm.app.NoCutoff,
            constraints=mm.app.HBonds,
            hydrogenMass=_HYDROGEN_MASS,
        )
        integrator = mm.LangevinMiddleIntegrator(300.0, _FRICTION, _STEP)
        integrator.setRandomNumberSeed(seed % (2**31 - 1) + 1)
        return Heat(mm, self._build_context(system, integrator), integrator)


@dataclass(slots=True)
class Heat:
    """Langevin dynamics of one molecule."""

    _mm: Any
    _context: Any
    _integrator: Any

    def place(self, coordinates: npt.NDArray[Any], kelvin: float, seed: int) -> None:
        """Begin there, with velocities of that temperature."""
        self._context.setPositions(coordinates.astype(np.float64))
        self._context.applyConstraints(1e-6)
        self._context.setVelocitiesToTemperature(kelvin, seed % (2**31 - 1) + 1)

    def step(self, steps: int, kelvin: float) -> float:
        """Move on at that temperature; the potential energy at the end, kJ/mol, NaN when it flew apart."""
        self._integrator.setTemperature(kelvin)
        try:
            self._integrator.step(steps)
            return float(self._context.getState(energy=True).getPotentialEnergy() / self._mm.unit.kilojoule_per_mole)
        except Exception as error:
            if "NaN" in str(error):
                return float("nan")
            raise

    def positions(self) -> npt.NDArray[np.float64]:
        """Where the atoms are, nm."""
        return np.asarray(self._context.getState(positions=True).getPositions(asNumpy=True) / self._mm.unit.nanometer)


def build_topology(mm: Any, molecule: Molecule) -> app.Topology:
    """The same for the same names, on every machine."""
    topology, app = mm.app.Topology(), mm.app
    atoms = []
    for number, chain in enumerate(molecule.chains):
        place = topology.addChain(chr(ord("A") + number))
        for residue in chain:
            room = topology.addResidue(residue.name, place)
            atoms += [topology.addAtom(name, _element(app, name), room) for name in residue.atoms]
    topology.createStandardBonds()
    for first, second in molecule.disulfides:
        topology.addBond(atoms[first], atoms[second])
    return topology


def _element(app: Any, name: str) -> Any:
    """Of an amino acid's atom: its first letter, behind digits."""
    symbol = name.lstrip("0123456789")[:1]
    if symbol not in {"H", "C", "N", "O", "S"}:
        raise TaskError(f"No amino acid has an atom called {name!r}.")
    return app.element.get_by_symbol(symbol)


def _bonds(mm: Any, system: System) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(bonds, 2) atoms and (bonds,) lengths at rest, nm, as the force field has them."""
    (force,) = (force for force in system.getForces() if isinstance(force, mm.HarmonicBondForce))
    rows = [force.getBondParameters(i) for i in range(force.getNumBonds())]
    pairs = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2)
    return pairs, np.array([row[2] / mm.unit.nanometer for row in rows])
