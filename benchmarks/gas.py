"""Count the gas of the contracts on an EVM in process: exact, whatever the machine.

python benchmarks/gas.py             tables; the full market takes some minutes
python benchmarks/gas.py --small     without the full market
python benchmarks/gas.py --json      one JSON object
python benchmarks/gas.py --docs      write docs/reference/gas.md, with dollars at --eth-usd
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eth_account import Account
from eth_account.messages import encode_typed_data
from tests.chain.contracts.arena import CREDIT, FOREVER, TCT, Arena, Member, Params
from tests.chain.contracts.evm import Contract

from tercet.market.epoch import FULL

SIZES = ((4, 8), (16, 64), (64, 255))
"""Validators and miners. 255 miners and the unspent column make 256 columns."""
PAGES_AT_ONCE = 4
LIMIT = 2**24
"""EIP-7825: the most gas of one transaction."""
GWEI = (0.01, 0.1, 1.0)
"""Gas prices that the page gives dollars for."""
ENDPOINT = "http://203.0.113.7:8091"
PAGE = Path(__file__).resolve().parents[1] / "docs/reference/gas.md"

Gas = dict[str, int]


@dataclass
class Size:
    """One market's gas."""

    validators: int
    miners: int
    epochs: dict[str, int] = field(default_factory=dict)
    """Closing an epoch: the first, a steady one, one in a single transaction."""
    transactions: Gas = field(default_factory=dict)
    """By what it does, in the order of a market's life."""

    @property
    def name(self) -> str:
        """Validators x columns where all columns are taken, else validators x miners."""
        return f"{self.validators}x{self.miners + (self.miners == 255)}"


def main() -> None:
    """Print the gas, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--small", action="store_true", help="leave the 64 x 256 market out")
    parser.add_argument("--docs", action="store_true", help="write docs/reference/gas.md")
    parser.add_argument("--eth-usd", type=float, default=3_000.0, help="price of an ether for --docs (default: 3000)")
    options = parser.parse_args()
    sizes = [measure_market(*size) for size in (SIZES[:2] if options.small else SIZES)]
    others = measure_escrow()
    if not options.small:
        others = measure_dearest() | others
    if options.json:
        epochs = {size.name: size.epochs for size in sizes}
        transactions = {size.name: size.transactions for size in sizes}
        print(json.dumps({"benchmark": "gas", "epochs": epochs, "transactions": transactions, "others": others}))
    elif options.docs:
        PAGE.write_text(build_page(sizes, others, options.eth_usd))
    else:
        print("\n".join(build_tables(sizes, others)))


# --- What is measured ---


def measure_market(validators: int, miners: int) -> Size:
    """A market of a size from its opening to its owner's farewell."""
    size = Size(validators, miners)
    gas = size.transactions
    arena = Arena(Params(commit_seconds=10_000, reveal_seconds=10_000, max_miners=miners))
    gas["open a market"] = arena.opening.gas
    owner, operator = arena.ledger.account("miner"), arena.ledger.account("operator")
    arena.give_stake_token(owner, arena.params.min_price)
    gas["register a miner"] = arena.market.send(owner, "register_miner", operator, ENDPOINT, FOREVER).gas
    for _ in range(miners - 1):
        arena.add_miner()
    owner, operator = arena.ledger.account("validator"), arena.ledger.account("operator")
    arena.give_stake_token(owner, 1_000 * TCT, arena.stakes)
    for vid in range(validators - 1):
        arena.add_validator((1_001 + vid) * TCT)
    receipt = arena.market.send(owner, "register_validator", operator, 1_000 * TCT, 500)
    gas["register a validator"] = receipt.gas
    pool = arena.as_of()
    arena.validators[receipt.value] = Member(receipt.value, owner, operator, pool)
    sponsor = arena.ledger.account("sponsor")
    arena.give_credit(sponsor, 2_000_000 * CREDIT)
    gas["sponsor"] = arena.treasury.send(sponsor, "sponsor", 1_000_000 * CREDIT, 1_000).gas
    arena.skip_epoch()  # stake counts from the epoch after it came
    for kind in ("first", "steady"):
        measure_epoch(arena, size, kind)
    if validators * miners < 10_000:
        vote(arena, miners + 1, 2)
        hints = arena.last.hints if arena.last else ()
        size.epochs["in one transaction"] = arena.market.send(arena.opener, "close_epoch", hints).gas
    measure_moves(arena, gas, pool=pool, staker=owner, sponsor=sponsor)
    gas["wind down"] = arena.market.send(arena.opener, "wind_down").gas
    return size


