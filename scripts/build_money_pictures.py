"""Play a small market on the embedded chain and draw where its money went, into docs/images.

Usage: scripts/build_money_pictures.py [--out DIR]

Nothing in the pictures is made up: every amount is read from the contracts' events, and what comes in is asserted to be
what goes out, in base units. Keys are fixed, so the play comes out the same each time but for the seconds in which the
auction's price falls.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.money_drawing import Bar, Lane, Link, Node, draw_bars, draw_flows

from tercet.chain import (
    Event,
    Key,
    Ledger,
    MarketContract,
    MarketParams,
    PastEpoch,
    Rpc,
    Sender,
    build_commit_digest,
    close_epoch,
    deploy,
    live_awards,
    recompute_epochs,
    sign_voucher,
)
from tercet.chain.devnet import serve
from tercet.client import Client
from tercet.market import ChannelConfig
from tercet.market.epoch import FULL, pack_row

IMAGES = Path(__file__).resolve().parents[1] / "docs/images"
COMMIT, REVEAL, PERIOD = 2_400, 1_200, 7_200
TCT, DOLLAR = 10**18, 10**6
EPOCHS = 12
QUALITY: Mapping[int, Sequence[int]] = {5: (52, 0, 12), 9: (0, 0, 0)}
"""Hundredths of all weight that the validators give the miners; the rest is unspent. Epoch 9: nobody reveals."""
USUAL = (46, 30, 14)
WORK = (900, 560, 240)
"""Dollars of work that each miner sells in an epoch, about."""
ROLES = ("bank", "large sponsor", "small sponsor", "buyer", "bidder", "saver")


def key_of(name: str) -> Key:
    """The same each time."""
    return Key(name.encode().ljust(32, b"\1")[:32])


@dataclass
class Play:
    """The market and everybody in it."""

    rpc: Rpc
    ledger: Ledger
    market: MarketContract
    bank: Sender
    miners: list[Sender] = field(default_factory=list)
    judges: list[Sender] = field(default_factory=list)
    sold: dict[str, int] = field(default_factory=dict)
    """By miner: dollars of work that its vouchers cover, in all."""
    channels: dict[str, tuple[ChannelConfig, bytes]] = field(default_factory=dict)

    def who(self, name: str) -> Sender:
        """One of the roles."""
        return Sender(self.rpc, key_of(name))

    async def pass_time(self, seconds: int) -> None:
        """Wind the chain's clock."""
        await self.rpc.call("evm_increaseTime", hex(seconds))
        await self.rpc.call("evm_mine")

    async def fund(self, name: str, *, stake: int = 0, credit: int = 0) -> Sender:
        """A new actor with coin for gas."""
        actor = self.who(name)
        await self.bank.send(actor.address, value=10**19)
        if stake:
            await self.ledger.token.transfer(self.bank, actor.address, stake)
        if credit:
            await self.ledger.credit.mint(self.bank, actor.address, credit)
        return actor

    async def set_up(self) -> None:
        """Three miners with a channel each, three validators, a saver behind the second, two sponsors, a bidder."""
        ledger, market = self.ledger, self.market
        buyer = await self.fund("buyer", credit=10**6 * DOLLAR)
        await ledger.credit.approve(buyer, ledger.escrow.address)
        for uid in (1, 2, 3):
            miner = await self.fund(f"miner {uid}", stake=100 * TCT)
            await ledger.token.approve(miner, market.address)
            await market.register_miner(miner, miner.address, f"http://127.0.0.1:{8090 + uid}", 100 * TCT)
            await ledger.escrow.declare_market(miner, market.address)
            ends = buyer.address, buyer.address, miner.address, miner.address
            config = ChannelConfig(*ends, ledger.credit.address, 60, bytes([uid]) * 32)
            self.channels[miner.address] = config, await ledger.escrow.open(buyer, config, 100_000 * DOLLAR)
            self.miners.append(miner)
        stakes = await market.stakes()
        for vid, stake in enumerate((500, 300, 200)):
            judge = await self.fund(f"judge {vid}", stake=1_000 * TCT)
            await ledger.token.approve(judge, stakes.address)
            await market.register_validator(judge, judge.address, stake * TCT, 1_000)
            self.judges.append(judge)
        saver = await self.fund("saver", stake=1_000 * TCT)
        await Client(ledger).stake(saver, market, (await market.validators())[1].pool, 250 * TCT)
        for name, budget in (("large sponsor", 1_000), ("small sponsor", 400)):
            sponsor = await self.fund(name, credit=budget * EPOCHS * DOLLAR)
            await Client(ledger).sponsor(sponsor, market, budget * EPOCHS * DOLLAR, EPOCHS)
        bidder = await self.fund("bidder", stake=100_000 * TCT)
        await ledger.token.approve(bidder, ledger.fees.address)

    async def sell_work(self, epoch: int) -> None:
        """Each miner redeems what it sold since the last epoch."""
        for place, miner in enumerate(self.miners):
            sold = WORK[place] * DOLLAR + (epoch * 37 + place * 11) % 97 * DOLLAR + (epoch + place) * 1_234
            self.sold[miner.address] = total = self.sold.get(miner.address, 0) + sold
            config, channel = self.channels[miner.address]
            voucher = sign_voucher(self.ledger.deployment.domain, key_of("buyer"), channel, total)
            await self.ledger.escrow.redeem(miner, config, total, voucher)

    async def bring_in(self) -> None:
        """What a validator does once an epoch: its market's part of fees, and emission that fell due."""
        ledger, address, judge = self.ledger, self.market.address, self.judges[0]
        if await ledger.fees.pending(address):
            await ledger.fees.forward(judge, address)
        for period, award in (await live_awards(ledger.emission, address)).items():
            if award.due:
                await ledger.emission.collect(judge, address, period)

    async def buy_fees(self, limit: float, *, patient: bool) -> None:
        """The bidder takes the lot when a dollar costs `limit` tokens or less; a patient one waits for that."""
        fees, credit, bidder = self.ledger.fees, self.ledger.credit.address, self.who("bidder")
        while True:
            sale = await fees.sale(credit, self.market.address)
            if sale.amount and sale.price / TCT <= limit * sale.amount / DOLLAR:
                await fees.buy(bidder, credit, self.market.address, min_amount=sale.amount, max_burn=sale.price)
                return
            if not patient:
                return
            await self.pass_time(REVEAL)

    async def vote(self, epoch: int) -> None:
        """All judges commit and reveal nearly the same; in one epoch they commit and stay silent."""
        shares, as_of = QUALITY.get(epoch, USUAL), (await self.market.status()).generation
        rows = []
        for place, judge in enumerate(self.judges):
            weights = [FULL * share // 100 - (place * 300 if share else 0) for share in shares]
            rows.append(tuple(pack_row([FULL - sum(weights), *weights])))
            digest = build_commit_digest(
                await self.rpc.chain_id(),
                self.market.address,
                epoch,
                judge.address,
                bytes([place]) * 32,
                as_of,
                rows[-1],
            )
            await self.market.commit(judge, digest)
        await self.pass_time(COMMIT)
        if any(shares):
            for place, judge in enumerate(self.judges):
                await self.market.reveal(judge, as_of, bytes([place]) * 32, rows[place])
        await self.pass_time(REVEAL)

    async def run(self) -> None:
        """Epoch 0 lasts until somebody pays a sane price for the first fees; then the market goes its way."""
        await self.sell_work(0)
        await self.buy_fees(1.0, patient=True)
        await self.pass_time(COMMIT + REVEAL)
        await close_epoch(self.market, self.judges[0])
        for epoch in range(1, EPOCHS):
            await self.bring_in()
            await self.sell_work(epoch)
            await self.buy_fees(1.4, patient=False)
            await self.vote(epoch)
            await close_epoch(self.market, self.judges[epoch % 3])


@dataclass(frozen=True)
class Flows:
    """All that moved in one epoch, base units. The first group is credit, the second TCT."""

    number: int
    work: int
    fee: int
    forwarded: int
    """Of the fees of this epoch's work: waits for the market."""
    sponsors: int
    fees_in: int
    """Of earlier fees, in this epoch's reward."""
    miners: Mapping[int, int]
    validators: int
    delegators: int
    pokes: int
    refunded: int
    carried: int
    rounding: int
    """Left in the stakes contract by dividing among delegators."""
    sold: int
    burned: int
    emission: int
    emission_miners: int
    emission_validators: int
    emission_delegators: int
    emission_burned: int

    @property
    def reward(self) -> int:
        """What the epoch had to pay."""
        return self.sponsors + self.fees_in

    def check(self) -> None:
        """What comes in goes out."""
        out = sum(self.miners.values()) + self.validators + self.delegators + self.rounding
        assert self.reward == out + self.pokes + self.refunded + self.carried, self
        parts = self.emission_miners, self.emission_validators, self.emission_delegators, self.emission_burned
        assert self.emission == sum(parts), self


async def read_flows(play: Play) -> list[Flows]:
    """Every epoch that was closed, from events."""
    ledger, client = play.ledger, Client(play.ledger)
    outside = [event async for event in client.events([ledger.escrow, ledger.fees])]
    grants = [e.fields async for e in client.events([await play.market.treasury()], names=["Sponsored"])]
    given = [e.fields async for e in client.events([await play.market.treasury()], names=["Funded"])]
    found, begun, carried = [], 0, 0
    async for past in recompute_epochs(play.market, ledger.deployment.block):
        assert past.exact
        closed = past.events[-1].block
        sponsors = sum(g["rate"] for g in grants if g["first_epoch"] <= past.number < g["end_epoch"])
        epoch = _read_epoch(play, past, [event for event in outside if begun < event.block <= closed], sponsors)
        assert epoch.fees_in == carried + sum(gift["amount"] for gift in given if gift["epoch"] == past.number)
        found.append(epoch)
        begun, carried = closed, epoch.carried
    for flows in found:
        flows.check()
    return found


def _read_epoch(play: Play, past: PastEpoch, outside: Sequence[Event], sponsors: int) -> Flows:
    names: Counter[str] = Counter()
    for event in outside:
        names["work"] += event.fields["amount"] if event.name == "Redeemed" else 0
        names["fee"] += event.fields["fee"] if event.name == "Redeemed" else 0
        names["forwarded"] += event.fields["forwarded"] if event.name == "FeeTaken" else 0
        names["sold"] += event.fields["amount"] if event.name == "LotSold" else 0
        names["burned"] += event.fields["burned"] if event.name == "LotSold" else 0
    (paid,) = [event.fields for event in past.events if event.name == "EpochPaid"]
    emission = next((event.fields for event in past.events if event.name == "EmissionPaid"), None)
    credit, token = play.ledger.credit.address, play.ledger.token.address
    owners = {owner for owner, _ in past.validators.values()}
    miners: dict[int, int] = {}
    emission_miners = 0
    for event in past.events:
        if event.name == "MinerRewarded" and event.fields["token"] == credit:
            miners[event.fields["uid"]] = event.fields["amount"]
        elif event.name == "MinerRewarded" and event.fields["token"] == token:
            emission_miners += event.fields["amount"]
    own, others = (
        [sum(pair[kind] for (_, who), pair in past.dividends.items() if (who in owners) is mine) for kind in (0, 1)]
        for mine in (True, False)
    )
    minted = emission["emission"] if emission else 0
    to_stake = emission["to_validators"] if emission else 0
    return Flows(
        number=past.number,
        work=names["work"],
        fee=names["fee"],
        forwarded=names["forwarded"],
        sponsors=sponsors,
        fees_in=paid["reward"] - sponsors,
        miners=miners,
        validators=own[0],
        delegators=others[0],
        pokes=paid["pokes"],
        refunded=paid["refunded"],
        carried=paid["carried"],
        rounding=paid["reward"]
        - sum(miners.values())
        - own[0]
        - others[0]
        - paid["pokes"]
        - paid["refunded"]
        - paid["carried"],
        sold=names["sold"],
        burned=names["burned"],
        emission=minted,
        emission_miners=emission_miners,
        emission_validators=to_stake - others[1],
        emission_delegators=others[1],
        emission_burned=emission["burned"] if emission else 0,
    )


async def play_market(folder: Path) -> list[Flows]:
    """The whole play; what moved in each epoch."""
    async with serve(folder, time_travel=True) as server, Rpc(server.url) as rpc:
        faucet = Sender(rpc, Key.from_hex((folder / "faucet.key").read_text()))
        bank = Sender(rpc, key_of("bank"))
        await faucet.send(bank.address, value=10**21)
        ledger = Ledger(rpc, await deploy(bank, period_seconds=PERIOD))
        await ledger.token.approve(bank, ledger.registry.address)
        rules = MarketParams(
            "echo", commit_seconds=COMMIT, reveal_seconds=REVEAL, weight_cap_bps=4_000, audit_share_bps=0
        )
        market = ledger.market(await ledger.registry.open_market(bank, ledger.credit.address, "small", rules))
        play = Play(rpc, ledger, market, bank)
        await play.set_up()
        await play.run()
        return await read_flows(play)


# --- Pictures ---

BLUE, TEAL, MINT, AMBER, SLATE, MIST, RUST, VIOLET = (
    *("#2f6fb7", "#12908a", "#74c6b0", "#e0a020"),
    *("#7c8b99", "#b9c4cd", "#c8532d", "#7a5bb5"),
)


def dollars(units: int) -> str:
    """To the last digit."""
    return f"{units // DOLLAR:,}.{units % DOLLAR:06d}"


def tokens(units: int) -> str:
    """To the last digit."""
    return f"{units // TCT:,}.{units % TCT:018d}"


def choose_epoch(epochs: Sequence[Flows]) -> Flows:
    """One in which everything happens, and nothing is left to explain by rounding."""
    full = [e for e in epochs if e.sold and e.emission and not e.rounding and e.number not in QUALITY]
    assert full, [(e.number, e.sold, e.emission, e.rounding) for e in epochs]
    return full[0]


def build_flows(epoch: Flows) -> str:
    """What moved in one epoch."""
    miners = sum(epoch.miners.values())
    net, for_sale = epoch.work - epoch.fee, epoch.fee - epoch.forwarded
    credit = Lane(
        "CREDIT",
        [
            Node("buyers", 0, "Buyers", dollars(epoch.work), BLUE),
            Node("sponsors", 0, "Sponsors", dollars(epoch.sponsors), VIOLET),
            Node("earlier", 0, "Fees of earlier work", dollars(epoch.fees_in), AMBER),
            Node("work", 1, "Vouchers redeemed", dollars(epoch.work), BLUE),
            Node("reward", 1, "Reward of the epoch", dollars(epoch.reward), VIOLET),
            Node("market", 2, "Fees for the market", dollars(epoch.forwarded), AMBER, ("in a later epoch's reward",)),
            Node("sale", 2, "Fees for sale", dollars(for_sale), RUST, ("to whoever burns TCT for them",)),
            Node(
                "miners",
                2,
                "Miners",
                dollars(net + miners),
                BLUE,
                (f"{dollars(net)} for work", f"{dollars(miners)} for quality"),
            ),
            Node("validators", 2, "Validators", dollars(epoch.validators), TEAL),
            Node("delegators", 2, "Delegators", dollars(epoch.delegators), MINT),
            Node("pokes", 2, "Whoever closed the epoch", dollars(epoch.pokes), SLATE),
            Node("back", 2, "Back to sponsors", dollars(epoch.refunded), VIOLET, ("pay that nobody earned",)),
            Node("next", 2, "Into the next epoch", dollars(epoch.carried), AMBER, ("the same part of the fees",)),
        ],
        [
            Link("buyers", "work", epoch.work),
            Link("sponsors", "reward", epoch.sponsors),
            Link("earlier", "reward", epoch.fees_in),
            Link("work", "market", epoch.forwarded),
            Link("work", "sale", for_sale),
            Link("work", "miners", net),
            Link("reward", "miners", miners),
            Link("reward", "validators", epoch.validators),
            Link("reward", "delegators", epoch.delegators),
            Link("reward", "pokes", epoch.pokes),
            Link("reward", "back", epoch.refunded),
            Link("reward", "next", epoch.carried),
        ],
        330,
    )
    token = Lane(
        "TCT, THE STAKE TOKEN",
        [
            Node("bidder", 0, "Who bought fees", tokens(epoch.burned), RUST),
            Node("minted", 0, "Emission", tokens(epoch.emission), TEAL),
            Node("auction", 1, f"{dollars(epoch.sold)} credit, for", tokens(epoch.burned), RUST),
            Node("pot", 1, "Emission of the epoch", tokens(epoch.emission), TEAL),
            Node(
                "burned",
                2,
                "Burned",
                tokens(epoch.burned + epoch.emission_burned),
                RUST,
                (f"{tokens(epoch.burned)} for fees", f"{tokens(epoch.emission_burned)} that nobody earned"),
            ),
            Node("miners", 2, "Miners", tokens(epoch.emission_miners), BLUE),
            Node("validators", 2, "Validators", tokens(epoch.emission_validators), TEAL),
            Node("delegators", 2, "Delegators", tokens(epoch.emission_delegators), MINT),
        ],
        [
            Link("bidder", "auction", epoch.burned),
            Link("minted", "pot", epoch.emission),
            Link("auction", "burned", epoch.burned),
            Link("pot", "burned", epoch.emission_burned),
            Link("pot", "miners", epoch.emission_miners),
            Link("pot", "validators", epoch.emission_validators),
            Link("pot", "delegators", epoch.emission_delegators),
        ],
        150,
    )
    title = f"Where the money of one epoch went (epoch {epoch.number})"
    words = "Credit flows from buyers, sponsors and earlier fees to miners, validators and others; TCT is burned for fees, and emitted."
    return draw_flows(
        title,
        words,
        [credit, token],
        [
            "Widths are amounts, one scale for each token. Each amount is what the contracts said; each column adds up to the last digit."
        ],
    )


SERIES = {
    "miners": BLUE,
    "validators": TEAL,
    "delegators": MINT,
    "closing": AMBER,
    "back to sponsors": VIOLET,
    "next epoch": MIST,
    "burned": RUST,
}


def build_bars(epochs: Sequence[Flows]) -> str:
    """Epoch by epoch."""
    rewards, emissions, burns = [], [], []
    for e in epochs:
        in_credit = {
            "miners": sum(e.miners.values()),
            "validators": e.validators + e.rounding,
            "delegators": e.delegators,
            "closing": e.pokes,
            "back to sponsors": e.refunded,
            "next epoch": e.carried,
        }
        in_token = {
            "miners": e.emission_miners,
            "validators": e.emission_validators,
            "delegators": e.emission_delegators,
            "burned": e.emission_burned,
        }
        label = f"epoch {e.number}"
        rewards.append(_bar(label, in_credit, DOLLAR, dollars))
        emissions.append(_bar(label, in_token, TCT, tokens))
        burns.append(_bar(label, {"burned": e.burned}, TCT, tokens))
    panels = [
        ("THE REWARD OF EACH EPOCH, CREDIT", 210, rewards),
        ("BURNED FOR FEES OF THE MARKET, TCT", 96, burns),
        ("EMISSION OF EACH EPOCH, TCT", 140, emissions),
    ]
    notes = [
        "In epoch 5 a miner was away, and its part went back. In epoch 9 nobody revealed: nobody earned but who closed it, and the emission was burned.",
        "What is burned in a period, here two epochs long, brings up to half of it as emission in the next. Exact amounts: in each bar's tooltip.",
    ]
    return draw_bars(
        "What each epoch paid", "Stacked bars of reward, burned TCT and emission by epoch.", panels, SERIES, notes
    )


def _bar(label: str, parts: Mapping[str, int], unit: int, write: Callable[[int], str]) -> Bar:
    total = sum(parts.values())
    shown = f"{total / unit:,.2f}" if total else ""
    return Bar(label, [(name, units / unit, write(units)) for name, units in parts.items()], shown)


def main() -> None:
    """Play, and write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder (default: docs/images)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        epochs = asyncio.run(play_market(Path(folder)))
    (options.out / "money-flows.svg").write_text(build_flows(choose_epoch(epochs)))
    (options.out / "money-epochs.svg").write_text(build_bars(epochs[1:]))


if __name__ == "__main__":
    main()
