"""Empty markets by the dozen."""

from __future__ import annotations

from collections.abc import Mapping

from tercet.attacks.actors import Actor, Town
from tercet.attacks.arena import BOND, Arena, Party
from tercet.attacks.lab import TCT, Attack, Lab, Trial
from tercet.attacks.strategies.dust import Staker

MARKETS = 3
_MOST = 2**256 - 1


class Spammer(Actor):
    """Opens markets, is the only miner and the only validator of each, and winds them all down in the end."""

    def __init__(self, party: Party, arena: Arena) -> None:
        self.party = party
        self.address = party.address(MARKETS * (BOND + arena.rules.min_stake + 2 * arena.rules.min_price))
        arena.token.write(self.address, "approve", arena.registry.address, _MOST)
        self._markets = [self._open(arena, number) for number in range(MARKETS)]

    def _open(self, arena: Arena, number: int) -> str:
        address = arena.open_market(self.address, f"spam {number}")
        market = arena.sandbox.attach("Market", address)
        for spender in (address, market.read("stakes")):
            arena.token.write(self.address, "approve", spender, _MOST)
        market.write(self.address, "register_miner", arena.make_key("spam").address, "", market.read("price"))
        market.write(self.address, "register_validator", arena.make_key("spam").address, arena.rules.min_stake, 0)
        return address

    def leave(self, arena: Arena) -> None:
        """Everything that can come home comes home."""
        for address in self._markets:
            market = arena.sandbox.attach("Market", address)
            stakes = arena.sandbox.attach("Stakes", market.read("stakes"))
            pool = market.read("get_validator", 0)["pool"]
            market.write(self.address, "leave_miner", 1)
            market.write(self.address, "wind_down")
            market.write(self.address, "close_epoch", [0])
            market.write(self.address, "leave_validator", 0)
            stakes.write(self.address, "unstake", pool, _MOST)
            stakes.write(self.address, "withdraw", pool)
            arena.registry.write(self.address, "return_bond", address)


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """Beside somebody who puts the same money behind a validator of a market that exists."""
    arena = Arena(lab)
    town = Town(arena)
    spammer = Spammer(arena.party("spammer"), arena)
    twin = Staker(arena.party("twin"), town.validators[0], MARKETS * BOND // TCT * TCT)
    town.add(twin, spammer)
    town.play()
    spammer.leave(arena)
    return {f"{MARKETS} markets": Trial(spammer.party.profit, twin.party.profit, spammer.party.refusals)}


ATTACK = Attack(
    name="market-spam",
    about="Somebody opens empty markets, to be in every list and for whatever a market may get by itself.",
    stopped_by="a market gets nothing by itself; the bond is locked, a registration's price is burned in part",
    twin="somebody who stakes the bonds' money behind a validator",
    play=play,
    epochs=4,
)
