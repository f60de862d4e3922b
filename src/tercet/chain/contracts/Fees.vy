# pragma version ==0.4.3
"""
@title Tercet fees
@license Apache-2.0
@author Tercet contributors
@notice Where the fees of paid work go. A part is forwarded to the market that the work was done
        in; the rest is sold for stake token, and that stake token is burned. What was burned
        for a market in a period is the most that emission looks at: see `Emission`.
@dev No price comes from outside. Every unit of a fee starts its own Dutch auction at twice
     the price at which its kind was sold last in this market, and its price halves with every
     half-life; within one it falls in a straight line. All units of one token and market are
     one lot and are sold together: the lot's price is the sum of theirs. So dust that waited
     long does not drag down the price of money that comes in later. Since the line is started
     anew whenever money comes in, a busy lot halves more slowly: after 1.39 half-lives at most.

     Prices are stake token base units for 10**18 base units of the token sold. The price of a
     lot is rounded down, and is never below 1.

     A sale that burns less than `min_reference` leaves the next start where it is: moving it
     by one doubling costs at least that much, however small the lot.

     What the contract holds of a token is at least the sum of its lots and of what waits to
     be forwarded. A token that lies harms its own lots only.
@custom:kill There is no owner and no switch. If no source takes fees any more, lots and money
             waiting to be forwarded can still be taken out as always.
"""
from ethereum.ercs import IERC20


struct Lot:
    amount: uint256  # for sale, token base units
    ask: uint256  # price of the whole lot at `asked_at`, stake token base units
    asked_at: uint256  # Unix seconds; the price falls since then
    start: uint256  # price at which money that comes in next begins; 0 before the first sale


interface Registry:
    def is_market(market: address) -> bool: view


interface Market:
    def reward_token() -> address: view
    def treasury() -> address: view
    def is_wound_down() -> bool: view


interface Treasury:
    def fund(amount: uint256): nonpayable


interface Burnable:
    def burn(amount: uint256): nonpayable


event SourcesSet:
    escrow: indexed(address)
    jobs: indexed(address)


event FeeTaken:
    token: indexed(address)
    market: indexed(address)
    amount: uint256
    forwarded: uint256  # the part that waits for `forward`


event FeeForwarded:
    token: indexed(address)
    market: indexed(address)
    amount: uint256
    sold: bool  # the market has ended: it went up for sale instead


event LotSold:
    token: indexed(address)
    market: indexed(address)
    buyer: indexed(address)
    amount: uint256
    burned: uint256


event Burned:
    market: indexed(address)
    who: indexed(address)
    period: indexed(uint256)
    amount: uint256


_ONE: constant(uint256) = 10 ** 18
_OPENING: constant(uint256) = 10 ** 36  # more than anything is worth; the first sale finds the price
_MULTIPLE: constant(uint256) = 2  # the start over the last clearing price

stake_token: public(immutable(address))
registry: public(immutable(address))
forward_bps: public(immutable(uint256))
half_life: public(immutable(uint256))
min_reference: public(immutable(uint256))
start: public(immutable(uint256))
period_seconds: public(immutable(uint256))

_DEPLOYER: immutable(address)

escrow: public(address)
jobs: public(address)
pending: public(HashMap[address, uint256])  # by market, in its reward token
burned: public(HashMap[address, HashMap[uint256, uint256]])  # by market and period
total_burned: public(HashMap[uint256, uint256])  # by period; burned for listed markets only
_lots: HashMap[address, HashMap[address, Lot]]  # by token and market


