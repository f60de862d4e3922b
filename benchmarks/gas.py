"""Count the gas of the contracts on an EVM in process: exact, whatever the machine.

python benchmarks/gas.py             tables; the full market takes some minutes
python benchmarks/gas.py --small     without the full market
python benchmarks/gas.py --json      one JSON object
python benchmarks/gas.py --docs      write docs/reference/gas.md, with dollars at --eth-usd
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eth_account import Account
from eth_account.messages import encode_typed_data
from tests.chain.contracts.arena import CREDIT, FOREVER, TCT, ZERO, Arena, Member, Params
from tests.chain.contracts.evm import Contract
from tests.chain.contracts.test_audited_market import AuditedArena

from tercet.chain import Key, Rpc, Sender, deploy
from tercet.chain.devnet import serve
from tercet.market.epoch import FULL

SIZES = ((4, 8), (16, 64), (64, 255))
"""Validators and miners. 255 miners and the unspent column make 256 columns."""
PAGES_AT_ONCE = 4
LIMIT = 2**24
"""EIP-7825: the most gas of one transaction."""
GWEI = (0.01, 0.1, 1.0)
"""Gas prices that the page gives dollars for."""
AUDITS = "0x" + "a5" * 20
"""Who decides over held rewards in the audited markets here, in place of the contract."""
ENDPOINT = "http://203.0.113.7:8091"
PAGE = Path(__file__).resolve().parents[1] / "docs/reference/gas.md"
TESTNET = PAGE.parents[1] / "how-to/deploy-to-a-testnet.md"
COSTS = "<!-- costs: written by `python benchmarks/gas.py --docs` -->", "<!-- end of costs -->"

Gas = dict[str, int]
Others = dict[str, Gas]
"""By title: transactions that do not depend on a market's size."""


@dataclass
class Size:
    """One market's gas."""

    validators: int
    miners: int
    audited: bool = False
    """Whether a part of the validators' pay waits for an audit, as in a new market."""
    epochs: dict[str, int] = field(default_factory=dict)
    """Closing an epoch: the first, a steady one, one in a single transaction."""
    transactions: Gas = field(default_factory=dict)
    """By what it does, in the order of a market's life."""

    @property
    def name(self) -> str:
        """Validators x columns where all columns are taken, else validators x miners."""
        return f"{self.validators}x{self.miners + (self.miners == 255)}{', audited' * self.audited}"


def main() -> None:
    """Print the gas, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--small", action="store_true", help="leave the 64 x 256 market out")
    parser.add_argument("--docs", action="store_true", help="write docs/reference/gas.md")
    parser.add_argument("--eth-usd", type=float, default=3_000.0, help="price of an ether for --docs (default: 3000)")
    options = parser.parse_args()
    sizes = [measure_market(*size) for size in (SIZES[:2] if options.small else SIZES)]
    audited = [measure_market(*size, audited=True) for size in (SIZES[:1] if options.small else SIZES)]
    others = {"deployment": measure_deployment()}
    others |= {"payment channels": measure_escrow(), "held jobs, five validators": measure_jobs()}
    others |= {"fees and emission": measure_fees(), "audits, 5 validators": measure_audits(5)}
    if not options.small:
        others = {"the dearest payout": measure_dearest()} | others | {"audits, 64 validators": measure_audits(64)}
    if options.json:
        epochs = {size.name: size.epochs for size in [*sizes, *audited]}
        transactions = {size.name: size.transactions for size in sizes}
        print(json.dumps({"benchmark": "gas", "epochs": epochs, "transactions": transactions, "others": others}))
    elif options.docs:
        PAGE.write_text(build_page(sizes, audited, others, options.eth_usd))
        before, rest = TESTNET.read_text().split(COSTS[0])
        TESTNET.write_text(before + "\n".join([COSTS[0], *build_costs(sizes[0], others), rest[rest.index(COSTS[1]) :]]))
    else:
        print("\n".join(build_tables(sizes, audited, others)))


# --- What is measured ---


def measure_market(validators: int, miners: int, *, audited: bool = False) -> Size:
    """A market of a size from its opening to its owner's farewell; an audited one up to its epochs, audited in time."""
    size = Size(validators, miners, audited)
    gas = size.transactions
    share, audits = (3_000, AUDITS) if audited else (0, ZERO)
    params = Params(commit_seconds=10_000, reveal_seconds=10_000, max_miners=miners, audit_share_bps=share)
    arena = Arena(params, audits=audits)
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
        if audited:
            settle_audit(arena)
        hints = arena.last.hints if arena.last else ()
        size.epochs["in one transaction"] = arena.market.send(arena.opener, "close_epoch", hints).gas
    if audited:
        return size
    measure_moves(arena, gas, pool=pool, staker=owner, sponsor=sponsor)
    gas["wind down"] = arena.market.send(arena.opener, "wind_down").gas
    return size


