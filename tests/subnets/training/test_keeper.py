"""What a validator keeps, and whom it follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import StateLockedError, SubnetError, UsageError
from tercet.subnets.training.compress import Codec, Update
from tercet.subnets.training.keeper import STATE, Keeper, Peer, choose_head, parse_peers
from tercet.subnets.training.outer import Checkpoint, Outer
from tercet.subnets.training.standing import Measure, Standing
from tercet.subnets.training.store import FolderStore, Library

SIZE = 500
CODEC, OUTER = Codec((SIZE,)), Outer()
BEGIN = Checkpoint.begin(np.zeros(SIZE, np.float32), "rules")


def update(seed: int) -> Update:
    return CODEC.pack(np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32))


class House:
    """Keepers of one market, closed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keepers = folder, list[Keeper]()

    def keeper(self, name: str, *peers: str, rules: str = "rules") -> Keeper:
        stores = [FolderStore(self.folder / peer / "store") for peer in peers]
        library = Library([FolderStore(self.folder / name / "store"), *stores], CODEC, rules, OUTER)
        keeper = Keeper(self.folder / name, SIZE, rules, OUTER, library, [Peer(s) for s in stores], sync_seconds=0.1)
        keeper.open(BEGIN, ("c" * 64, b"text"))
        self.keepers.append(keeper)
        return keeper


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path)
    yield built
    for keeper in built.keepers:
        keeper.close()


def advance(keeper: Keeper, *seeds: int) -> None:
    updates = [update(seed) for seed in seeds]
    judged = {"checkpoint": keeper.checkpoint.digest, "seed": "00", "verdicts": []}
    keeper.advance(updates, updates, {(1, 1): Standing().after(Measure(0.125, 2.5), 0.25)}, judged)


def test_a_restart_finds_everything_where_it_was(house: House) -> None:
    keeper = house.keeper("a")
    advance(keeper, 1, 2)
    keeper.close()
    again = house.keeper("a")
    assert again.checkpoint.digest == keeper.checkpoint.digest
    assert np.array_equal(again.checkpoint.momentum, keeper.checkpoint.momentum)
    assert again.standings == keeper.standings
    assert again.judged == keeper.judged


@pytest.mark.parametrize("moment", ["updates", "state", "store"])
def test_a_death_on_the_way_leaves_the_round_undone_or_done(
    moment: str, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is one file; whoever comes back before it judges again, after it goes on."""
    keeper = house.keeper("a")
    advance(keeper, 1)
    before = keeper.checkpoint.digest

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    place = {"updates": (FolderStore, "put"), "state": (Keeper, "save"), "store": (Keeper, "publish")}[moment]
    with monkeypatch.context() as patch:
        patch.setattr(*place, die)
        with pytest.raises(KeyboardInterrupt):
            advance(keeper, 2)
    keeper.close()
    again = house.keeper("a")
    assert (again.checkpoint.digest == before) is (moment != "store")
    assert again.store.has(f"checkpoints/{again.checkpoint.digest}")


def test_a_folder_serves_one_process(house: House) -> None:
    house.keeper("a")
    with pytest.raises(StateLockedError, match="-o folder="):
        house.keeper("a")


def test_state_of_other_rules_is_left_alone(house: House) -> None:
    keeper = house.keeper("a")
    advance(keeper, 1)
    keeper.close()
    with pytest.raises(SubnetError, match="of other rules"):
        house.keeper("a", rules="others")


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_damaged_state_says_so(cut: int, house: House) -> None:
    keeper = house.keeper("a")
    advance(keeper, 1)
    keeper.close()
    path = house.folder / "a" / STATE
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SubnetError, match="damaged"):
        house.keeper("a")


def test_validators_with_the_same_answers_stay_together(house: House) -> None:
    one, two = house.keeper("a", "b"), house.keeper("b", "a")
    for round_ in range(3):
        advance(one, round_, 10 + round_)
        advance(two, 10 + round_, round_)
        assert not one.follow()
        assert one.checkpoint.digest == two.checkpoint.digest


def test_who_missed_an_answer_moves_to_where_the_others_stand(house: House) -> None:
    """A miner answered two validators of three: the third computes their step from their store."""
    keepers = [house.keeper(name, *(set("abc") - {name})) for name in "abc"]
    for keeper in keepers[:2]:
        advance(keeper, 1, 2)
    advance(keepers[2], 1)
    assert [keeper.follow() for keeper in keepers] == [False, False, True]
    assert len({keeper.checkpoint.digest for keeper in keepers}) == 1
    advance(keepers[0], 3)
    advance(keepers[2], 3)
    assert keepers[0].checkpoint.digest == keepers[2].checkpoint.digest


def test_two_that_differ_end_at_one_of_both(house: House) -> None:
    one, two = house.keeper("a", "b"), house.keeper("b", "a")
    advance(one, 1, 2)
    advance(two, 1)
    assert [one.follow(), two.follow()].count(True) == 1
    assert one.checkpoint.digest == two.checkpoint.digest


def test_a_newcomer_joins_the_others(house: House) -> None:
    old = house.keeper("a")
    for round_ in range(70):
        advance(old, round_)
    new = house.keeper("b", "a")
    assert new.follow()
    assert new.checkpoint.digest == old.checkpoint.digest


def test_a_head_without_a_checkpoint_is_not_followed(house: House) -> None:
    keeper = house.keeper("a", "liar")
    FolderStore(house.folder / "liar" / "store").put("head.json", b'{"round": 5, "checkpoint": "%s"}' % (b"0" * 64))
    assert not keeper.follow(0.5)
    assert keeper.checkpoint.round == 0


HEADS = st.tuples(st.integers(0, 3), st.sampled_from("abc"))


@given(HEADS, st.lists(st.one_of(st.none(), HEADS), max_size=5), st.data())
def test_everybody_who_sees_the_same_heads_goes_to_the_same_place(
    mine: tuple[int, str], others: list[tuple[int, str] | None], data: st.DataObject
) -> None:
    """And nobody follows where less than half of the weight has gone."""
    weights = [data.draw(st.floats(0.1, 10)) for _ in others]
    target = choose_head(mine, 1.0, others, weights)
    if target is not None:
        assert target in others
        assert target[0] >= mine[0]
        ahead = sum(w for head, w in zip(others, weights, strict=True) if head is not None and head[0] >= target[0])
        counted = 1.0 + sum(w for h, w in zip(others, weights, strict=True) if h is not None and h[0] >= mine[0])
        assert ahead * 2 >= counted - 1e-9 or target[0] == mine[0]


def test_peers_are_read_with_their_stake() -> None:
    peers = parse_peers("http://a:1, http://b:2=3.5,/some/folder")
    assert [peer.weight for peer in peers] == [1.0, 3.5, 1.0]
    with pytest.raises(UsageError, match="URL=WEIGHT"):
        parse_peers("http://a=much")
