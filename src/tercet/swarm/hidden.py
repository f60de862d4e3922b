"""Hidden done-tests: programs that the swarm's prompts never see, beside those that a plan names.

A folder with `checks.json` and the programs it names. It is lent to done-tests, read-only, as /hidden; agents, plans
and models learn no more than that a test failed, and not even that it is there while nothing fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import PlanError
from tercet.swarm.plan import DoneTest

__all__ = ["HIDDEN", "HiddenTests", "load_hidden"]

HIDDEN = "/hidden"
"""Where the folder is in the sandbox."""
_FILE = "checks.json"
_MOST_BYTES = 1 << 20
_SECONDS = 120.0


class HiddenTests(BaseModel):
    """What `checks.json` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outputs: Mapping[str, Sequence[str]] = Field(default_factory=dict)
    """Path of a file to the command that has to end with 0 once a task that claims it is done."""
    accept: Sequence[str] = ()
    """The command that has to end with 0 once all is done; none when empty."""

    def of(self, outputs: Sequence[str]) -> list[DoneTest]:
        """The tests of a task that claims these files."""
        return [_test(self.outputs[path]) for path in outputs if path in self.outputs]

    @property
    def acceptance(self) -> DoneTest | None:
        """The test of the whole."""
        return _test(self.accept) if self.accept else None


def load_hidden(folder: Path) -> HiddenTests:
    """Read a folder's `checks.json`; without one there is nothing beside what the plan names.

    Raises:
        PlanError: it is not what it should be.

    """
    path = folder / _FILE
    if not path.is_file():
        return HiddenTests()
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise PlanError(f"{str(path)!r} is larger than {_MOST_BYTES >> 20} MiB.")
        found = HiddenTests.model_validate_json(raw)
        found.of(list(found.outputs))
        _ = found.acceptance
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise PlanError(f"{str(path)!r} is wrong at {where}: {first['msg']}.") from error
    except OSError as error:
        raise PlanError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    return found


def _test(command: Sequence[str]) -> DoneTest:
    return DoneTest(command=command, hidden=True, seconds=_SECONDS)
