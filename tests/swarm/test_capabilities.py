"""Capabilities: nothing by default, and what is given on is never more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import CapabilityError
from tercet.swarm.capabilities import NOTHING, Capabilities, clean_path, granted, pattern_covers, pattern_matches
from tercet.swarm.patterns import claimed
from tercet.swarm.plan import Task

PARTS = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "?", "[ab]"])
PATTERNS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "abc"]), min_size=1, max_size=5).map("/".join)


def test_the_default_is_nothing() -> None:
    """No file, no command, no host, no money, nobody."""
    may = NOTHING.may_read("a"), NOTHING.may_write("a"), NOTHING.may_start("python3"), NOTHING.may_reach("localhost")
    assert not any(may)
    assert not NOTHING.may_address("person")
    assert NOTHING.money == 0


@given(PATTERNS, PATTERNS, PATHS)
def test_covering_is_sound(wide: str, narrow: str, path: str) -> None:
    """Where a pattern is said to cover another, every path that the narrow one matches the wide one matches."""
    if pattern_covers(wide, narrow) and pattern_matches(narrow, path):
        assert pattern_matches(wide, path)


@given(st.lists(PATTERNS, max_size=3), st.lists(PATTERNS, max_size=3), PATHS, st.integers(0, 5), st.integers(0, 5))
def test_delegation_only_narrows(ours: list[str], wanted: list[str], path: str, money: int, more: int) -> None:
    """Whatever is asked for: it is refused, or the giver could do all of it."""
    giver = Capabilities(read=ours[:1], write=ours[1:], money=money, commands=ours, hosts=ours, people=ours)
    asked = Capabilities(read=wanted[:1], write=wanted[1:], money=more, commands=wanted, hosts=wanted, people=wanted)
    try:
        given_on = giver.delegate(asked)
    except CapabilityError:
        return
    assert given_on.money <= giver.money
    assert not given_on.may_read(path) or giver.may_read(path)
    assert not given_on.may_write(path) or giver.may_write(path)
    assert all(giver.may_start(name) and giver.may_address(name) for name in given_on.commands)


def test_delegation_gives_what_is_there() -> None:
    """A lead gives a part of its own."""
    lead = Capabilities(read=("docs/**",), write=("src/**",), commands=("python3",), hosts=("*.example.org",), money=10)
    part = Capabilities(
        read=("docs/a.md", "docs/*/b.md", "src/x/*.py"),
        write=("src/x.py",),
        hosts=("api.example.org", "*.b.example.org"),
        money=4,
    )
    assert lead.delegate(part) == part
    assert lead.delegate(NOTHING) == NOTHING
    for more in (
        Capabilities(read=("**",)), Capabilities(write=("docs/a.md",)), Capabilities(commands=("sh",)), Capabilities(money=11),
        Capabilities(hosts=("example.org",)), Capabilities(hosts=("*.org",)), Capabilities(people=("person",)),
    ):  # fmt: skip
        with pytest.raises(CapabilityError, match="what they do not have"):
            lead.delegate(more)
    with pytest.raises(CapabilityError, match=r"pay 0\.000011 credit of 0\.00001 credit"):
        lead.delegate(Capabilities(money=11))


@pytest.mark.parametrize("claim", ["docs/", "./b.txt", "a[1].txt", "src/**", "*.md", "**/x.py", "b.txt"])
@pytest.mark.parametrize("path", ["docs/a/b.md", "docs", "b.txt", "a[1].txt", "a1.txt", "src/a/x.py", "x.py", "c.md"])
def test_a_task_may_read_what_it_is_given(claim: str, path: str) -> None:
    """The files that are laid out for it are those that its tools let it see."""
    task = Task.model_validate(
        {"id": "t", "title": "T", "role": "assistant", "inputs": [claim], "outputs": ["out/"], "budget": 0, "done": {"command": ["true"]}}
    )  # fmt: skip
    caps = granted(task)
    assert caps.may_read(path) == claimed(path, [claim])
    assert caps.may_write("out/a/b")
    assert not caps.may_write("out")


def test_a_star_stays_in_its_folder() -> None:
    """`*` does not cross a slash, `**` does, also over none."""
    assert pattern_matches("src/*.py", "src/a.py")
    assert not pattern_matches("src/*.py", "src/b/a.py")
    assert pattern_matches("src/**/a.py", "src/a.py")
    assert pattern_matches("src/**", "src/b/a.py")
    assert not pattern_matches("src/**", "src")
    assert pattern_matches("**/b/**", "a/b/c")
    assert not pattern_matches("**/b/**", "a/b")
    assert not pattern_matches("/".join(["**", "a"] * 99), "a/" * 98 + "b"), "no pattern takes for ever"


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/etc/passwd", "~/a", "a\0b", "a\\b", "a\nb", "x" * 1001])
def test_a_path_outside_is_none(path: str) -> None:
    """Whatever the patterns say."""
    with pytest.raises(CapabilityError):
        clean_path(path)


@pytest.mark.parametrize(
    "raw",
    [
        {"root": True},
        {"money": -1},
        {"money": True},
        {"money": "5"},
        {"read": "**"},
        {"read": [1]},
        {"write": ["../x"]},
    ],
)
def test_strangers_capabilities_are_checked(raw: dict[str, object]) -> None:
    """Unknown fields, wrong types, paths outside."""
    with pytest.raises(CapabilityError):
        Capabilities.from_json(raw)


def test_json_and_back() -> None:
    """As the journal has it."""
    caps = Capabilities(read=("a/**",), write=("b",), commands=("python3",), hosts=("h",), money=3, people=("person",))
    assert Capabilities.from_json(caps.as_json()) == caps
