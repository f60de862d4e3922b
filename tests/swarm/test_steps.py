"""Steps of plain work: done once, read back, repeated only when they were in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tercet.errors import DivergedError, JournalError, ReplayEndError
from tercet.swarm.forks import fork
from tercet.swarm.journal import Journal, read_events, verify_journal
from tercet.swarm.steps import payment_key, run_scope, step, step_key


class Work:
    """Counts what is really done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.keys: list[str] = []

    def of(self, name: str, result: object = None) -> Callable[[], Awaitable[object]]:
        async def do() -> object:
            self.keys.append(payment_key({"buy": name}))
            self.done.append(name)
            return name if result is None else result

        return do


def home(tmp_path: Path, run: str = "run-1") -> Path:
    folder = tmp_path / run
    folder.mkdir(exist_ok=True)
    return folder / "journal.db"


async def three(journal: Journal, work: Work, **options: bool) -> list[object]:
    async with run_scope(journal, "fix/1", actor="coder-1", task="fix", **options):
        return [await step(name, work.of(name, {"got": name}), key=f"args of {name}") for name in "abc"]


async def test_finished_steps_are_read_back(tmp_path: Path) -> None:
    """The second time nothing is done, and the results are the same."""
    work = Work()
    with Journal(home(tmp_path)) as journal:
        first = await three(journal, work)
        assert await three(journal, work) == first == [{"got": "a"}, {"got": "b"}, {"got": "c"}]
        event = journal.step("fix/1", 1)
    assert work.done == ["a", "b", "c"]
    assert event is not None
    assert (event.kind, event.actor, event.task) == ("step", "coder-1", "fix")
    assert event.body["key"] == step_key("run-1", "fix/1", 1, "b", "args of b")


async def test_only_the_step_in_flight_is_repeated_and_under_the_same_key(tmp_path: Path) -> None:
    """A step that fails is not recorded; the next try asks for money under the key of the first."""
    work = Work()

    async def dies() -> object:
        work.keys.append(payment_key({"buy": "c"}))
        raise ConnectionError("in flight")

    with Journal(home(tmp_path)) as journal:
        async with run_scope(journal, "fix/1"):
            await step("a", work.of("a"))
            with pytest.raises(ConnectionError):
                await step("c", dies)
        async with run_scope(journal, "fix/1"):
            await step("a", work.of("a"))
            assert await step("c", work.of("c")) == "c"
    assert work.done == ["a", "c"]
    assert work.keys[1] == work.keys[2] != work.keys[0]


async def test_a_run_whose_folder_was_moved_pays_under_its_old_keys(tmp_path: Path) -> None:
    """Killed with a payment under way, moved, resumed: the seller is shown the key that it knows."""
    keys: list[str] = []

    async def pay() -> None:
        keys.append(payment_key("5 to the shop"))
        raise OSError("killed")

    folder = tmp_path / "fair-otter"
    folder.mkdir()
    for name in ("fair-otter", "kept"):
        folder = folder.rename(tmp_path / name)
        with Journal(folder / "journal.db") as journal:
            if not keys:
                await journal.append("run.started", {"goal": "g", "run": journal.run})
            with pytest.raises(OSError, match="killed"):
                async with run_scope(journal, "pay/1"):
                    await step("pay", pay)
    assert keys == [keys[0]] * 2


async def test_payments_of_one_step_have_keys_of_their_own() -> None:
    """The same purchase twice in a step is two purchases; outside of steps there is no key."""
    assert payment_key("x") == ""


async def test_two_payments_in_a_step(tmp_path: Path) -> None:
    """Each has its key, and a second try of the step has the same ones, in whatever order."""
    seen: list[set[str]] = []

    async def pays(order: str) -> object:
        seen.append({payment_key(name) for name in order})
        assert len(seen[-1]) == 1 if order == "x" else 2
        raise ConnectionError

    with Journal(home(tmp_path)) as journal:
        for order in ("xy", "yx"):
            with pytest.raises(ConnectionError):
                async with run_scope(journal, "a"):
                    await step("buy", lambda order=order: pays(order))  # type: ignore[misc]

        async def twice() -> object:
            return [payment_key("x"), payment_key("x")]

        async with run_scope(journal, "b"):
            first, second = await step("buy", twice)
    assert seen[0] == seen[1]
    assert first != second


