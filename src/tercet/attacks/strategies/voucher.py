"""Payment channels: spending a deposit twice, promising more than is there, taking it back, cashing a promise twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple

from tercet.attacks.arena import Arena, Party
from tercet.attacks.lab import TCT, Attack, Lab, Trial
from tercet.chain.keys import NOBODY, Key
from tercet.chain.voucher import EscrowDomain, channel_id, recover_voucher, sign_voucher
from tercet.market import ChannelConfig, Voucher

PRICE = TCT
WORTH = 3 * TCT // 2
"""Of one answer to its buyer."""
COST = TCT // 2
"""Of one answer to its miner."""
ASKING = TCT // 1_000
"""What each request costs its sender, answered or not."""
DEPOSIT = 10 * PRICE
NOTICE = 3_600


class Channel:
    """One buyer's channel with one miner, from both sides."""

    def __init__(self, arena: Arena, buyer: Buyer, miner: Worker, salt: int = 0) -> None:
        self.arena, self.buyer, self.miner = arena, buyer, miner
        me = buyer.key.address
        word = salt.to_bytes(32, "big")
        self.config = ChannelConfig(me, me, miner.address, NOBODY, arena.token.address, NOTICE, word)
        self.domain = EscrowDomain(arena.sandbox.chain_id, arena.escrow.address)
        self.id = channel_id(self.domain, self.config)

    def open(self, amount: int) -> None:
        """Pay the deposit in."""
        self.arena.escrow.write(self.buyer.key.address, "open", astuple(self.config), amount)

    def promise(self, total: int) -> Voucher:
        """A voucher for all answers so far and the next."""
        return sign_voucher(self.domain, self.buyer.key, self.id, total)


class Worker:
    """An honest miner: works for vouchers that are good, and cashes the best one when it must."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.address = party.address()
        self.best: dict[bytes, tuple[Channel, Voucher]] = {}
        self._worked: dict[bytes, int] = {}

    def serve(self, channel: Channel, voucher: Voucher) -> bool:
        """Do one answer's work, if the voucher covers it, is signed by the payer, and the deposit is there for us."""
        channel.buyer.party.spend(ASKING)
        record = channel.arena.escrow.read("get_channel", channel.id)
        due = self._worked.get(channel.id, 0) + PRICE
        good = (
            channel.config.receiver == self.address
            and recover_voucher(channel.domain, voucher) == channel.config.payer_authorizer
            and voucher.channel == channel.id
            and due <= voucher.max_claimable
            and due <= record["balance"]
            and not record["closed"]
            and not record["withdrawableAt"]
        )
        if good:
            self.party.spend(COST)
            channel.buyer.party.spend(-WORTH)
            self._worked[channel.id] = due
            self.best[channel.id] = channel, voucher
        return good

    def cash(self) -> None:
        """Redeem the best voucher of every channel."""
        for channel, voucher in self.best.values():
            record = channel.arena.escrow.read("get_channel", channel.id)
            due = self._worked[channel.id]
            if due > record["totalClaimed"]:
                redeem(self.party, self.address, channel, due, voucher)


def redeem(party: Party, sender: str, channel: Channel, total: int, voucher: Voucher) -> bool:
    """Cash a voucher; whether the escrow paid."""
    call = ("redeem", astuple(channel.config), total, voucher.max_claimable, voucher.signature)
    return party.arena.try_write(party, party.arena.escrow, sender, *call) is not None


