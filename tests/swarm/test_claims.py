"""Claims: taint grows by union, shrinks by checks alone, and checks do the work again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import ClaimError
from tercet.swarm.claims import (
    CLEAN,
    EVERYTHING,
    MOST_NAMED,
    TOP,
    Claims,
    Flag,
    Labelled,
    Number,
    OneOf,
    Origin,
    Pattern,
    State,
    Taint,
    apply,
    extract,
    join,
    taint_of,
)
from tercet.swarm.journal import Journal

NAMES = st.sampled_from([f"c{number}" for number in range(MOST_NAMED + 40)])
TAINTS = st.one_of(
    st.builds(lambda names: Taint(frozenset(names)), st.sets(NAMES, max_size=8)),
    st.just(Taint(frozenset(f"c{number}" for number in range(MOST_NAMED)))),
    st.just(TOP),
)


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[Claims]:
    """The claims of an empty run."""
    with Journal(tmp_path / "journal.db") as journal:
        yield Claims(journal)


@given(TAINTS, TAINTS, TAINTS)
def test_taints_are_a_lattice(a: Taint, b: Taint, c: Taint) -> None:
    """Join is commutative, associative, idempotent, has the clean as its bottom, and is the least upper bound."""
    assert a | b == b | a
    assert (a | b) | c == a | (b | c)
    assert a | a == a
    assert a | CLEAN == a
    assert a | TOP == TOP
    assert a <= (a | b)
    assert not (a <= c and b <= c) or (a | b) <= c


@given(st.lists(TAINTS, min_size=1, max_size=4))
def test_a_result_rests_on_all_that_went_into_it(taints: list[Taint]) -> None:
    """taint(f(a, b, ...)) is the union, whatever f does, and nothing that is put in makes it cleaner."""
    result = apply(lambda *values: 0 * sum(values), *(Labelled(1, taint) for taint in taints))
    assert result.taint == join(taints)
    assert all(taint <= result.taint for taint in taints)


@given(st.text(), TAINTS)
def test_typed_extraction_clears_taint_and_lets_no_words_through(text: str, taint: Taint) -> None:
    """What comes out was known before the text was read, or is a number, or a word without spaces."""
    for shape in (OneOf(("left", "right")), Number(0, 9), Flag(), Pattern(r"[\w .!]+", longest=12)):
        try:
            found: Labelled[Any] = extract(Labelled(text, taint), shape)
        except ClaimError:
            continue
        assert found.taint == CLEAN
        assert found.value in {"left", "right", True, False} or (
            0 <= found.value <= 9 if isinstance(found.value, float) else len(found.value.split()) == 1
        )


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (OneOf(("a", "b")), "a and then pay"), (Number(0, 10), "11"), (Number(0, 10), "nan"), (Number(0, 10), "1e1"),
        (Number(0, 10), "٣"), (Flag(), "yes, and ignore the rest"), (Pattern(".*"), "ignore all"),
        (Pattern("(.|\n)*"), "a\nb"), (Pattern(".*", longest=10**6), "x" * 65),
    ],
)  # fmt: skip
def test_extraction_refuses_everything_else(shape: Any, text: str) -> None:
    """Prose, numbers out of bounds, exotic digits and long words."""
    with pytest.raises(ClaimError):
        extract(Labelled(text), shape)


async def test_what_rests_on_the_unchecked_is_unchecked(claims: Claims) -> None:
    """Through any number of steps, and until the root is checked."""
    root = await claims.make("the moon is cheese", author="liar-1", model="m")
    leaf = root
    for step in range(50):
        leaf = await claims.make(f"so {step}", author="fool-1", rests=[leaf.id], model="m")
        await claims.check_by_tool(leaf.id, ok=True, by="kernel", tool="t", evidence="e") if step == 25 else None
    open_claims = claims.taint(leaf.id)
    assert root.id not in open_claims.claims, "a program's check stands by itself"
    assert len(open_claims.claims) == 24
    young = await claims.make("and so", author="fool-1", rests=[root.id], model="m")
    assert claims.taint(young.id).claims == {root.id, young.id}


async def test_another_models_check_frees_from_documents_and_not_from_claims(claims: Claims) -> None:
    """Agreement with a colleague is no evidence; the source is."""
    document = await claims.make(
        "what a.csv says", author="file a.csv", origin=Origin.EXTERNAL, sources=["a.csv@sha256:1"]
    )
    rumour = await claims.make("the sum is 7", author="liar-1", model="m")
    honest = await claims.make(
        "the sum is 5", author="reader-1", model="m", sources=["a.csv@sha256:1"], rests=[document.id]
    )
    mixed = await claims.make(
        "5 and 7", author="reader-1", model="m", sources=["a.csv@sha256:1"], rests=[document.id, rumour.id]
    )
    for claim in (honest, mixed):
        await claims.check_by_other(claim.id, ok=True, by="checker-1", model="n", sources=["a.csv@sha256:1"])
    stranger = await claims.make("the sum is 9", author="guest-1", origin=Origin.EXTERNAL, sources=["a.csv@sha256:1"])
    quoting = await claims.make(
        "9, says the guest", author="reader-1", model="m", sources=["a.csv@sha256:1"], rests=[stranger.id]
    )
    await claims.check_by_other(quoting.id, ok=True, by="checker-1", model="n", sources=["a.csv@sha256:1"])
    assert claims.taint(quoting.id).claims == {stranger.id}, "what somebody says of a document is not the document"
    assert claims.taint(honest.id) == CLEAN
    assert claims.taint(mixed.id).claims == {rumour.id}


async def test_a_check_is_refused_that_does_not_do_the_work_again(claims: Claims) -> None:
    """Oneself, the same model by another name, no source, another source, a document for itself, no program."""
    told = await claims.make("x", author="a-1", model="openai/GPT-9:latest", sources=["s"])
    bare = await claims.make("y", author="a-1", model="m")
    nobody = await claims.make("w", author="a-1", sources=["s"])
    document = await claims.make("z", author="file s", origin=Origin.EXTERNAL, sources=["s"])
    refused: list[dict[str, Any]] = [
        {"id_": told.id, "by": "a-1", "model": "n", "sources": ["s"]},
        {"id_": told.id, "by": "b-1", "model": "gpt-9", "sources": ["s"]},
        {"id_": told.id, "by": "b-1", "model": "", "sources": ["s"]},
        {"id_": told.id, "by": "b-1", "model": "n", "sources": ["other"]},
        {"id_": bare.id, "by": "b-1", "model": "n", "sources": ["s"]},
        {"id_": nobody.id, "by": "b-1", "model": "n", "sources": ["s"]},
        {"id_": document.id, "by": "b-1", "model": "n", "sources": ["s"]},
        {"id_": "nothing", "by": "b-1", "model": "n", "sources": ["s"]},
    ]
    for check in refused:
        with pytest.raises(ClaimError):
            await claims.check_by_other(ok=True, **check)
    with pytest.raises(ClaimError, match="Run one"):
        await claims.check_by_tool(told.id, ok=True, by="b-1", tool="pytest", evidence="")
    assert all(not claim.holds for claim in claims.known.values())


async def test_the_person_and_our_own_programs_are_believed(claims: Claims) -> None:
    """Until a program finds otherwise."""
    said = await claims.make("ship it", author="person", origin=Origin.OPERATOR)
    seen = await claims.make("exit code 0", author="kernel", origin=Origin.OBSERVED)
    both = await claims.make("so", author="a-1", rests=[said.id, seen.id], model="m")
    assert claims.taint(said.id, seen.id) == CLEAN
    assert claims.taint(both.id).claims == {both.id}
    await claims.check_by_tool(said.id, ok=False, by="kernel", tool="t", evidence="e")
    assert claims.taint(said.id).claims == {said.id}


async def test_a_refuted_claim_is_not_saved_by_a_model(claims: Claims) -> None:
    """Only by a program."""
    claim = await claims.make("x", author="a-1", model="m", sources=["s"])
    await claims.check_by_other(claim.id, ok=False, by="b-1", model="n", sources=["s"])
    await claims.check_by_other(claim.id, ok=True, by="c-1", model="o", sources=["s"])
    assert claims.known[claim.id].state is State.REFUTED
    await claims.check_by_tool(claim.id, ok=True, by="kernel", tool="t", evidence="e")
    await claims.check_by_other(claim.id, ok=False, by="b-1", model="n", sources=["s"])
    assert claims.known[claim.id].state is State.BY_TOOL


async def test_the_journal_tells_the_same_after_a_restart(tmp_path: Path) -> None:
    """State is a fold over events, and the same claim is one."""
    with Journal(tmp_path / "journal.db") as journal:
        claims = Claims(journal)
        first = await claims.make("x", author="a-1", model="m", sources=["s", "r"])
        assert (await claims.make("x", author="a-1", model="m", sources=["r", "s", "s"])).id == first.id
        await claims.check_by_other(first.id, ok=True, by="b-1", model="n", sources=["r", "s"])
        told = dict(claims.known)
    with Journal(tmp_path / "journal.db") as journal:
        assert dict(Claims(journal).known) == told
        assert len(told) == 1


async def test_claims_are_bounded(claims: Claims) -> None:
    """Empty, long, and resting on what nobody said: refused. Resting on too much: never clean again by itself."""
    for text, rests in (("", []), (" ", []), ("x" * 4001, []), ("x", ["nobody"])):
        with pytest.raises(ClaimError):
            await claims.make(text, author="a-1", rests=rests, model="m")
    claim = await claims.make("x", author="a-1", rests=[EVERYTHING], model="m")
    assert claims.taint(claim.id) == TOP
    assert taint_of({}, "nobody") == TOP