@deploy
def __init__(
    _stake_token: address,
    _registry: address,
    _forward_bps: uint256,
    _half_life: uint256,
    _min_reference: uint256,
    _period_seconds: uint256,
):
    """
    @notice Fixes the rules; period 0 begins now.
    @param _stake_token What is burned.
    @param _registry Knows the markets.
    @param _forward_bps Part of a fee that goes to its market, ten-thousandths.
    @param _half_life Seconds in which a price halves, 1 minute to 7 days.
    @param _min_reference Least burn that moves the start price, stake token base units.
    @param _period_seconds Length of an emission period, 1 minute to 365 days.
    """
    assert _stake_token.is_contract, "fees: stake token is not a contract"
    assert _registry.is_contract, "fees: registry is not a contract"
    assert _forward_bps <= 10_000, "fees: forward_bps out of bounds"
    assert 60 <= _half_life and _half_life <= 7 * 86_400, "fees: half_life out of bounds"
    assert 0 < _min_reference and _min_reference < 2 ** 112, "fees: min_reference out of bounds"
    assert (
        60 <= _period_seconds and _period_seconds <= 365 * 86_400
    ), "fees: period_seconds out of bounds"
    stake_token = _stake_token
    registry = _registry
    forward_bps = _forward_bps
    half_life = _half_life
    min_reference = _min_reference
    start = block.timestamp
    period_seconds = _period_seconds
    _DEPLOYER = msg.sender


@external
def set_sources(escrow: address, jobs: address):
    """
    @notice Names the only contracts that may bring fees. Only the deployer may, and only once.
    @param escrow The payment channels.
    @param jobs The held jobs; may be zero or the same.
    """
    assert msg.sender == _DEPLOYER, "fees: caller is not the deployer"
    assert self.escrow == empty(address), "fees: sources already set"
    assert escrow.is_contract, "fees: source is not a contract"
    self.escrow = escrow
    self.jobs = jobs
    log SourcesSet(escrow=escrow, jobs=jobs)


# --- Fees in ---


@external
@nonreentrant
def take(token: address, market: address, amount: uint256):
    """
    @notice Books a fee that the caller has just transferred here. Only the named sources may.
    @dev Calls no foreign token: nothing here can hold up a payment. The market's part floors.
    @param token What it was paid in.
    @param market Where the work was done; zero or unknown: all of it is for sale, for no market.
    @param amount Token base units.
    """
    assert msg.sender == self.escrow or msg.sender == self.jobs, "fees: caller is not a source"
    assert amount < 2 ** 128, "fees: amount out of bounds"
    forwarded: uint256 = 0
    if self._is_market(market) and staticcall Market(market).reward_token() == token:
        forwarded = amount * forward_bps // 10_000
        self.pending[market] += forwarded
    log FeeTaken(token=token, market=market, amount=amount, forwarded=forwarded)
    self._offer(token, market, amount - forwarded)


@external
@nonreentrant
def forward(market: address) -> uint256:
    """
    @notice Brings a market what waits for it: a part of its next epoch's reward. Anyone may.
    @dev Once the market is wound down, there is no next epoch, and the money goes up for sale.
    @param market A listed market.
    @return uint256 Reward token base units.
    """
    amount: uint256 = self.pending[market]
    assert amount != 0, "fees: nothing to forward"
    self.pending[market] = 0
    # Only listed markets have something pending, so these calls reach our own code.
    token: address = staticcall Market(market).reward_token()
    ended: bool = staticcall Market(market).is_wound_down()
    log FeeForwarded(token=token, market=market, amount=amount, sold=ended)
    if ended:
        self._offer(token, market, amount)
        return amount
    treasury: address = staticcall Market(market).treasury()
    assert extcall IERC20(token).approve(
        treasury, amount, default_return_value=True
    ), "fees: token transfer failed"
    extcall Treasury(treasury).fund(amount)
    return amount


# --- Stake token burned ---


