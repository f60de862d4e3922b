"""Replay published vectors through the reference's epoch, and say what matches.

Reads the format `tercet-yuma-vectors/1`; the rules of reading are in each file's own `how_to_read`:

- every step runs alone from its own inputs; what is absent comes from the file's defaults, and carried state
  (`bonds`, `validator_permit`) from the step before;
- `expected` holds asserted values, `unasserted` values that the source only mentions: they are counted apart;
- `NAME` is a whole column, `NAME_cells` are `[place..., value]`, `NAME_frac` are fractions of 65,535 (of the
  emission for emissions), `relations` are inequalities; `compare` gives the tolerances;
- `compact` inputs describe two classes of uids in words, and their expectations are given by class.

Formatting a report is the command line's business.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tercet.errors import LiquidAlphaError, ReplayError
from tercet.market.epoch import FULL, ReferenceOutcome, ReferenceState, close_reference_epoch

FORMAT = "tercet-yuma-vectors/1"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One value that differs."""

    where: str
    """Step and place, such as `epoch 2: dividends[3]`."""
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What one case's values came to."""

    name: str
    asserted: int
    """Values that the source's test asserts."""
    matched: int
    """How many of them came out, exactly or within the tolerance the case gives."""
    mismatches: tuple[Mismatch, ...]
    mentioned: int
    """Values that the source writes down but does not assert."""
    mentioned_matched: int
    mentioned_mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a file's cases came to."""

    path: str
    source: str
    """Where the vectors come from: repository and commit."""
    cases: tuple[CaseReport, ...]

    @property
    def asserted(self) -> int:
        """Asserted values in all cases."""
        return sum(case.asserted for case in self.cases)

    @property
    def matched(self) -> int:
        """Asserted values that came out."""
        return sum(case.matched for case in self.cases)

    @property
    def mismatches(self) -> int:
        """Asserted values that did not come out."""
        return self.asserted - self.matched

    @property
    def mentioned(self) -> int:
        """Unasserted values in all cases."""
        return sum(case.mentioned for case in self.cases)

    @property
    def mentioned_matched(self) -> int:
        """Unasserted values that came out."""
        return sum(case.mentioned_matched for case in self.cases)

    @property
    def ok(self) -> bool:
        """Whether every asserted value came out."""
        return self.mismatches == 0


@dataclass(frozen=True, slots=True)
class _Check:
    """One comparison: what it is about, what was expected, what came out."""

    where: str
    expected: str
    got: str
    ok: bool