def measure_epoch(arena: Arena, size: Size, kind: str) -> None:
    """Commit, reveal and close once; the smallest sizes of everything are those of its last participant."""
    gas = size.transactions
    steps = vote(arena, size.miners + 1, 0 if kind == "first" else 1)
    gas |= {f"{name}, {kind}": spent for name, spent in steps.items()}
    apart = size.validators * size.miners > 10_000
    _, receipts = arena.close(pages_at_once=PAGES_AT_ONCE, poker=arena.opener, pay_apart=apart)
    pages = receipts[1 : -2 if apart else -1]
    gas[f"begin the closing, {kind}"] = receipts[0].gas
    gas[f"settle up to {PAGES_AT_ONCE} pages, {kind}"] = max(receipt.gas for receipt in pages)
    if apart:
        gas[f"pay the miners, {kind}"] = receipts[-2].gas
    gas[f"finish the closing, {kind}"] = receipts[-1].gas
    size.epochs[kind] = sum(receipt.gas for receipt in receipts)


def measure_moves(arena: Arena, gas: Gas, *, pool: int, staker: str, sponsor: str) -> None:
    """Everything else that people do in a market that runs, each on its own."""

    def measure(name: str, who: str, contract: Contract, *call: Any) -> None:
        gas[name] = contract.send(who, *call).gas

    delegator = arena.ledger.account("delegator")
    arena.give_stake_token(delegator, 100 * TCT, arena.stakes)
    measure("stake", delegator, arena.stakes, "stake", pool, 60 * TCT)
    measure("stake more", delegator, arena.stakes, "stake", pool, 40 * TCT)
    measure("unstake", delegator, arena.stakes, "unstake", pool, 50 * TCT)
    measure("claim what stake earned", staker, arena.stakes, "claim", pool)
    miner = arena.miners[max(arena.miners)]
    measure("withdraw a miner's rewards", miner.owner, arena.treasury, "withdraw")
    measure("set an endpoint", miner.operator, arena.market, "set_endpoint", miner.slot, ENDPOINT)
    measure("set an operator", miner.owner, arena.market, "set_miner_operator", miner.slot, arena.ledger.account())
    applicant = arena.ledger.account("applicant")
    arena.give_stake_token(applicant, arena.market.call("price"))
    operator = arena.ledger.account("operator")
    measure("apply for a slot", applicant, arena.market, "apply_miner", operator, ENDPOINT, FOREVER)
    measure("leave a slot", miner.owner, arena.market, "leave_miner", miner.slot)
    measure("fund the next epoch", sponsor, arena.treasury, "fund", CREDIT)
    number = arena.treasury.send(sponsor, "sponsor", 10 * CREDIT, 10).value
    measure("cancel a sponsorship", sponsor, arena.treasury, "cancel", number)
    measure("claim a refund", sponsor, arena.treasury, "claim_refund", number)
    measure("propose rules", arena.opener, arena.rules, "propose", arena.params.tuple())
    arena.stakes.send(delegator, "unstake", pool, FOREVER)
    for _ in range(arena.params.unbonding_epochs if len(arena.validators) <= 4 else 0):
        arena.skip_epoch()
    if len(arena.validators) <= 4:
        measure("withdraw stake", delegator, arena.stakes, "withdraw", pool)


def vote(arena: Arena, columns: int, epoch: int) -> Gas:
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
    return {"commit": commits[-1].gas, "reveal": reveals[-1].gas}


