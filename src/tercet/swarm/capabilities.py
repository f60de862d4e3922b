"""Capabilities: what one agent may touch. Nothing, unless it was given; and what it gives on is never more.

They are values that the kernel hands out when an agent is started. No text that an agent reads or writes changes them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from tercet.errors import CapabilityError
from tercet.market import CREDIT, Amount
from tercet.swarm.plan import Task, money_of

__all__ = ["NOTHING", "Capabilities", "clean_path", "granted", "pattern_covers", "pattern_matches"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an agent may do. The default is nothing."""

    read: Sequence[str] = ()
    """Patterns of files, relative to its folder: `src/*.py`, `docs/**`. `*` stays within one folder, `**` does not."""
    write: Sequence[str] = ()
    """Patterns of files it may make, change or remove. It may read these as well."""
    commands: Sequence[str] = ()
    """Programs it may start in the sandbox, by name: `python3`. A shell or an interpreter is all that it can do there."""
    hosts: Sequence[str] = ()
    """Names of hosts that a tool may speak to for it; `*.example.org` for all below. The sandbox has no network at all."""
    money: int = 0
    """Credit units that may be paid away or bought for in its task, whoever works at it. What it thinks is its budget's
    business."""
    people: Sequence[str] = ()
    """Whom it may address or pay: `person` is the one whose run it is."""

    def may_read(self, path: str) -> bool:
        """`path` as `clean_path` gives it."""
        return _any(self.read, path) or _any(self.write, path)

    def may_write(self, path: str) -> bool:
        """`path` as `clean_path` gives it."""
        return _any(self.write, path)

    def is_named(self, path: str) -> bool:
        """By its own name, not by a pattern: whoever gave these knew it."""
        return path in self.read or path in self.write

    def may_start(self, program: str) -> bool:
        """By the exact name: a path is another name."""
        return program in self.commands

    def may_reach(self, host: str) -> bool:
        """By name, whatever its case."""
        return any(_host_covers(allowed, host.lower().rstrip(".")) for allowed in self.hosts)

    def may_address(self, who: str) -> bool:
        """The person, or somebody to be paid."""
        return who in self.people

    def covers(self, other: Capabilities) -> bool:
        """`other` allows nothing that this does not. When in doubt, no."""
        return not self.beyond(other)

    def beyond(self, other: Capabilities) -> list[str]:
        """What of `other` this does not allow, in words."""
        readable = (*self.read, *self.write)
        found = [f"read {p}" for p in other.read if not any(pattern_covers(wide, p) for wide in readable)]
        found += [f"write {p}" for p in other.write if not any(pattern_covers(wide, p) for wide in self.write)]
        found += [f"start {name}" for name in other.commands if not self.may_start(name)]
        found += [f"reach {host}" for host in other.hosts if not any(_host_covers(h, host.lower()) for h in self.hosts)]
        found += [f"address {who}" for who in other.people if not self.may_address(who)]
        if other.money > self.money:
            found.append(f"pay {Amount(other.money, CREDIT)} of {Amount(self.money, CREDIT)}")
        return found

    def delegate(self, wanted: Capabilities) -> Capabilities:
        """What somebody who has these may give on.

        Raises:
            CapabilityError: it is more than there is.

        """
        if beyond := self.beyond(wanted):
            raise CapabilityError(
                f"Nobody gives what they do not have: {', '.join(beyond[:5])}. Ask for less, or give the lead more."
            )
        return wanted

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return {name: value if isinstance(value, int) else list(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Capabilities:
        """What `as_json` gave, or a person wrote.

        Raises:
            CapabilityError: a field is unknown or has the wrong form.

        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(raw) - known):
            raise CapabilityError(f"There is no capability {unknown[0]!r}. There are: {', '.join(sorted(known))}.")
        values: dict[str, Any] = {}
        for name, value in raw.items():
            if name == "money":
                if type(value) is not int or value < 0:
                    raise CapabilityError(
                        f"money is a whole number of credit units from 0 up, 1000000 to 1 credit, not {value!r}."
                    )
                values[name] = value
                continue
            if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(x, str) for x in value):
                raise CapabilityError(f"{name} is a list of texts, not {value!r}.")
            values[name] = tuple(clean_path(x) if name in {"read", "write"} else x for x in value)
        return cls(**values)


NOTHING = Capabilities()


def granted(task: Task, *, commands: Sequence[str] = (), hosts: Sequence[str] = ()) -> Capabilities:
    """What a task lets its agent touch: the files that it names, and what its options say of money.

    Args:
        task: of a plan that was parsed, so its options are in form.
        commands: programs that its role may start in the sandbox.
        hosts: where the servers of tools are that it names.

    """
    return Capabilities(
        read=tuple(map(_as_pattern, task.inputs)) or ("**",),
        write=tuple(map(_as_pattern, task.outputs)),
        commands=tuple(commands),
        hosts=tuple(hosts),
        money=money_of(task),
        people=tuple(task.options.get("payees", ())),
    )


def _as_pattern(claimed: str) -> str:
    """A plan's path as `pattern_matches` reads it: there a name ending in `/` is all below it, and a bracket is itself."""
    path = claimed.removeprefix("./")
    return (path + "**" if path.endswith("/") else path).replace("[", "[[]")


def clean_path(path: str) -> str:
    """`path` in its one form: relative, without `.` and empty parts.

    Raises:
        CapabilityError: it leaves the folder, or is no path.

    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if path.startswith(("/", "~")) or ".." in parts or re.search(r"[\0-\x1f\\]", path) or len(path) > 1000:
        raise CapabilityError(f"{path[:100]!r} is not a path within the folder. Name it relative to it, without '..'.")
    return "/".join(parts) or "."


def pattern_matches(pattern: str, path: str) -> bool:
    """Part by part: `*`, `?` and `[...]` stay within one folder, a part `**` is any number of folders, also none."""
    parts = pattern.split("/")
    at = _past_any({0}, parts)
    for name in path.split("/"):
        stay = {place for place in at if place < len(parts) and parts[place] == "**"}
        go = {place + 1 for place in at - stay if place < len(parts) and fnmatch.fnmatchcase(name, parts[place])}
        # A last `**` stands for what lies below: at least one part.
        through = {place + 1 for place in stay if place + 1 == len(parts)}
        at = _past_any(stay | go, parts) | through
    return len(parts) in at


def _past_any(at: set[int], parts: Sequence[str]) -> set[int]:
    """Places in the pattern, with those behind a `**` that stands for nothing; only the last one stands for something."""
    found = set(at)
    for place in sorted(at):
        while place + 1 < len(parts) and parts[place] == "**":
            place += 1  # noqa: PLW2901 - walks on
            found.add(place)
    return found


def pattern_covers(wide: str, narrow: str) -> bool:
    """Every path that `narrow` matches is matched by `wide`. When in doubt, no."""
    if wide in {narrow, "**"}:
        return True
    if not re.search(r"[*?\[]", narrow):
        return pattern_matches(wide, narrow)
    head, _, tail = wide.rpartition("/")
    if tail == "**" and not re.search(r"[*?\[]", head):
        return narrow.startswith(head + "/")
    ours, theirs = wide.split("/"), narrow.split("/")
    return len(ours) == len(theirs) and all(map(_part_covers, ours, theirs))


def _part_covers(wide: str, narrow: str) -> bool:
    if narrow == "**":
        return False
    if re.search(r"[*?\[]", narrow):
        return wide in {narrow, "*"}
    return wide != "**" and fnmatch.fnmatchcase(narrow, wide)


def _any(patterns: Sequence[str], path: str) -> bool:
    return any(pattern_matches(pattern, path) for pattern in patterns)


def _host_covers(allowed: str, host: str) -> bool:
    allowed = allowed.lower()
    if allowed.startswith("*."):
        return host == allowed or host.endswith(allowed[1:])
    return host == allowed