def replay_file(path: str | Path) -> ReplayReport:
    """Replay a vectors file.

    Raises:
        ReplayError: the file cannot be read, is malformed, or asks for something unknown.
        LiquidAlphaError: it asks for liquid alpha.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReplayError(f"Cannot read {str(file)!r}: {error}. Name a file of format {FORMAT}.") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReplayError(f"{str(file)!r} is not JSON: {error}. Name a file of format {FORMAT}.") from error
    return replay_document(document, str(file))


def replay_document(document: object, path: str = "") -> ReplayReport:
    """Replay vectors that are already parsed; see `replay_file`."""
    top = _mapping(document, "the file")
    if top.get("format") != FORMAT:
        raise ReplayError(f"{path!r} has format {top.get('format')!r}; only {FORMAT!r} can be replayed.")
    defaults = _mapping(top.get("defaults", {}), "defaults")
    cases = _list(_field(top, "cases", "the file"), "cases")
    source = _mapping(top.get("source", {}), "source")
    return ReplayReport(
        path=path,
        source=f"{source.get('repository', '?')}@{source.get('commit', '?')}",
        cases=tuple(_replay_case(_mapping(case, f"cases[{k}]"), k, defaults) for k, case in enumerate(cases)),
    )


def _replay_case(case: Mapping[str, Any], number: int, defaults: Mapping[str, Any]) -> CaseReport:
    name = str(_field(case, "name", f"cases[{number}]"))
    dense_only = case.get("variants") == ["dense"]
    asserted: list[_Check] = []
    mentioned: list[_Check] = []
    before: ReferenceOutcome | None = None
    for k, item in enumerate(_list(_field(case, "steps", name), f"{name}: steps")):
        step = _mapping(item, f"{name}: steps[{k}]")
        label = str(step.get("label", f"step {k}"))
        where = f"{name}: {label}"
        inputs = {**defaults, **_mapping(_field(step, "inputs", where), f"{where}: inputs")}
        try:
            state = _parse_state(inputs, before, where, keep_owner_diagonal=not dense_only)
            before = close_reference_epoch(state)
            results = _Results(before, state, _classes(inputs, where))
            compare = _mapping(step.get("compare", {}), f"{where}: compare")
            asserted += _compare(_mapping(step.get("expected", {}), where), results, compare, label)
            mentioned += _compare(_mapping(step.get("unasserted", {}), where), results, compare, label)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ReplayError(
                f"{where}: malformed ({type(error).__name__}: {error}). See how_to_read in the file."
            ) from error
    return CaseReport(
        name=name,
        asserted=len(asserted),
        matched=sum(check.ok for check in asserted),
        mismatches=_mismatches(asserted),
        mentioned=len(mentioned),
        mentioned_matched=sum(check.ok for check in mentioned),
        mentioned_mismatches=_mismatches(mentioned),
    )


def _mismatches(checks: Sequence[_Check]) -> tuple[Mismatch, ...]:
    return tuple(Mismatch(check.where, check.expected, check.got) for check in checks if not check.ok)


# --- Inputs ---


def _parse_state(
    inputs: Mapping[str, Any], before: ReferenceOutcome | None, where: str, *, keep_owner_diagonal: bool
) -> ReferenceState:
    if inputs.get("liquid_alpha"):
        raise LiquidAlphaError(
            f"{where}: asks for liquid alpha, which is out of scope. Remove the case, or set liquid_alpha to false."
        )
    count = _integer(_field(inputs, "n", where), f"{where}: n")
    fields = {**inputs, **_expand(inputs, count, where)}
    if before is not None:
        fields.setdefault("bonds", [list(row.items()) for row in before.bonds])
        fields.setdefault("validator_permit", list(before.validator_permit))

    def number(name: str) -> int:
        return _integer(_field(fields, name, where), f"{where}: {name}")

    def column(name: str) -> list[Any]:
        values = _list(_field(fields, name, where), f"{where}: {name}")
        if len(values) != count:
            raise ReplayError(f"{where}: {name} has {len(values)} entries, n is {count}. Give one for each uid.")
        return values

    def integers(name: str) -> tuple[int, ...]:
        return tuple(_integer(value, f"{where}: {name}") for value in column(name))

    owner = fields.get("owner_uid")
    commits = fields.get("commit_blocks")
    return ReferenceState(
        current_block=number("current_block"),
        tempo=number("tempo"),
        activity_cutoff_blocks=number("activity_cutoff_blocks"),
        last_mechanism_step_block=number("last_mechanism_step_block"),
        stake=integers("stake"),
        stake_threshold=number("stake_threshold"),
        last_update=integers("last_update"),
        block_at_registration=integers("block_at_registration"),
        validator_permit=tuple(bool(value) for value in column("validator_permit")),
        weights=_rows_by_uid(_mapping(_field(fields, "weights", where), f"{where}: weights"), count, where),
        bonds=tuple(_row(row, count, f"{where}: bonds") for row in column("bonds")),
        kappa_u16=number("kappa_u16"),
        bonds_penalty_u16=number("bonds_penalty_u16"),
        bonds_moving_average=number("bonds_moving_average"),
        yuma3=bool(_field(fields, "yuma3", where)),
        max_allowed_validators=number("max_allowed_validators"),
        emission=number("emission"),
        owner_uid=None if owner is None else _uid(owner, count, f"{where}: owner_uid"),
        keep_owner_diagonal=keep_owner_diagonal,
        commit_blocks=None
        if commits is None
        else tuple(None if block is None else _integer(block, where) for block in column("commit_blocks")),
    )


def _rows_by_uid(weights: Mapping[str, Any], count: int, where: str) -> tuple[dict[int, int], ...]:
    rows: list[dict[int, int]] = [{} for _ in range(count)]
    for key, row in weights.items():
        uid = _uid(int(key), count, f"{where}: weights")
        rows[uid] = _row(row, count, f"{where}: weights[{uid}]")
    return tuple(rows)


def _row(pairs: object, count: int, where: str) -> dict[int, int]:
    row: dict[int, int] = {}
    for pair in _list(pairs, where):
        uid, value = pair
        weight = _integer(value, where)
        if not 0 <= weight <= FULL:
            raise ReplayError(f"{where}: {weight} is not a 16-bit value. Values go from 0 to {FULL}.")
        row[_uid(uid, count, where)] = weight
    return row


def _expand(inputs: Mapping[str, Any], count: int, where: str) -> dict[str, Any]:
    """The columns that a compact step only describes."""
    if "compact" not in inputs:
        return {}
    compact = _mapping(inputs["compact"], f"{where}: compact")
    validators, servers = _classes(inputs, where)
    chosen = set(validators)

    def by_class(at_validator: Any, at_server: Any) -> list[Any]:
        return [at_validator if uid in chosen else at_server for uid in range(count)]

    def filled(value: Any, name: str) -> list[Any]:
        if isinstance(value, str):
            return by_class(*_words_by_class(value, f"{where}: compact {name}"))
        return value if isinstance(value, list) else [value] * count

    permit = {"validators only": (True, False), "none": (False, False), "all": (True, True)}
    targets = {"every server": servers, "every validator": validators, "everyone": list(range(count))}

    def row(words: str, own: int) -> list[list[int]]:
        if words == "none":
            return []
        match = re.fullmatch(r"(\d+) on (every server|every validator|everyone|itself)", words)
        if match is None:
            known = "'none', '65535 on every server', '65535 on itself'"
            raise ReplayError(f"{where}: compact row {words!r} is unknown. Known: {known}.")
        return [[uid, int(match[1])] for uid in targets.get(match[2], [own])]

    words = by_class(compact["weight_row_validator"], compact["weight_row_server"])
    rows = [row(words[uid], uid) for uid in range(count)]
    return {
        "stake": by_class(compact["stake_validator"], compact["stake_server"]),
        "weights": {str(uid): rows[uid] for uid in range(count) if rows[uid]},
        "bonds": inputs.get("bonds", [[] for _ in range(count)]),
        "validator_permit": by_class(*permit[compact["validator_permit"]]),
        "block_at_registration": filled(compact["block_at_registration"], "block_at_registration"),
        "last_update": filled(compact["last_update"], "last_update"),
    }


def _words_by_class(words: str, where: str) -> tuple[int, int]:
    """`validators: 1, others 0` as (1, 0)."""
    match = re.fullmatch(r"validators:? (\d+), (?:others|servers):? (\d+)", words)
    if match is None:
        raise ReplayError(f"{where}: {words!r} is unknown. Write it as 'validators: 1, others 0'.")
    return int(match[1]), int(match[2])


def _classes(inputs: Mapping[str, Any], where: str) -> tuple[list[int], list[int]]:
    """The uids of a compact step's validators and servers; empty for a plain step."""
    if "compact" not in inputs:
        return [], []
    count = _integer(_field(inputs, "n", where), f"{where}: n")
    words = _mapping(inputs["compact"], f"{where}: compact")["validators"]
    validators = words if isinstance(words, list) else _parse_range(str(words), where)
    chosen = set(validators)
    return [_uid(uid, count, where) for uid in validators], [uid for uid in range(count) if uid not in chosen]