def make_row(columns: int, seed: int) -> list[int]:
    """A row in which all weights are about equal."""
    chance = random.Random(seed)
    parts = [chance.randrange(900, 1_000) for _ in range(columns)]
    row = [part * FULL // sum(parts) for part in parts]
    row[0] += FULL - sum(row)
    return row


def measure_dearest() -> Gas:
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


def measure_escrow() -> Gas:
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
    domain: dict[str, Any] = {
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


# --- How it is shown ---


def largest(sizes: list[Size], others: Gas) -> tuple[str, int]:
    """The dearest transaction of all."""
    found = [(f"{name} ({size.name})", gas) for size in sizes for name, gas in size.transactions.items()]
    found += [
        (f"close the epoch in one transaction ({size.name})", size.epochs.get("in one transaction", 0))
        for size in sizes
    ]
    return max([*found, *others.items()], key=lambda item: item[1])


def names_of(tables: list[Mapping[str, int]]) -> list[str]:
    """All names, each where its first table has it."""
    names: list[str] = []
    for table in tables:
        place = 0
        for name in table:
            if name in names:
                place = names.index(name) + 1
            else:
                names.insert(place, name)
                place += 1
    return names


def build_tables(sizes: list[Size], others: Gas) -> list[str]:
    """Plain text."""
    lines = []
    for title, tables in (
        ("closing an epoch", [size.epochs for size in sizes]),
        ("transaction", [size.transactions for size in sizes]),
    ):
        lines.append(f"\n{title:<34}" + "".join(f"{size.name:>14}" for size in sizes))
        lines += [
            f"{name:<34}" + "".join(f"{shown(table.get(name)):>14}" for table in tables) for name in names_of([*tables])
        ]
    lines.append(f"\n{'other transactions':<34}")
    lines += [f"{name:<34}{gas:>14,}" for name, gas in others.items()]
    name, gas = largest(sizes, others)
    lines.append(f"\nlargest: {name}, {gas:,} gas, {gas / LIMIT:.0%} of 2**24")
    return lines


def shown(gas: int | None) -> str:
    """With thousands, or a dash."""
    return "-" if gas is None else f"{gas:,}"


def dollars(gas: int, gwei: float, eth_usd: float) -> str:
    """What so much gas costs."""
    cost = gas * gwei * 1e-9 * eth_usd
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"


def build_page(sizes: list[Size], others: Gas, eth_usd: float) -> str:
    """docs/reference/gas.md."""
    name, most = largest(sizes, others)
    prices = " | ".join(f"at {gwei:g} gwei" for gwei in GWEI)
    lines = [
        "# Gas",
        "",
        "Generated by `python benchmarks/gas.py --docs`: counted on an EVM in process under Prague's rules, exact, whatever the machine.",
        "A size is validators x columns; 255 miners and the unspent column make 256.",
        "`first` writes where nothing stood before, `steady` is the same thing in a later epoch.",
        f"Dollars are at ${eth_usd:,.0f} for an ether (`--eth-usd`) and at three gas prices, without what a rollup charges for data:",
        "[scale](../explanation/scale.md) has the bytes.",
        "",
        f"The largest transaction is to {name}: {most:,} gas, {most / LIMIT:.0%} of the {LIMIT:,} that EIP-7825 allows."
        if most <= LIMIT
        else f"TOO LARGE for EIP-7825: {name}, {most:,} gas.",
        "",
        "## Closing an epoch",
        "",
        "All transactions of one closing together.",
        "",
        f"| market | closing | gas | {prices} |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for size in sizes:
        for kind, gas in size.epochs.items():
            costs = " | ".join(dollars(gas, gwei, eth_usd) for gwei in GWEI)
            lines.append(f"| {size.name} | {kind} | {gas:,} | {costs} |")
    lines += [
        "",
        "## What people do in a market",
        "",
        "| transaction | "
        + " | ".join(size.name for size in sizes)
        + f" | the dearest {prices.replace(' | ', ' | the dearest ')} |",
        "|---|" + "---:|" * (len(sizes) + len(GWEI)),
    ]
    for name in names_of([size.transactions for size in sizes]):
        row = [size.transactions.get(name) for size in sizes]
        costs = " | ".join(dollars(max(gas or 0 for gas in row), gwei, eth_usd) for gwei in GWEI)
        lines.append(f"| {name} | " + " | ".join(shown(gas) for gas in row) + f" | {costs} |")
    lines += [
        "",
        "## The dearest payout, and payment channels",
        "",
        f"| transaction | gas | {prices} |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, gas in others.items():
        lines.append(f"| {name} | {gas:,} | " + " | ".join(dollars(gas, gwei, eth_usd) for gwei in GWEI) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
