# pragma version ==0.4.3
"""
@title Tercet registry
@license Apache-2.0
@author Tercet contributors
@notice Opens markets, one contract each, from a blueprint, against a refundable bond.
@dev Holds the bonds and a list; it has no power over a market once that is open.
@custom:kill There is no owner and no switch. To retire the registry, stop opening markets
             in it: open ones go on, and every bond comes back when its market is wound down.
"""
from ethereum.ercs import IERC20
import market_params


struct Listing:
    market: address
    opener: address  # who paid the bond and may wind the market down
    bond: uint256  # still held, stake token base units; 0 after it went back
    subnet: String[32]
    name: String[64]


interface Market:
    def is_wound_down() -> bool: view


event MarketOpened:
    market: indexed(address)
    opener: indexed(address)
    index: uint256
    bond: uint256
    name: String[64]
    subnet: String[32]


event BondReturned:
    market: indexed(address)
    opener: indexed(address)
    bond: uint256


stake_token: public(immutable(address))
blueprint: public(immutable(address))
bond: public(immutable(uint256))

market_count: public(uint256)
markets: HashMap[uint256, Listing]
index_of: HashMap[address, uint256]  # + 1; 0 means unknown


@deploy
def __init__(_stake_token: address, _blueprint: address, _bond: uint256):
    """
    @notice Fixes what all markets of this registry share.
    @param _stake_token Token of bonds, stakes and deposits.
    @param _blueprint ERC-5202 blueprint of the Market contract.
    @param _bond Refundable bond for each market, stake token base units.
    """
    assert _stake_token.is_contract, "registry: stake token is not a contract"
    assert _blueprint.is_contract, "registry: blueprint is not a contract"
    assert _bond < 2 ** 112, "registry: bond out of bounds"
    stake_token = _stake_token
    blueprint = _blueprint
    bond = _bond


@external
@nonreentrant
def open_market(
    reward_token: address, name: String[64], params: market_params.MarketParams
) -> address:
    """
    @notice Opens a market; the caller pays the bond and becomes the market's owner.
    @dev The caller must have approved the bond. Bounds of the params: see `market_params`.
    @param reward_token What sponsors of this market pay in.
    @param name Name of the market.
    @param params Its rules.
    @return address The new market.
    """
    assert reward_token.is_contract, "registry: reward token is not a contract"
    assert len(name) > 0, "registry: name is empty"
    market_params._require_valid(params)
    index: uint256 = self.market_count
    self.market_count = index + 1
    # Our own blueprint: its constructor calls nobody.
    market: address = create_from_blueprint(
        blueprint, msg.sender, stake_token, reward_token, name, params
    )
    self.markets[index] = Listing(
        market=market, opener=msg.sender, bond=bond, subnet=params.subnet, name=name
    )
    self.index_of[market] = index + 1
    log MarketOpened(
        market=market,
        opener=msg.sender,
        index=index,
        bond=bond,
        name=name,
        subnet=params.subnet,
    )
    if bond != 0:
        assert extcall IERC20(stake_token).transferFrom(
            msg.sender, self, bond, default_return_value=True
        ), "registry: token transfer failed"
    return market


@external
@nonreentrant
def return_bond(market: address):
    """
    @notice Gives the bond back to the market's opener, once the market is wound down. Anyone may.
    @param market A market of this registry.
    """
    place: uint256 = self.index_of[market]
    assert place != 0, "registry: unknown market"
    listing: Listing = self.markets[place - 1]
    assert listing.bond != 0, "registry: no bond held"
    assert staticcall Market(market).is_wound_down(), "registry: market is not wound down"
    self.markets[place - 1].bond = 0
    log BondReturned(market=market, opener=listing.opener, bond=listing.bond)
    assert extcall IERC20(stake_token).transfer(
        listing.opener, listing.bond, default_return_value=True
    ), "registry: token transfer failed"


@external
@view
def get_markets(first: uint256, count: uint256) -> DynArray[Listing, 64]:
    """
    @notice A part of the list, in order of opening.
    @param first Index to start from.
    @param count How many, up to 64.
    @return DynArray[Listing, 64] The listings; fewer at the end of the list.
    """
    found: DynArray[Listing, 64] = []
    for k: uint256 in range(min(count, 64), bound=64):
        if first + k >= self.market_count:
            break
        found.append(self.markets[first + k])
    return found


@external
@view
def is_market(market: address) -> bool:
    """
    @notice Whether this registry opened a market.
    @param market Any address.
    @return bool True if so.
    """
    return self.index_of[market] != 0