def measure_epoch(arena: Arena, size: Size, kind: str) -> None:
    """Commit, reveal and close once; the smallest sizes of everything are those of its last participant."""
    gas = size.transactions
    steps = vote(arena, size.miners + 1, 0 if kind == "first" else 1)
    gas |= {f"{name}, {kind}": spent for name, spent in steps.items()}
    if size.audited:
        settle_audit(arena)
    apart = size.validators * size.miners > 10_000
    _, receipts = arena.close(pages_at_once=PAGES_AT_ONCE, poker=arena.opener, pay_apart=apart)
    pages = receipts[1 : -2 if apart else -1]
    gas[f"begin the closing, {kind}"] = receipts[0].gas
    gas[f"settle up to {PAGES_AT_ONCE} pages, {kind}"] = max(receipt.gas for receipt in pages)
    if apart:
        gas[f"pay the miners, {kind}"] = receipts[-2].gas
    gas[f"finish the closing, {kind}"] = receipts[-1].gas
    size.epochs[kind] = sum(receipt.gas for receipt in receipts)


def settle_audit(arena: Arena) -> None:
    """What was held two epochs ago is released, as an audit does in time; nobody's gas of a closing."""
    audited = arena.epoch - 2
    for seat in arena.validators.values():
        if audited >= 0 and any(arena.stakes.call("get_held", seat.pool, audited)):
            arena.stakes.send(AUDITS, "release", seat.pool, audited)


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
    for _ in range(arena.params.unbonding_epochs):
        arena.skip_epoch()
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
    arena = Arena(params, audits=AUDITS)
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


def measure_deployment() -> Gas:
    """Gas of putting all fourteen contracts on a chain, and telling them of each other: seventeen transactions."""

    async def play(folder: Path) -> int:
        async with serve(folder) as server, Rpc(server.url) as rpc:
            faucet = Sender(rpc, Key.from_hex((folder / "faucet.key").read_text()))
            await deploy(faucet)
            head = (await rpc.head()).number
            blocks = [await rpc.call("eth_getBlockByNumber", hex(number), False) for number in range(1, head + 1)]
        return sum(int(block["gasUsed"], 16) for block in blocks)

    with tempfile.TemporaryDirectory() as folder:
        return {"put all contracts on a chain": asyncio.run(play(Path(folder)))}


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


