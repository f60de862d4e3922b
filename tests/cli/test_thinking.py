from __future__ import annotations

import pytest

from tercet.cli.settings import resolve_settings
from tercet.cli.thinking import choose_thinking, open_thinking
from tercet.errors import UsageError
from tercet.subnets.inference import count_cores, model_threads
from tercet.swarm.gateway import LocalUpstream


@pytest.mark.parametrize(("said", "threads"), [("", model_threads(count_cores())), ("1", 1), ("3", 3)])
def test_a_local_model_has_the_threads_that_were_set_also_when_a_run_goes_on(
    said: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERCET_THREADS", said)
    words, chosen = choose_thinking(resolve_settings({}), model="any.gguf", gateway="", key_file="", script="")
    assert words == "local any.gguf"
    monkeypatch.setenv("TERCET_THREADS", "7")
    opened = open_thinking(chosen)
    assert isinstance(opened, LocalUpstream)
    assert opened.threads == threads


@pytest.mark.parametrize("said", ["0", "-1", "many", "1.5", "257"])
def test_threads_that_are_no_number_of_threads_are_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERCET_THREADS", said)
    with pytest.raises(UsageError, match="from 1 to 256"):
        choose_thinking(resolve_settings({}), model="any.gguf", gateway="", key_file="", script="")