class Buyer:
    """Somebody with money for two channels."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.key: Key = party.key(2 * DEPOSIT)
        party.arena.token.write(self.key.address, "approve", party.arena.escrow.address, 2**256 - 1)

    def buy(self, channel: Channel, answers: int, first: int = 0) -> int:
        """Ask for answers, one voucher each; how many came."""
        return sum(channel.miner.serve(channel, channel.promise((first + n + 1) * PRICE)) for n in range(answers))

    def take_back(self, channel: Channel) -> bool:
        """The rest of the deposit, once the notice is over."""
        call = ("withdraw", astuple(channel.config))
        return self.party.arena.try_write(self.party, self.party.arena.escrow, self.key.address, *call) is not None

    def give_notice(self, channel: Channel) -> None:
        """Ask for the rest of the deposit."""
        self.party.arena.escrow.write(self.key.address, "request_close", astuple(channel.config))


def _settle(arena: Arena, buyer: Buyer, channels: list[Channel]) -> None:
    """Notice, the miners cash, the notice runs out, the rest comes home."""
    for channel in channels:
        if not arena.escrow.read("get_channel", channel.id)["withdrawableAt"]:
            buyer.give_notice(channel)
        channel.miner.cash()
    arena.pass_time(NOTICE)
    for channel in channels:
        buyer.take_back(channel)


def _honest(arena: Arena) -> Trial:
    """Two channels, used up to the last unit."""
    buyer, miners = Buyer(arena.party("buyer")), [Worker(arena.party("miner")) for _ in range(2)]
    channels = [Channel(arena, buyer, miner) for miner in miners]
    for channel in channels:
        channel.open(DEPOSIT)
        buyer.buy(channel, DEPOSIT // PRICE)
    _settle(arena, buyer, channels)
    return Trial(miners[0].party.profit, buyer.party.profit)


def _overspend(arena: Arena) -> Party:
    """Vouchers beyond both deposits."""
    buyer, miners = Buyer(arena.party("buyer")), [Worker(arena.party("miner")) for _ in range(2)]
    channels = [Channel(arena, buyer, miner) for miner in miners]
    for channel in channels:
        channel.open(DEPOSIT)
        buyer.buy(channel, 2 * DEPOSIT // PRICE)
    _settle(arena, buyer, channels)
    return buyer.party


def _double_spend(arena: Arena) -> Party:
    """One deposit shown to two miners, and both vouchers of it signed."""
    buyer, miners = Buyer(arena.party("buyer")), [Worker(arena.party("miner")) for _ in range(2)]
    first, second = Channel(arena, buyer, miners[0]), Channel(arena, buyer, miners[1])
    first.open(DEPOSIT)
    buyer.buy(first, DEPOSIT // PRICE)
    buyer.buy(second, DEPOSIT // PRICE)  # was never opened
    for n in range(DEPOSIT // PRICE):
        miners[1].serve(first, first.promise((n + 1) * PRICE))  # names another receiver
    redeem(buyer.party, miners[1].address, first, DEPOSIT, first.promise(DEPOSIT))
    _settle(arena, buyer, [first])
    return buyer.party


def _run_off(arena: Arena) -> Party:
    """Buys, gives notice, keeps on buying, and takes the deposit back before and after the notice is over."""
    buyer, miners = Buyer(arena.party("buyer")), [Worker(arena.party("miner")) for _ in range(2)]
    channels = [Channel(arena, buyer, miner) for miner in miners]
    for channel in channels:
        channel.open(DEPOSIT)
        buyer.buy(channel, DEPOSIT // PRICE)
        buyer.take_back(channel)
        buyer.give_notice(channel)
        buyer.take_back(channel)
        buyer.buy(channel, DEPOSIT // PRICE, first=DEPOSIT // PRICE)
    _settle(arena, buyer, channels)
    return buyer.party


def _greedy_miner(arena: Arena) -> Party:
    """A miner that cashes twice, cashes more than it was promised, and cashes again after the channel has ended."""
    buyer, miner = Buyer(arena.party("buyer")), Worker(arena.party("miner"))
    channel = Channel(arena, buyer, miner)
    channel.open(DEPOSIT)
    half = DEPOSIT // PRICE // 2
    buyer.buy(channel, half)
    voucher = miner.best[channel.id][1]
    forged = Voucher(voucher.channel, DEPOSIT, voucher.signature)
    own = sign_voucher(channel.domain, arena.make_key("forger"), channel.id, DEPOSIT)
    claims = [(half * PRICE, voucher), (half * PRICE, voucher), (DEPOSIT, voucher), (DEPOSIT, forged), (DEPOSIT, own)]
    for total, promise in claims:
        redeem(miner.party, miner.address, channel, total, promise)
    buyer.give_notice(channel)
    arena.pass_time(NOTICE)
    buyer.take_back(channel)
    redeem(miner.party, miner.address, channel, half * PRICE, voucher)
    return miner.party


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """Every cheat beside honest trade of the same deposits. Nothing here is left to chance."""
    arena = Arena(lab)
    honest = _honest(arena)
    cheats = {"overspend": _overspend, "double-spend": _double_spend, "run off": _run_off}
    parties = {name: cheat(arena) for name, cheat in cheats.items()}
    trials = {name: Trial(party.profit, honest.honest, party.refusals) for name, party in parties.items()}
    greedy = _greedy_miner(arena)
    return {**trials, "cash twice": Trial(greedy.profit, honest.attacker, greedy.refusals)}


ATTACK = Attack(
    name="voucher",
    about="A buyer spends one deposit twice or takes it back; a miner cashes a voucher twice.",
    stopped_by="a voucher names one channel, a channel one receiver; totals only rise; notice before the rest comes back",
    twin="a buyer (or miner) with the same deposits that trades honestly",
    play=play,
    epochs=1,
)
