"""`tercet up`: one command, a market that answers; what it knew is there the next time."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest
from openai import OpenAI

from .conftest import Shell
from .test_demo import of_this_run

WORDS = ("up", "--model", "smol", "--port", "0", "--chain-port", "0")


class Up:
    """A running `tercet up`."""

    def __init__(self, shell: Shell) -> None:
        self.process = shell.start(*WORDS)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.facts: dict[str, Any] = json.loads(line)

    def ask(self) -> str:
        """An answer by the ordinary client; tried again while a role comes back."""
        with OpenAI(
            base_url=self.facts["base_url"], api_key=self.facts["api_key"], timeout=30, max_retries=6
        ) as client:
            words = client.chat.completions.create(
                model="smol", max_tokens=8, messages=[{"role": "user", "content": "Say hello."}]
            )
        return words.choices[0].message.content or ""

    def stop(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.mark.slow
@pytest.mark.model
def test_a_market_answers_survives_a_death_and_a_restart(shell: Shell) -> None:
    """It answers; a killed miner comes back; Ctrl-C leaves nothing; next time market and key are the same."""
    first = Up(shell)
    try:
        assert first.ask()
        record = json.loads((shell.folder / "home" / "up" / "processes.json").read_text())
        miner = next(entry["pid"] for entry in record if entry["name"] == "up-miner")
        os.kill(miner, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while str(miner) in (shell.folder / "home" / "up" / "processes.json").read_text():
            assert time.monotonic() < deadline, "the miner was not started again"
            time.sleep(0.2)
        assert shell.run("ledger", "receipts", "--json").json["receipts"][0]["status"] == "complete"
    finally:
        assert first.stop() == 130
    assert of_this_run(shell.folder / "home") == []
    second = Up(shell)
    try:
        assert (second.facts["market"], second.facts["api_key"]) == (first.facts["market"], first.facts["api_key"])
        assert second.ask()
    finally:
        assert second.stop() == 130