def _parse_range(words: str, where: str) -> list[int]:
    found: list[int] = []
    for part in words.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+)(?: step (\d+))?)?\s*", part)
        if match is None:
            raise ReplayError(f"{where}: uids {words!r} are unknown. Write them as '0..63' or '0,8,16'.")
        found += range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1))
    return found


# --- Expectations ---


class _Results:
    """An outcome's values by name and place."""

    def __init__(self, outcome: ReferenceOutcome, state: ReferenceState, classes: tuple[list[int], list[int]]) -> None:
        self.count = len(state.stake)
        self.emission = state.emission
        self.validators, self.servers = classes
        self._columns: dict[str, Sequence[int]] = {
            name: getattr(outcome, name) for name in ReferenceOutcome.__dataclass_fields__ if name != "bonds"
        }
        self._bonds = outcome.bonds

    def knows(self, name: str) -> bool:
        return name == "bonds" or name in self._columns

    def scale(self, name: str) -> int:
        """What a fraction of this value is a fraction of."""
        return self.emission if name.endswith("emission") else FULL

    def at(self, name: str, place: Sequence[int]) -> int:
        for uid in place:
            _uid(uid, self.count, name)
        if name == "bonds":
            row, column = place
            return self._bonds[row].get(column, 0)
        (uid,) = place
        return int(self._columns[name][uid])


def _compare(expected: Mapping[str, Any], results: _Results, compare: Mapping[str, Any], label: str) -> list[_Check]:
    checks: list[_Check] = []
    for key, value in expected.items():
        if key == "relations":
            checks += [_compare_relation(str(text), results, label) for text in _list(value, key)]
        elif key in {"validators", "servers"}:
            checks += _compare_class(key, _mapping(value, key), results, compare, label)
        else:
            checks += [
                _compare_value(name, place, wanted, results, compare, label)
                for name, place, wanted in _places(key, value, results)
            ]
    return checks


