"""Count the gas of the contracts on an EVM in process: exact, whatever the machine.

python benchmarks/gas.py             a table; the full market takes a minute or two
python benchmarks/gas.py --small     without the full market
python benchmarks/gas.py --json      one JSON object
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eth_account import Account
from eth_account.messages import encode_typed_data
from tests.chain.contracts.arena import CREDIT, FOREVER, TCT, Arena, Params
from tests.chain.contracts.evm import Receipt

from tercet.market.epoch import FULL

SIZES = ((4, 8), (16, 64), (64, 255))
"""Validators and miners. 255 miners and the unspent column make 256 columns."""


def main() -> None:
    """Print the gas."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--small", action="store_true", help="leave the 64 x 256 market out")
    options = parser.parse_args()
    epochs = {}
    singles: dict[str, int] = {}
    for validators, miners in SIZES[:2] if options.small else SIZES:
        name = f"{validators}x{miners + (miners == 255)}"
        epochs[name], singles_here = measure_epochs(validators, miners)
        singles = singles or singles_here
    if not options.small:
        singles |= measure_dearest()
    singles |= measure_escrow()
    if options.json:
        print(json.dumps({"benchmark": "gas", "epochs": epochs, "transactions": singles}))
        return
    columns = ("first", "steady", "one_transaction", "largest")
    print(f"{'epoch':<24}" + "".join(f"{column:>18}" for column in columns))
    for name, row in epochs.items():
        print(f"{name:<24}" + "".join(f"{row.get(column, 0) or '-':>18}" for column in columns))
    print(f"\n{'transaction':<40}{'gas':>12}")
    for name, gas in singles.items():
        print(f"{name:<40}{gas:>12,}")


def measure_epochs(validators: int, miners: int) -> tuple[dict[str, int], dict[str, int]]:
    """Gas of closing the first and a steady epoch, of the largest transaction; and of the steps on the way."""
    arena = Arena(Params(commit_seconds=10_000, reveal_seconds=10_000))
    singles = {"open a market": arena.opening.gas}
    owner, operator = arena.ledger.account("miner"), arena.ledger.account("operator")
    arena.give_stake_token(owner, arena.params.min_price)
    endpoint = "http://203.0.113.7:8091"
    singles["register a miner"] = arena.market.send(owner, "register_miner", operator, endpoint, FOREVER).gas
    for _ in range(miners - 1):
        arena.add_miner()
    for vid in range(validators):
        arena.add_validator((1_000 + vid) * TCT)
    arena.add_sponsor(1_000_000 * CREDIT, 1_000)
    arena.skip_epoch()  # stake counts from the epoch after it came
    result: dict[str, int] = {}
    for epoch in range(3):
        step = vote(arena, miners + 1, epoch)
        singles |= {f"{name}, {'first' if epoch == 0 else 'steady'}": gas for name, gas in step.items()}
        if epoch == 2 and validators * miners > 10_000:
            break
        if epoch == 2:
            hints = arena.last.hints if arena.last else ()
            result["one_transaction"] = close_at_once(arena, hints).gas
            break
        _, receipts = arena.close(pages_at_once=4, poker=arena.opener)
        result["first" if epoch == 0 else "steady"] = sum(receipt.gas for receipt in receipts)
        result["largest"] = max(result.get("largest", 0), *(receipt.gas for receipt in receipts))
    return result, singles


def measure_dearest() -> dict[str, int]:
    """Gas of the payout where all that can be new is new, from both pots, with an audit share and a full queue."""
    params = Params(commit_seconds=10_000, reveal_seconds=10_000, audit_share_bps=1_000)
    arena = Arena(params, audits="0x" + "a5" * 20)
    for _ in range(255):
        arena.add_miner("http://" + "x" * 121)
    for vid in range(64):
        arena.add_validator((1_000 + vid) * TCT)
    arena.add_sponsor(1_000_000 * CREDIT, 1_000)
    for _ in range(params.immunity_epochs):
        arena.skip_epoch()
    for _ in range(16):
        arena.add_applicant("http://" + "y" * 121)
    arena.token.send(arena.bank, "approve", arena.treasury.address, 1_000 * TCT)
    arena.treasury.send(arena.bank, "fund_emission", 1_000 * TCT)
    arena.skip_epoch()
    vote(arena, 256, 0)
    _, receipts = arena.close(pages_at_once=2, pay_apart=True)
    return {"pay 255 new miners, both pots": receipts[-2].gas, "finish, 64 new pools, 16 evicted": receipts[-1].gas}


def close_at_once(arena: Arena, hints: tuple[int, ...]) -> Receipt:
    """Close a steady epoch whose votes are those of the one before."""
    return arena.market.send(arena.opener, "close_epoch", hints)


def vote(arena: Arena, columns: int, epoch: int) -> dict[str, int]:
    """Everybody commits and reveals nearly the same row; gas of one commit and one reveal."""
    rows = {vid: make_row(columns, vid + 1_000 * min(epoch, 1)) for vid in arena.validators}
    generation = arena.as_of()
    commits = [arena.commit(arena.validators[vid], row, generation) for vid, row in rows.items()]
    arena.ledger.now += arena.params.commit_seconds
    reveals = [
        arena.market.send(arena.validators[vid].operator, "reveal", *arena.opening_of(row, generation))
        for vid, row in rows.items()
    ]
    arena.ledger.now += arena.params.reveal_seconds
    words = (columns + 15) // 16
    return {"commit": commits[0].gas, f"reveal {words} word{'s' * (words > 1)}": reveals[0].gas}


def make_row(columns: int, seed: int) -> list[int]:
    """A row in which all weights are about equal."""
    chance = random.Random(seed)
    parts = [chance.randrange(900, 1_000) for _ in range(columns)]
    row = [part * FULL // sum(parts) for part in parts]
    row[0] += FULL - sum(row)
    return row


def measure_escrow() -> dict[str, int]:
    """Gas of a payment channel's life."""
    arena = Arena()
    payer = Account.from_key(b"\x11" * 32)
    escrow = arena.ledger.deploy("Escrow", 60, 100, arena.bank, arena.bank)
    receiver = arena.ledger.account("receiver")
    arena.credit.send(arena.bank, "mint", payer.address, 10**9)
    arena.credit.send(arena.bank, "mint", receiver, 1)
    arena.credit.send(payer.address, "approve", escrow.address, 2**256 - 1)
    config = (payer.address, payer.address, receiver, receiver, arena.credit.address, 60, b"\0" * 32)
    gas = {"open a channel": escrow.send(payer.address, "open", config, 10**6).gas}
    gas["top a channel up"] = escrow.send(payer.address, "top_up", config, 10**6).gas
    domain = {
        "name": "x402 Batch Settlement",
        "version": "1",
        "chainId": arena.ledger.chain_id,
        "verifyingContract": escrow.address,
    }
    fields = [{"name": "channelId", "type": "bytes32"}, {"name": "maxClaimableAmount", "type": "uint128"}]
    message = {"channelId": escrow.call("getChannelId", config), "maxClaimableAmount": 10**6}
    signature = payer.sign_message(encode_typed_data(domain, {"Voucher": fields}, message)).signature
    for name, total in (("redeem, first", 10**5), ("redeem, steady", 2 * 10**5)):
        gas[name] = escrow.send(receiver, "redeem", config, total, 10**6, signature).gas
    gas["request a close"] = escrow.send(payer.address, "request_close", config).gas
    gas["release a channel"] = escrow.send(receiver, "release", config).gas
    return gas


if __name__ == "__main__":
    main()
