"""Files come back to the person's folder; what the person changed meanwhile stays as it is, and no link is followed."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath

from tercet.swarm.store import FileMark, Store, beginning, draft_of, write_whole
from tercet.swarm.workspace import Change

__all__ = ["Delivery", "write_back"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came back to the person's folder."""

    written: Sequence[str] = ()
    beside: Sequence[tuple[str, str]] = ()
    """(path, where its new content is): the person changed the file while the run went on."""
    deleted: Sequence[str] = ()
    kept: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """(path, why) of what was neither written nor deleted."""


def write_back(made: Sequence[Change], store: Store, directory: Path, mark: str = "") -> Delivery:
    """Write what was made into the person's folder; what the person changed meanwhile stays as it is.

    Args:
        made: what differs from what they gave.
        store: its contents.
        directory: theirs.
        mark: of drafts, which nobody else could guess: those that an earlier try left are removed.

    """
    written, beside, deleted, kept = list[str](), list[tuple[str, str]](), list[str](), list[tuple[str, str]]()
    for change in made:
        place = directory / change.path
        if _leads_out(directory, change.path):
            kept.append((change.path, "a link is in the way"))
            continue
        _remove_draft(place, mark)
        if change.after is None:
            if _mark_at(place) == _bare(change.before):
                place.unlink(missing_ok=True)
                deleted.append(change.path)
            else:
                kept.append((change.path, "you changed it, so it was not deleted"))
        elif _mark_at(place) in {_bare(change.before), _bare(change.after)}:
            place.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o755 if change.after.program else 0o644
            mode = place.stat().st_mode & 0o777 if place.exists() else mode
            write_whole(place, store.get(change.after), mode, mark=mark)
            written.append(change.path)
        else:
            other = _free_name(place)
            _remove_draft(other, mark)
            write_whole(other, store.get(change.after), 0o644, mark=mark)
            beside.append((change.path, str(other.relative_to(directory))))
    return Delivery(written, beside, deleted, kept)


def _remove_draft(place: Path, mark: str) -> None:
    if mark:
        draft_of(place, mark).unlink(missing_ok=True)


def _bare(mark: FileMark | None) -> str:
    return "" if mark is None else mark.sha256


def _mark_at(place: Path) -> str | None:
    """sha256 of the file there; empty when there is none, None when something else is."""
    try:
        if not stat.S_ISREG(place.lstat().st_mode):
            return None
        return sha256(place.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError:
        return None


def _leads_out(directory: Path, path: str) -> bool:
    """Whether a link, or a file where a folder should be, is on the way to a path."""
    place = directory
    for part in PurePosixPath(path).parts[:-1]:
        place /= part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            return True
    return False


def _free_name(place: Path) -> Path:
    name, number = beginning(place.name), 1
    other = place.with_name(f"{name}.tercet")
    while other.exists() or other.is_symlink():
        number += 1
        other = place.with_name(f"{name}.tercet{number}")
    return other
