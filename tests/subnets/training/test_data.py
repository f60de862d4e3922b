"""What a seed draws from a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tercet.errors import UsageError
from tercet.subnets.training.data import BLOCK, HELD_OUT, Corpus, read_corpus


def counted(blocks: int) -> Corpus:
    """A text whose tokens say where they stand."""
    return Corpus.build(bytes(blocks), lambda _: np.arange(blocks * BLOCK).tolist())


def test_what_is_held_out_is_never_assigned() -> None:
    corpus = counted(64)
    drawn = corpus.draw(b"seed", "assigned", 5000, 64) // BLOCK % HELD_OUT
    assert drawn.max() == HELD_OUT - 2
    assert set(np.unique(corpus.held_out(500, 64) // BLOCK % HELD_OUT)) == {HELD_OUT - 1}


def test_the_same_seed_draws_the_same_and_another_draws_others(corpus: Corpus) -> None:
    one, again = corpus.draw(b"a", "assigned", 50, 64), corpus.draw(b"a", "assigned", 50, 64)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, corpus.draw(b"b", "assigned", 50, 64))
    assert not np.array_equal(one, corpus.draw(b"a", "random", 50, 64))


def test_a_draw_is_the_same_in_every_python() -> None:
    """Pinned: a change here makes old miners train on the wrong windows."""
    assert counted(32).draw(b"seed", "assigned", 4, 8)[:, 0].tolist() == [99277, 99581, 37518, 29303]


def test_a_window_is_a_piece_of_the_text(corpus: Corpus) -> None:
    for window in corpus.draw(b"x", "assigned", 20, 64):
        assert bytes(window.astype(np.uint8)) in corpus.text


def test_a_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(UsageError, match="Name a longer text"):
        Corpus.build(b"too short")


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, words in (("b.txt", "second"), ("a.md", "first"), ("c.bin", "never")):
        (tmp_path / name).write_text(words)
    assert read_corpus(str(tmp_path)) == b"first\n\nsecond"


@pytest.mark.parametrize("name", ["/no/such/place", "empty"])
def test_no_text_is_an_error_that_names_the_choices(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No text in|Cannot read"):
        read_corpus(str(tmp_path / name))


@pytest.mark.slow
def test_every_interpreter_brings_a_text() -> None:
    text = read_corpus("builtin")
    assert len(text) > 1_000_000
    assert len(Corpus.build(text).held) > 10