@dataclass
class Network:
    """A market of five validators with the contracts that jobs and fees go through, all of them real."""

    there: AuditedArena = field(default_factory=AuditedArena)
    fees: Contract = field(init=False)
    jobs: Contract = field(init=False)
    buyer: str = field(init=False)
    worker: str = field(init=False)

    def __post_init__(self) -> None:
        arena = self.there.arena
        ledger, bank = arena.ledger, arena.bank
        terms = 5_000, 3_600, TCT, 604_800
        self.fees = ledger.deploy("Fees", arena.token.address, arena.registry.address, *terms, sender=bank)
        escrow = ledger.deploy("Escrow", 60, 100, self.fees.address, bank)
        self.jobs = ledger.deploy("Jobs", escrow.address, arena.registry.address, 60)
        self.fees.send(bank, "set_sources", escrow.address, self.jobs.address)
        self.there.play()  # the validators have weight from their first closing on
        self.buyer, self.worker = ledger.account("buyer"), ledger.account("worker")
        arena.give_credit(self.buyer, 10**12, self.jobs)
        arena.give_credit(self.worker, 1)

    def job(self, salt: int) -> tuple[Any, ...]:
        """Terms: 1,000 credits in the market."""
        arena = self.there.arena
        ends = self.buyer, self.worker, arena.market.address, arena.credit.address
        return (*ends, 1_000 * CREDIT, b"w" * 32, arena.ledger.now + 86_400, 3_600, 7_200, bytes([salt]) * 32)

    def sell_work(self, salt: int) -> Gas:
        """A job that is delivered and accepted."""
        job, jobs = self.job(salt), self.jobs
        return {
            "fund": jobs.send(self.buyer, "fund", job).gas,
            "deliver": jobs.send(self.worker, "deliver", job, b"r" * 32).gas,
            "release": jobs.send(self.buyer, "release", job, 1_000 * CREDIT).gas,
        }


def measure_jobs() -> Gas:
    """Gas of a held job: accepted, disputed and judged by three of five validators, refunded."""
    town = Network()
    jobs, ledger = town.jobs, town.there.arena.ledger
    gas = {f"{name}, first": spent for name, spent in town.sell_work(1).items()}
    gas |= {f"{name}, steady": spent for name, spent in town.sell_work(2).items()}
    job = town.job(3)
    jobs.send(town.buyer, "fund", job)
    jobs.send(town.worker, "deliver", job, b"r" * 32)
    gas["dispute"] = jobs.send(town.buyer, "dispute", job).gas
    for juror in town.there.jurors[:3]:
        gas["verdict"] = jobs.send(juror.operator, "vote", job, 5_000).gas
    ledger.now += 7_201
    gas["settle, 3 verdicts"] = jobs.send(town.worker, "settle", job).gas
    job = town.job(4)
    jobs.send(town.buyer, "fund", job)
    gas["refund"] = jobs.send(town.worker, "refund", job).gas
    return gas


def measure_fees() -> Gas:
    """Gas of what happens to a fee, and of an award from the burn to the market."""
    town = Network()
    arena, fees = town.there.arena, town.fees
    ledger, market = arena.ledger, arena.market.address
    bidder, gas = ledger.account("bidder"), {}
    arena.give_stake_token(bidder, 1_000_000 * TCT, fees)
    arena.give_credit(bidder, 1)
    for round_, kind in enumerate(("first", "steady"), 1):
        town.sell_work(round_)
        gas[f"forward fees, {kind}"] = fees.send(bidder, "forward", market).gas
        ledger.now += 80 * 3_600  # the first price is beyond what anybody would pay
        gas[f"buy fees, {kind}"] = fees.send(bidder, "buy", arena.credit.address, market, 0, FOREVER).gas
    gas["burn for a market"] = fees.send(bidder, "burn_for", market, 100 * TCT).gas
    allocator = ledger.deploy("Allocator", fees.address, 5_000)
    schedule = 10**6 * TCT, 5 * 10**15, 5_000, 8
    emission = ledger.deploy("Emission", fees.address, allocator.address, arena.bank, *schedule)
    arena.token.send(arena.bank, "set_minter", emission.address)
    period = fees.call("period")
    for share, kind in ((2, "first"), (3, "steady")):
        ledger.now = fees.call("start") + (period + 2) * 604_800 - 604_800 // share
        gas[f"collect emission, {kind}"] = emission.send(bidder, "collect", market, period).gas
    return gas


