# pragma version ==0.4.3
"""
@title A registry, a market, its rules and its treasury in one, as little of them as Audits and Stakes see
@license Apache-2.0
@notice For tests only: whoever calls may set everything.
"""
from ethereum.ercs import IERC20
import market_params


struct ValidatorView:
    vid: uint256
    owner: address
    operator: address
    pool: uint256
    weight: uint256
    committed_epoch: uint256
    revealed_epoch: uint256
    as_of: uint256
    words: uint256
    evidence: bytes32


interface Stakes:
    def open_pool(pool: uint256, owner: address, amount: uint256, take_bps: uint256): nonpayable
    def close_pool(pool: uint256): nonpayable
    def reward(
        epoch: uint256,
        token: address,
        pools: DynArray[uint256, 64],
        amounts: DynArray[uint256, 64],
    ): nonpayable


epoch: public(uint256)
last_epoch: public(uint256)
is_closing: public(bool)
stakes: public(address)
beacon: public(HashMap[uint256, bytes32])
reward_token: address
params_: market_params.MarketParams
seats: ValidatorView[64]


@deploy
def __init__(reward_token: address, params: market_params.MarketParams):
    self.reward_token = reward_token
    self.params_ = params
    self.last_epoch = max_value(uint256)


@external
def set_stakes(stakes: address):
    self.stakes = stakes


@external
def set_params(params: market_params.MarketParams):
    self.params_ = params


@external
def set_beacon(epoch: uint256, beacon: bytes32):
    self.beacon[epoch] = beacon


@external
def seat(vid: uint256, operator: address, pool: uint256, amount: uint256):
    self.seats[vid] = empty(ValidatorView)
    self.seats[vid].vid = vid
    self.seats[vid].owner = operator
    self.seats[vid].operator = operator
    self.seats[vid].pool = pool
    extcall Stakes(self.stakes).open_pool(pool, operator, amount, 0)


@external
def leave(vid: uint256):
    extcall Stakes(self.stakes).close_pool(self.seats[vid].pool)
    self.seats[vid] = empty(ValidatorView)


@external
def reveal(vid: uint256, evidence: bytes32):
    self.seats[vid].revealed_epoch = self.epoch + 1
    self.seats[vid].evidence = evidence


@external
def weigh(vid: uint256, weight: uint256):
    self.seats[vid].weight = weight


@external
def next_epoch():
    self.epoch += 1


@external
def wind_down():
    self.last_epoch = self.epoch


@external
def set_closing(closing: bool):
    self.is_closing = closing


@external
def pay(epoch: uint256, pools: DynArray[uint256, 64], amounts: DynArray[uint256, 64]):
    """
    @notice What the treasury does when an epoch is closed.
    """
    for amount: uint256 in amounts:
        extcall IERC20(self.reward_token).transfer(self.stakes, amount)
    extcall Stakes(self.stakes).reward(epoch, self.reward_token, pools, amounts)


@external
def fund(amount: uint256):
    """
    @notice What the treasury does with forfeited rewards.
    """
    assert not self.is_closing, "treasury is closing"
    extcall IERC20(self.reward_token).transferFrom(msg.sender, self, amount)


@external
@view
def is_market(market: address) -> bool:
    return market == self


@external
@view
def is_wound_down() -> bool:
    return self.epoch > self.last_epoch


@external
@view
def rules() -> address:
    return self


@external
@view
def params() -> market_params.MarketParams:
    return self.params_


@external
@view
def stake_terms() -> (uint256, uint256, uint256):
    return self.params_.min_stake, self.params_.unbonding_epochs, self.params_.audit_share_bps


@external
@view
def vid_of(operator: address) -> uint256:
    for vid: uint256 in range(64):
        if self.seats[vid].operator == operator:
            return vid
    raise "market: caller is not a validator's operator"


@external
@view
def get_validator(vid: uint256) -> ValidatorView:
    return self.seats[vid]


@external
@view
def get_validators() -> DynArray[ValidatorView, 64]:
    found: DynArray[ValidatorView, 64] = []
    for vid: uint256 in range(64):
        if self.seats[vid].pool != 0:
            found.append(self.seats[vid])
    return found