@external
@nonreentrant
def buy(
    token: address, market: address, min_amount: uint256, max_burn: uint256
) -> (uint256, uint256):
    """
    @notice Buys a whole lot: burns the caller's stake token and hands the lot over.
    @dev The caller has approved the price. Both limits matter: whoever is faster can take the
         lot away, and a smaller one may stand in its place.
    @param token What the lot is of.
    @param market The market whose fees it is.
    @param min_amount The least to accept, token base units.
    @param max_burn The most to burn, stake token base units.
    @return (amount, burned) Token base units got, stake token base units burned.
    """
    lot: Lot = self._lots[token][market]
    assert lot.amount != 0, "fees: lot is empty"
    assert lot.amount >= min_amount, "fees: lot below the minimum"
    price: uint256 = self._ask(lot)
    assert price <= max_burn, "fees: price above the limit"
    next_start: uint256 = lot.start
    if price >= min_reference:
        next_start = min(max(price * _ONE // lot.amount * _MULTIPLE, 1), _OPENING)
    self._lots[token][market] = Lot(amount=0, ask=0, asked_at=0, start=next_start)
    log LotSold(
        token=token, market=market, buyer=msg.sender, amount=lot.amount, burned=price
    )
    self._pull_and_burn(market, price)
    assert extcall IERC20(token).transfer(
        msg.sender, lot.amount, default_return_value=True
    ), "fees: token transfer failed"
    return lot.amount, price


@external
@nonreentrant
def burn_for(market: address, amount: uint256):
    """
    @notice Burns the caller's stake token for a market; the caller has approved it.
    @param market A listed market.
    @param amount Stake token base units.
    """
    assert self._is_market(market), "fees: unknown market"
    assert amount != 0, "fees: amount is zero"
    self._pull_and_burn(market, amount)


# --- Views ---


@external
@view
def ask(token: address, market: address) -> (uint256, uint256):
    """
    @notice A lot and its price now.
    @param token What the lot is of.
    @param market The market whose fees it is.
    @return (amount, price) Token base units for sale; stake token base units for all of it.
    """
    lot: Lot = self._lots[token][market]
    return lot.amount, self._ask(lot) if lot.amount != 0 else 0


@external
@view
def get_lot(token: address, market: address) -> Lot:
    """
    @notice The record of a lot.
    @param token What the lot is of.
    @param market The market whose fees it is.
    @return Lot All zero before the first fee.
    """
    return self._lots[token][market]


@external
@view
def period() -> uint256:
    """
    @notice The running emission period.
    @return uint256 Its number, from 0.
    """
    return self._period()


# --- Small parts ---


@internal
def _offer(token: address, market: address, amount: uint256):
    if amount == 0:
        return
    if token == stake_token:  # worth exactly itself: no auction needed
        self._burn(market, self, amount)
        return
    lot: Lot = self._lots[token][market]
    first: uint256 = lot.start if lot.start != 0 else _OPENING
    before: uint256 = self._ask(lot) if lot.amount != 0 else 0
    self._lots[token][market] = Lot(
        amount=lot.amount + amount,
        ask=before + amount * first // _ONE,
        asked_at=block.timestamp,
        start=lot.start,
    )


@internal
@view
def _ask(lot: Lot) -> uint256:
    elapsed: uint256 = block.timestamp - lot.asked_at
    halvings: uint256 = elapsed // half_life
    if halvings >= 256:
        return 1
    price: uint256 = lot.ask >> halvings
    return max(price - price * (elapsed % half_life) // (2 * half_life), 1)


@internal
def _pull_and_burn(market: address, amount: uint256):
    assert extcall IERC20(stake_token).transferFrom(
        msg.sender, self, amount
    ), "fees: token transfer failed"
    self._burn(market, msg.sender, amount)


@internal
def _burn(market: address, who: address, amount: uint256):
    if self._is_market(market):
        number: uint256 = self._period()
        self.burned[market][number] += amount
        self.total_burned[number] += amount
        log Burned(market=market, who=who, period=number, amount=amount)
    extcall Burnable(stake_token).burn(amount)


@internal
@view
def _is_market(market: address) -> bool:
    return staticcall Registry(registry).is_market(market)


@internal
@view
def _period() -> uint256:
    return (block.timestamp - start) // period_seconds
