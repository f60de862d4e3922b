"""The page on public testnets, typed as it stands against a chain that is not ours.

Anvil stands in for it: another implementation, another chain's id, real JSON-RPC, blocks at times of its own. None
of its development methods is called; the first coin comes from a rich account by a plain transfer, as from a faucet.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chain.conftest import ANVIL, ANVIL_THERE
from tests.docs.test_blocks import ROOT, Block, Reader, blocks_of

from tercet.chain import Key, Rpc, Sender

PAGE = ROOT / "docs/how-to/deploy-to-a-testnet.md"
CHAIN_ID = 84_532
RICH = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""Anvil's first account: public, and rich on every anvil."""

pytestmark = [pytest.mark.anvil, pytest.mark.slow]


@pytest.fixture
def foreign_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a chain that mines four times a second, whatever is sent: so each transaction is waited for."""
    if ANVIL is None or not ANVIL_THERE:
        pytest.fail("anvil is not there. Fetch it with: python scripts/fetch_anvil.py, or run: pytest -m 'not anvil'")
    flags = ["--port", "0", "--chain-id", str(CHAIN_ID), "--block-time", "0.25", "--enable-tx-gas-limit"]
    told = tmp_path_factory.mktemp("anvil") / "log"
    with told.open("wb") as sink:
        child = subprocess.Popen([ANVIL, *flags], stdout=sink, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while (found := re.search(r"Listening on (\S+)", told.read_text())) is None:
            assert time.monotonic() < deadline, told.read_text()
            time.sleep(0.05)
        yield f"http://{found[1]}"
    finally:
        child.kill()
        child.wait()


def give_coin(url: str, address: str) -> None:
    """What a faucet does: a transfer."""

    async def send() -> None:
        async with Rpc(url) as rpc:
            await Sender(rpc, Key.from_hex(RICH)).send(address, value=10**18)

    asyncio.run(send())


def json_of(reader: Reader, *words: str) -> dict[str, object]:
    """What a command prints."""
    done = subprocess.run(
        ["tercet", *words, "--json"], cwd=reader.folder, env=reader.environment, capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_reader_deploys_to_a_foreign_chain(foreign_chain: str, tmp_path: Path) -> None:
    """Every block of the page in order; then the market stands there with a miner that answers and a judge that asks."""
    reader = Reader(tmp_path)
    blocks = [block for block in blocks_of(PAGE) if block.info.startswith("sh skip testnet")]
    assert len(blocks) > 8
    try:
        for block in blocks:
            kind = "sh background" if block.info.endswith("background") else "sh"
            text = block.text
            if exported := re.search(r"^export TERCET_CHAIN=(\S+)\n", text, re.MULTILINE):
                reader.environment["TERCET_CHAIN"] = foreign_chain
                text = text.replace(exported[0], "")
            text = text.replace("tercet wallet new", "tercet wallet new --light")  # a second of scrypt for each command
            text = text.replace(
                "--commit 600 --reveal 300", "--commit 60 --reveal 30"
            )  # and a judge asks within one epoch
            reader.follow(Block(block.line, kind, text))
            if "wallet new" in text:
                wallets = json_of(reader, "wallet", "list")["wallets"]
                assert isinstance(wallets, list)
                give_coin(foreign_chain, next(row["address"] for row in wallets if row["name"] == "owner"))
        assert json_of(reader, "chain", "show")["chain_id"] == CHAIN_ID
        shown = json_of(reader, "market", "show", "--market", "echo")
        assert [len(list(shown[name])) for name in ("miners", "validators")] == [1, 1]  # type: ignore[call-overload]
        deadline = time.monotonic() + 180
        while not [e for e in json_of(reader, "ledger", "events")["events"] if e["name"] == "ChannelOpened"]:  # type: ignore[attr-defined]
            assert time.monotonic() < deadline, "the judge has asked nobody"
            time.sleep(1)
    finally:
        reader.close()