def measure_audits(validators: int) -> Gas:
    """Gas of a round in which everybody attests and one is accused, without a majority."""
    there = AuditedArena(validators)
    epoch, bank, market = there.play(), there.arena.bank, there.market.address
    gas = {"open a round": there.audits.send(bank, "open_round", market).gas}
    accused = there.jurors[-1]
    gas["accuse"] = there.accuse(there.jurors[0], accused, epoch).gas
    vote = there.audits.send(there.jurors[1].operator, "vote", market, epoch, accused.slot, 0, False)
    gas["vote"] = vote.gas
    gas["attest"] = max(there.attest(juror, epoch, range(validators)).gas for juror in there.jurors)
    there.play()
    there.play()
    gas["rule on an accusation"] = there.audits.send(bank, "resolve", market, epoch, accused.slot, 0).gas
    gas["settle the round"] = there.audits.send(bank, "settle", market, epoch, 2**64 - 1).gas
    return gas


# --- How it is shown ---


def largest(sizes: list[Size], others: Others) -> tuple[str, int]:
    """The dearest transaction of all."""
    found = [(f"{name} ({size.name})", gas) for size in sizes for name, gas in size.transactions.items()]
    found += [
        (f"close the epoch in one transaction ({size.name})", size.epochs.get("in one transaction", 0))
        for size in sizes
    ]
    found += [
        (f"{name} ({title})", gas)
        for title, table in others.items()
        for name, gas in table.items()
        if title != "deployment"  # many transactions
    ]
    return max(found, key=lambda item: item[1])


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


def build_tables(sizes: list[Size], audited: list[Size], others: Others) -> list[str]:
    """Plain text."""
    lines = []
    for title, tables in (
        ("closing an epoch", [size.epochs for size in sizes]),
        ("closing, with audits", [size.epochs for size in audited]),
        ("transaction", [size.transactions for size in sizes]),
    ):
        lines.append(f"\n{title:<34}" + "".join(f"{size.name:>14}" for size in sizes))
        lines += [
            f"{name:<34}" + "".join(f"{shown(table.get(name)):>14}" for table in tables) for name in names_of([*tables])
        ]
    for title, gases in others.items():
        lines.append(f"\n{title:<34}")
        lines += [f"{name:<34}{gas:>14,}" for name, gas in gases.items()]
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


def build_costs(size: Size, others: Others) -> list[str]:
    """A table of what a small market costs from its first contract to its tenth epoch, in the chain's coin."""
    gas = size.transactions
    vote = gas["commit, steady"] + gas["reveal, steady"]
    rows = {
        "all contracts": others["deployment"]["put all contracts on a chain"],
        "open a market": gas["open a market"],
        "a miner, a validator, a sponsor": gas["register a miner"] + gas["register a validator"] + gas["sponsor"],
        "the judge's channel with a miner": others["payment channels"]["open a channel"],
        f"ten epochs, {size.validators} validators and {size.miners} miners": 10
        * (size.epochs["in one transaction"] + size.validators * vote),
    }
    rows["together"] = sum(rows.values())
    lines = ["| what | gas | " + " | ".join(f"at {gwei:g} gwei" for gwei in GWEI) + " |", "|---|---:|---:|---:|---:|"]
    for name, spent in rows.items():
        lines.append(f"| {name} | {spent:,} | " + " | ".join(f"{spent * gwei * 1e-9:.6f}" for gwei in GWEI) + " |")
    return lines


def build_page(sizes: list[Size], audited: list[Size], others: Others, eth_usd: float) -> str:
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
        "All transactions of one closing together. In an audited market, which a new one is, a part of what each validator earns is written down until its audit, which comes in time.",
        "",
        f"| market | closing | gas | {prices} |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for size in [*sizes, *audited]:
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
    for title, table in others.items():
        lines += [
            "",
            f"## {title[0].upper()}{title[1:]}",
            "",
            f"| transaction | gas | {prices} |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, gas in table.items():
            lines.append(f"| {name} | {gas:,} | " + " | ".join(dollars(gas, gwei, eth_usd) for gwei in GWEI) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
