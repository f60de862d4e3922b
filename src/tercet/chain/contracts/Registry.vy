# pragma version ==0.4.3
"""
@title Tercet registry
@license Apache-2.0
@author Tercet contributors
@notice Opens markets, four contracts each, from blueprints, against a refundable bond.
@dev A market's rules, stakes, treasury and the market itself are its own: no two markets share a
     contract or a pot. The registry holds the bonds and a list; it has no power over a market
     once that is open.
@custom:kill There is no owner and no switch. To retire the registry, stop opening markets
             in it: open ones go on, and every bond comes back when its market is wound down.
"""
from ethereum.ercs import IERC20
import market_params


struct Blueprints:
    market: address
    stakes: address
    treasury: address
    rules: address


struct Listing:
    market: address
    stakes: address
    treasury: address
    rules: address
    opener: address  # who paid the bond and was the first owner
    bond: uint256  # still held, stake token base units; 0 after it went back
    subnet: String[32]
    name: String[64]


interface Market:
    def is_wound_down() -> bool: view


interface Stakes:
    def attach(market: address, treasury: address): nonpayable


interface Treasury:
    def attach(market: address): nonpayable


interface Rules:
    def attach(market: address): nonpayable
    def owner() -> address: view


event MarketOpened:
    market: indexed(address)
    opener: indexed(address)
    index: uint256
    stakes: address
    treasury: address
    rules: address
    bond: uint256
    name: String[64]
    subnet: String[32]


event BondReturned:
    market: indexed(address)
    owner: indexed(address)
    bond: uint256


MAX_TIMELOCK: constant(uint256) = 365 * 24 * 3_600

stake_token: public(immutable(address))
blueprints: public(immutable(Blueprints))
bond: public(immutable(uint256))
timelock_seconds: public(immutable(uint256))
audits: public(immutable(address))
sink: public(immutable(address))

market_count: public(uint256)
markets: HashMap[uint256, Listing]
index_of: public(HashMap[address, uint256])  # + 1; 0 means unknown


@deploy
def __init__(
    _stake_token: address,
    _blueprints: Blueprints,
    _bond: uint256,
    _timelock_seconds: uint256,
    _audits: address,
    _sink: address,
):
    """
    @notice Fixes what all markets of this registry share.
    @param _stake_token Token of bonds, stakes and deposits. Its holders can burn it (`Token`).
    @param _blueprints ERC-5202 blueprints of the four contracts.
    @param _bond Refundable bond for each market, stake token base units.
    @param _timelock_seconds How long a change of a market's rules shows before it is in force.
    @param _audits Contract that may slash stakes; the zero address means nobody ever may.
    @param _sink Who gets the carry that a market ends with; the zero address leaves it to
           the last epoch's sponsors, or else to the market's owner.
    """
    assert _stake_token.is_contract, "registry: stake token is not a contract"
    assert (
        _blueprints.market.is_contract
        and _blueprints.stakes.is_contract
        and _blueprints.treasury.is_contract
        and _blueprints.rules.is_contract
    ), "registry: blueprint is not a contract"
    assert _bond < 2 ** 112, "registry: bond out of bounds"
    assert _timelock_seconds <= MAX_TIMELOCK, "registry: timelock_seconds out of bounds"
    stake_token = _stake_token
    blueprints = _blueprints
    bond = _bond
    timelock_seconds = _timelock_seconds
    audits = _audits
    sink = _sink


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
    @param params Its rules; `Rules` refuses those out of bounds.
    @return address The new market.
    """
    assert reward_token.is_contract, "registry: reward token is not a contract"
    assert len(name) > 0, "registry: name is empty"
    index: uint256 = self.market_count
    self.market_count = index + 1
    # Our own blueprints: no constructor calls anybody, and `attach` asks nobody.
    rules: address = create_from_blueprint(
        blueprints.rules, msg.sender, params, timelock_seconds
    )
    stakes: address = create_from_blueprint(blueprints.stakes, stake_token, reward_token, audits)
    treasury: address = create_from_blueprint(blueprints.treasury, stake_token, reward_token, sink)
    market: address = create_from_blueprint(
        blueprints.market, stakes, treasury, rules, stake_token, reward_token, name
    )
    extcall Rules(rules).attach(market)
    extcall Stakes(stakes).attach(market, treasury)
    extcall Treasury(treasury).attach(market)
    self.markets[index] = Listing(
        market=market,
        stakes=stakes,
        treasury=treasury,
        rules=rules,
        opener=msg.sender,
        bond=bond,
        subnet=params.subnet,
        name=name,
    )
    self.index_of[market] = index + 1
    log MarketOpened(
        market=market,
        opener=msg.sender,
        index=index,
        stakes=stakes,
        treasury=treasury,
        rules=rules,
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
    @notice Gives the bond back to the market's owner, once the market is wound down. Anyone may.
    @dev The owner of today: who takes a market over takes its bond over.
    @param market A market of this registry.
    """
    place: uint256 = self.index_of[market]
    assert place != 0, "registry: unknown market"
    held: uint256 = self.markets[place - 1].bond
    assert held != 0, "registry: no bond held"
    assert staticcall Market(market).is_wound_down(), "registry: market is not wound down"
    owner: address = staticcall Rules(self.markets[place - 1].rules).owner()
    self.markets[place - 1].bond = 0
    log BondReturned(market=market, owner=owner, bond=held)
    assert extcall IERC20(stake_token).transfer(
        owner, held, default_return_value=True
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