def _places(key: str, value: object, results: _Results) -> Iterator[tuple[str, tuple[int, ...], Any]]:
    """(name, place, wanted) of every value under one key."""
    match = re.fullmatch(r"(?:intended_)?(.+?)(_cells|_frac)?", key)
    assert match is not None
    name, form = match[1], match[2]
    if not results.knows(name):
        raise ReplayError(f"{key!r} is no result of an epoch. Known: consensus, incentive, dividends, emission, bonds.")
    if form == "_cells" or key.startswith("intended_"):
        for cell in _list(value, key):
            *place, wanted = cell
            yield name, tuple(place), wanted
    elif name == "bonds":
        for row, entries in enumerate(_list(value, key)):
            yield from _bond_places(row, entries, results.count)
    else:
        values = _list(value, key)
        if len(values) != results.count:
            raise ReplayError(f"{key} has {len(values)} entries, the step has {results.count} uids.")
        for uid, wanted in enumerate(values):
            yield name, (uid,), wanted if form is None else float(wanted)


def _bond_places(row: int, entries: Sequence[Any], count: int) -> Iterator[tuple[str, tuple[int, ...], Any]]:
    """A row of bonds, either dense or as [uid, value] pairs; what the pairs leave out is 0."""
    if any(isinstance(entry, list) for entry in entries) or len(entries) != count:
        given = dict(entries)
        entries = [given.get(column, 0) for column in range(count)]
    for column, wanted in enumerate(entries):
        yield "bonds", (row, column), wanted


def _compare_value(
    name: str, place: tuple[int, ...], wanted: Any, results: _Results, compare: Mapping[str, Any], label: str
) -> _Check:
    got = results.at(name, place)
    where = f"{label}: {name}{''.join(f'[{uid}]' for uid in place)}"
    if isinstance(wanted, float):
        share = Fraction(got, results.scale(name)) if results.scale(name) else Fraction(0)
        ok = abs(share - Fraction(str(wanted))) <= Fraction(str(compare.get("frac_tol", 0)))
        return _Check(where, str(wanted), f"{float(share):.6f}", ok)
    if "frac_tol" in compare and "abs_tol" not in compare and not isinstance(wanted, bool):
        return _compare_value(name, place, float(wanted), results, compare, label)
    return _Check(where, str(wanted), str(got), abs(got - int(wanted)) <= compare.get("abs_tol", 0))


def _compare_class(
    which: str, expected: Mapping[str, Any], results: _Results, compare: Mapping[str, Any], label: str
) -> list[_Check]:
    uids = results.validators if which == "validators" else results.servers
    firsts = {"bond_on_first_validator": results.validators, "bond_on_first_server": results.servers}
    checks = []
    for key, wanted in expected.items():
        if key not in firsts and not results.knows(key):
            raise ReplayError(f"{which}.{key} is no result of an epoch.")
        for uid in uids:
            name, place = ("bonds", (uid, firsts[key][0])) if key in firsts else (key, (uid,))
            checks.append(_compare_value(name, place, wanted, results, compare, label))
    return checks


_RELATIONS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def _compare_relation(text: str, results: _Results, label: str) -> _Check:
    """`NAME[PLACE] OP NAME[PLACE]`, where either side may be a number."""
    match = re.fullmatch(r"\s*(.+?)\s*(>=|<=|==|!=|>|<)\s*(.+?)\s*", text)
    if match is None:
        raise ReplayError(f"{label}: relation {text!r} is unknown. Write it as 'incentive[1] > 0'.")
    left, right = _term(match[1], results, label), _term(match[3], results, label)
    return _Check(f"{label}: relation", text, f"{left} {match[2]} {right}", _RELATIONS[match[2]](left, right))


def _term(text: str, results: _Results, label: str) -> Fraction:
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return Fraction(text)
    match = re.fullmatch(r"(\w+)((?:\[\d+\])+)", text)
    if match is None or not results.knows(match[1]):
        raise ReplayError(f"{label}: {text!r} in a relation is unknown. Write it as 'incentive[1]'.")
    place = [int(uid) for uid in re.findall(r"\d+", match[2])]
    return Fraction(results.at(match[1], place))


# --- Reading strangers' JSON ---


def _field(mapping: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in mapping:
        raise ReplayError(f"{where}: field {name!r} is missing. See how_to_read in the file.")
    return mapping[name]


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ReplayError(f"{where} must be an object, not {type(value).__name__}.")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ReplayError(f"{where} must be a list, not {type(value).__name__}.")
    return value


def _integer(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ReplayError(f"{where}: {value!r} is not a whole number of at least 0.")
    return value


def _uid(value: object, count: int, where: str) -> int:
    uid = _integer(value, where)
    if uid >= count:
        raise ReplayError(f"{where}: uid {uid} is not one of the {count} uids.")
    return uid