@pytest.mark.parametrize(("name", "key", "said"), [("other", "1", "'b', not 'other'"), ("b", "2", "other arguments")])
async def test_a_scope_that_asks_for_another_step_is_stopped(tmp_path: Path, name: str, key: str, said: str) -> None:
    """Code or input that changed between kill and resume is named, and nothing is done."""
    work = Work()
    with Journal(home(tmp_path)) as journal:
        async with run_scope(journal, "fix/1"):
            await step("a", work.of("a"))
            await step("b", work.of("b"), key="1")
        async with run_scope(journal, "fix/1"):
            await step("a", work.of("a"))
            with pytest.raises(DivergedError, match=said) as caught:
                await step(name, work.of(name), key=key)
    assert (caught.value.scope, caught.value.number) == ("fix/1", 1)
    assert "fork the run before event 2" in str(caught.value)
    assert work.done == ["a", "b"]


async def test_scopes_are_taken_by_one_at_a_time(tmp_path: Path) -> None:
    """Two at once in one scope would take each other's steps."""
    with Journal(home(tmp_path)) as journal:
        async with run_scope(journal, "fix/1"):
            with pytest.raises(JournalError, match="open already"):
                async with run_scope(journal, "fix/1"):
                    pass
        async with run_scope(journal, "fix/1"):
            pass


async def test_a_step_within_a_step_is_a_part_of_it(tmp_path: Path) -> None:
    """The outer one is recorded whole; a scope of its own inside has steps of its own."""
    work = Work()

    async def outer() -> object:
        await step("inner", work.of("inner"))
        async with run_scope(journal, "child"):
            return await step("mine", work.of("mine"))

    with Journal(home(tmp_path)) as journal:
        for _ in range(2):
            async with run_scope(journal, "parent"):
                assert await step("outer", outer) == "mine"
                await step("after", work.of("after"))
        assert [(event.scope, event.number) for event in journal.events()] == [
            ("child", 0), ("parent", 0), ("parent", 1),
        ]  # fmt: skip
    assert work.done == ["inner", "mine", "after"]


async def test_many_scopes_at_once_keep_their_numbers(tmp_path: Path) -> None:
    """A hundred at work side by side: each has its own row of steps, and all come back."""

    async def one(journal: Journal, n: int, work: Work) -> object:
        async with run_scope(journal, f"task-{n}/1"):
            return [await step(f"s{k}", work.of(f"{n}.{k}")) for k in range(5)]

    work = Work()
    with Journal(home(tmp_path)) as journal:
        first = await asyncio.gather(*(one(journal, n, work) for n in range(100)))
        assert await asyncio.gather(*(one(journal, n, work) for n in range(100))) == first
    assert len(work.done) == len(set(work.done)) == 500


async def test_replay_reads_back_and_does_nothing(tmp_path: Path) -> None:
    """Where the record ends, it says so."""
    work = Work()
    with Journal(home(tmp_path)) as journal:
        await three(journal, work)
        before = journal.hash
        assert len(await three(journal, work, recorded_only=True)) == 3
        with pytest.raises(ReplayEndError, match="before step 0"):
            async with run_scope(journal, "fix/2", recorded_only=True):
                await step("a", work.of("a"))
        assert journal.hash == before
    assert work.done == ["a", "b", "c"]


@pytest.mark.parametrize("upto", [2, ("fix/1", 1)])
async def test_a_fork_shares_the_beginning_and_goes_its_own_way(tmp_path: Path, upto: int | tuple[str, int]) -> None:
    """Steps up to the fork are read back, later ones done anew, and paid for under keys of the new run."""
    parent, child, work = home(tmp_path), home(tmp_path, "run-2"), Work()
    with Journal(parent) as journal:
        await three(journal, work)
        note = fork(parent, child, upto=upto)  # while the parent is open
        head = journal.hash
    second = next(event for event in read_events(parent) if event.seq == 2)
    assert note.body == {"run": "run-2", "parent": "run-1", "seq": 2, "hash": second.hash.hex()}
    with Journal(child) as journal:
        assert len(await three(journal, work)) == 3
    assert work.done == ["a", "b", "c", "c"]
    assert work.keys[2] != work.keys[3], "the fork pays for itself"
    assert [event.kind for event in read_events(child)] == ["step", "step", "run.forked", "step"]
    assert verify_journal(child, second.hash)[0] == 4
    assert verify_journal(parent, head)[0] == 3


async def test_a_fork_of_nothing_or_onto_something_is_refused(tmp_path: Path) -> None:
    """It names what is missing or in the way, and leaves nothing half-made."""
    parent, child = home(tmp_path), home(tmp_path, "run-2")
    with Journal(parent) as journal:
        await three(journal, Work())
    for upto, said in ((9, "no event 9"), (("fix/1", 7), "no step 7 of 'fix/1'")):
        with pytest.raises(JournalError, match=said):
            fork(parent, child, upto=upto)
    assert not list(child.parent.iterdir())
    fork(parent, child)
    with pytest.raises(JournalError, match="a folder of its own"):
        fork(parent, child)
