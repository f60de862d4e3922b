"""The registry: which markets there are, and opening one."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from tercet.chain.bindings import BoundContract
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender
from tercet.market.epoch import PRECISE, MarketRules

_PAGE = 64


def usual_floor(max_miners: int) -> int:
    """Three quarters of the places: so newcomers that nobody has measured yet never hold more than the rest.

    With a low floor somebody with one good miner pushes all its rivals out at once, by worthless newcomers that are
    immune, and is alone for as long as they are (docs/explanation/attacks.md).
    """
    return max_miners * 3 // 4


@dataclass(frozen=True, slots=True)
class MarketParams:
    """The rules of a market, in the order of the contract's struct. Bounds: `market_params.vy`."""

    subnet: str
    """Which mechanism judges here, such as `inference`; fixed for life, as nothing else is."""
    mechanism_version: int = 1
    """Version of that mechanism's rules; every reveal names it."""
    commit_seconds: int = 300
    reveal_seconds: int = 120
    activity_epochs: int = 3
    """Epochs for which a silent validator's stake still counts in the total."""
    kappa: int = PRECISE * 51 // 100
    """Majority of the consensus over 10**18: above one half, up to 1."""
    bond_alpha: int = PRECISE // 5
    """Weight of the newest row in a bond over 10**18: 0.001 to 1."""
    validator_share_bps: int = 2_000
    """Validators' part of the reward, ten-thousandths."""
    max_miners: int = 255
    max_validators: int = 64
    """Permits: how many of the 64 seats vote, by effective stake."""
    min_stake: int = 10**18
    """Of a validator's own, stake token base units."""
    weight_cap_bps: int = 2_000
    """The most that one validator weighs, of all counted stake."""
    unbonding_epochs: int = 3
    """Closings before unstaked tokens are free; at least 3."""
    immunity_epochs: int = 2
    """Epochs in which a new miner cannot be evicted; at least 2."""
    min_price: int = 10**18
    """The least that a miner's registration costs, stake token base units; see `market.registration.place_floor`."""
    max_price: int = 1_000 * 10**18
    price_half_life: int = 24 * 3_600
    """Seconds in which the price of a registration halves when nobody comes."""
    refund_bps: int = 5_000
    """Part of that price which comes back to a miner that leaves; the rest is burned."""
    floor_miners: int = usual_floor(255)
    """Eviction leaves at least so many miners that are not immune: `usual_floor` of the places by default."""
    audit_share_bps: int = 3_000
    """Part of a validator's reward that is paid only when its work was audited, where enough others earned to judge it."""
    slash_bps: int = 1_000
    """Part of a pool that a confirmed mismatch costs."""

    def rules(self) -> MarketRules:
        """What the epoch's maths needs of them."""
        return MarketRules(
            kappa=self.kappa,
            bond_alpha=self.bond_alpha,
            validator_share_bps=self.validator_share_bps,
            activity_epochs=self.activity_epochs,
            max_validators=self.max_validators,
            weight_cap_bps=self.weight_cap_bps,
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """One market in the registry."""

    market: str
    stakes: str
    treasury: str
    rules: str
    opener: str
    """Who paid the bond and owned the market first."""
    bond: int
    """Still held, stake token base units."""
    subnet: str
    name: str


class RegistryContract(BoundContract):
    """The registry at an address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Registry", address)

    async def market_count(self) -> int:
        """How many markets were opened."""
        return int(await self.read("market_count"))

    async def list_markets(self) -> list[Listing]:
        """All markets in order of opening."""
        count = await self.market_count()
        listings: list[Listing] = []
        for first in range(0, count, _PAGE):
            listings += [Listing(*row) for row in await self.read("get_markets", first, _PAGE)]
        return listings

    async def is_market(self, address: str) -> bool:
        """Whether this registry opened it, so that its rules are within their bounds."""
        return bool(await self.read("is_market", address))

    async def bond(self) -> int:
        """What opening a market takes, refundable, stake token base units."""
        return int(await self.read("bond"))

    async def open_market(self, sender: Sender, reward_token: str, name: str, params: MarketParams) -> str:
        """Open a market and return its address; the sender must have approved the bond."""
        receipt = await self.write(sender, "open_market", reward_token, name, astuple(params))
        return str(self.find_event(receipt, "MarketOpened")["market"])

    async def return_bond(self, sender: Sender, market: str) -> Receipt:
        """Give the bond of a wound-down market back, to its owner."""
        return await self.write(sender, "return_bond", market)
