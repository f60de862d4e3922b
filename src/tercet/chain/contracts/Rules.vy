# pragma version ==0.4.3
# pragma optimize codesize
"""
@title Tercet rules
@license Apache-2.0
@author Tercet contributors
@notice One market's parameters behind a timelock, and the market's owner. Holds no money.
@dev A proposal shows for the whole timelock before it can be in force, and the market takes it
     at the end of an epoch only: what an epoch began with, it ends with. The subnet never
     changes, nor do the bounds of the other parameters (`market_params`).
@custom:kill There is no switch. An owner that hands its place to nobody's key leaves the rules as
             they are for ever; all money lies in other contracts, which never ask the owner.
"""
import market_params


struct PhaseTerms:
    commit_seconds: uint256
    reveal_seconds: uint256
    mechanism_version: uint256


struct EpochTerms:
    activity_epochs: uint256
    kappa: uint256
    bond_alpha: uint256
    validator_share_bps: uint256
    max_validators: uint256
    min_stake: uint256
    weight_cap_bps: uint256


struct MinerTerms:
    max_miners: uint256
    immunity_epochs: uint256
    refund_bps: uint256
    floor_miners: uint256


struct StakeTerms:
    min_stake: uint256
    unbonding_epochs: uint256
    audit_share_bps: uint256


interface Market:
    def treasury() -> address: view


interface Treasury:
    def stake_token() -> address: view
    def reward_token() -> address: view
    def reward() -> uint256: view
    def emission() -> uint256: view


event ParamsProposed:
    owner: indexed(address)
    effective_at: uint256
    params: market_params.MarketParams


event ProposalCancelled:
    owner: indexed(address)


event ParamsChanged:
    params: market_params.MarketParams


event OwnershipOffered:
    owner: indexed(address)
    pending_owner: indexed(address)


event OwnershipTransferred:
    old_owner: indexed(address)
    new_owner: indexed(address)


MAX_TIMELOCK: constant(uint256) = 365 * 24 * 3_600
# Each registration raises the price by so many ten-thousandths.
PRICE_STEP_BPS: constant(uint256) = 1_250
LOW_32: constant(uint256) = 2 ** 32 - 1
LOW_64: constant(uint256) = 2 ** 64 - 1
LOW_128: constant(uint256) = 2 ** 128 - 1
LOW_60: constant(uint256) = 2 ** 60 - 1
LOW_88: constant(uint256) = 2 ** 88 - 1
LOW_112: constant(uint256) = 2 ** 112 - 1

_CREATOR: immutable(address)
timelock_seconds: public(immutable(uint256))

market: public(address)
owner: public(address)
pending_owner: public(address)
params: public(market_params.MarketParams)  # those in force
# The same packed, so that a closing reads two words and not twenty-two.
_phase_word: uint256  # above its 128 bits: Unix seconds a proposal can be in force at; 0 means there is none
_epoch_word: uint256
_stake_word: uint256
_price_word: uint256
_proposed: market_params.MarketParams


@deploy
def __init__(_owner: address, _params: market_params.MarketParams, _timelock_seconds: uint256):
    """
    @notice Starts with the rules that the market opens with. Called by the registry.
    @param _owner Who opens the market.
    @param _params The rules, within their bounds.
    @param _timelock_seconds How long every change shows before it can be in force, up to a year.
    """
    assert _timelock_seconds <= MAX_TIMELOCK, "rules: timelock_seconds out of bounds"
    market_params._require_valid(_params)
    _CREATOR = msg.sender
    timelock_seconds = _timelock_seconds
    self.owner = _owner
    self._put_in_force(_params)
    log OwnershipTransferred(old_owner=empty(address), new_owner=_owner)
    log ParamsChanged(params=_params)


@external
def attach(market: address):
    """
    @notice Names the market that these rules are for. Its creator, once.
    @param market The market.
    """
    assert msg.sender == _CREATOR, "rules: caller is not the creator"
    assert self.market == empty(address), "rules: already attached"
    self.market = market


# --- The parameters ---


@external
def propose(params: market_params.MarketParams):
    """
    @notice Proposes new rules, all of them at once; they can be in force after the timelock.
    @dev Replaces an older proposal, and the clock starts anew.
    @param params The rules, within their bounds, for the same subnet.
    """
    self._require_owner()
    market_params._require_valid(params)
    assert params.subnet == self.params.subnet, "rules: subnet cannot change"
    effective_at: uint256 = block.timestamp + timelock_seconds
    self._proposed = params
    self._set_effective_at(effective_at)
    log ParamsProposed(owner=msg.sender, effective_at=effective_at, params=params)


@external
def cancel_proposal():
    """
    @notice Takes the proposal back; the rules in force stay.
    """
    self._require_owner()
    assert self._effective_at() != 0, "rules: no proposal"
    self._proposed = empty(market_params.MarketParams)
    self._set_effective_at(0)
    log ProposalCancelled(owner=msg.sender)


@external
def take_effect():
    """
    @notice Puts the due proposal in force. Only the market may, which does so between two epochs.
    """
    assert msg.sender == self.market, "rules: caller is not the market"
    assert self._is_due(), "rules: nothing is due"
    params: market_params.MarketParams = self._proposed
    self._put_in_force(params)
    self._proposed = empty(market_params.MarketParams)
    log ParamsChanged(params=params)


@external
@view
def due() -> bool:
    """
    @notice Whether a proposal has shown for the whole timelock and waits for the epoch's end.
    @return bool True if so.
    """
    return self._is_due()


@external
@view
def proposal() -> (market_params.MarketParams, uint256):
    """
    @notice What is proposed, and from when on it can be in force.
    @return (MarketParams, uint256) The rules; Unix seconds, 0 means there is no proposal.
    """
    return self._proposed, self._effective_at()


# --- Parts of the rules in force, for the contracts that go by them ---


@external
@view
def phase_terms() -> PhaseTerms:
    """
    @notice What a commit and a reveal are checked by.
    @return PhaseTerms See the struct; units and bounds as in `market_params`.
    """
    word: uint256 = self._phase_word
    return PhaseTerms(
        commit_seconds=word & LOW_32,
        reveal_seconds=(word >> 32) & LOW_32,
        mechanism_version=(word >> 64) & LOW_64,
    )


@external
@view
def epoch_terms() -> EpochTerms:
    """
    @notice What the closing of an epoch goes by.
    @return EpochTerms See the struct; units and bounds as in `market_params`.
    """
    word: uint256 = self._epoch_word
    return EpochTerms(
        activity_epochs=(word >> 208) & 1_023,
        kappa=(word >> 88) & LOW_60,
        bond_alpha=(word >> 148) & LOW_60,
        validator_share_bps=(word >> 218) & 16_383,
        max_validators=(word >> 232) & 127,
        min_stake=word & LOW_88,
        weight_cap_bps=word >> 239,
    )


@external
@view
def miner_terms() -> MinerTerms:
    """
    @notice What a miner's slot costs, and when it is lost.
    @return MinerTerms See the struct; units and bounds as in `market_params`.
    """
    prices: uint256 = self._price_word
    word: uint256 = self._stake_word
    return MinerTerms(
        max_miners=(prices >> 224) & 255,
        immunity_epochs=word >> 166,
        refund_bps=(word >> 152) & 16_383,
        floor_miners=prices >> 232,
    )


@external
@view
def price(last_price: uint256) -> (uint256, uint256):
    """
    @notice What a miner's slot costs.
    @dev The last price, halved for each half-life since, on a straight line within one; but at
         least half of what a place earns in a full market, as far as that is paid in stake token.
         For less than that, worthless newcomers, immune at first, could be bought only to be
         rid of a rival's share. Income in another token has no price here: there `min_price` says it.
         `max_price` stands above all.
    @param last_price 112 bits; above them the Unix seconds it was set at.
    @return (price, raised) Now, and what the next one would cost at once; stake token base units.
    """
    prices: uint256 = self._price_word
    half_life: uint256 = (self._stake_word >> 120) & LOW_32
    most: uint256 = (prices >> 112) & LOW_112
    age: uint256 = block.timestamp - (last_price >> 112)
    price: uint256 = (last_price & LOW_112) >> (age // half_life)
    price -= price * (age % half_life) // (2 * half_life)
    price = min(max(max(price, prices & LOW_112), self._place_floor()), most)
    raised: uint256 = price + (price * PRICE_STEP_BPS + 9_999) // 10_000
    return price, min(raised, most)


@external
@view
def stake_terms() -> StakeTerms:
    """
    @notice What `Stakes` goes by.
    @return StakeTerms See the struct; units and bounds as in `market_params`.
    """
    word: uint256 = self._stake_word
    return StakeTerms(
        min_stake=word & LOW_88,
        unbonding_epochs=(word >> 88) & 65_535,
        audit_share_bps=(word >> 104) & 65_535,
    )


# --- The owner ---


@external
def transfer_ownership(new_owner: address):
    """
    @notice Offers the owner's place; it changes hands when the other one accepts.
    @param new_owner Who may accept; the zero address takes an offer back.
    """
    self._require_owner()
    self.pending_owner = new_owner
    log OwnershipOffered(owner=msg.sender, pending_owner=new_owner)


@external
def accept_ownership():
    """
    @notice Takes the owner's place that was offered to the caller. A running proposal stays.
    """
    assert msg.sender == self.pending_owner, "rules: caller is not the pending owner"
    old_owner: address = self.owner
    self.owner = msg.sender
    self.pending_owner = empty(address)
    log OwnershipTransferred(old_owner=old_owner, new_owner=msg.sender)


# --- Small parts ---


@internal
@view
def _require_owner():
    assert msg.sender == self.owner, "rules: caller is not the owner"


@internal
@view
def _place_floor() -> uint256:
    """
    @dev Half of the miners' part of the running epoch's pots in stake token, for one of all places.
    """
    treasury: address = staticcall Market(self.market).treasury()
    pot: uint256 = staticcall Treasury(treasury).emission()
    if staticcall Treasury(treasury).reward_token() == staticcall Treasury(treasury).stake_token():
        pot += staticcall Treasury(treasury).reward()
    for_miners: uint256 = 10_000 - ((self._epoch_word >> 218) & 16_383)
    places: uint256 = (self._price_word >> 224) & 255
    return pot * for_miners // 10_000 // (2 * places)


@internal
@view
def _is_due() -> bool:
    effective_at: uint256 = self._effective_at()
    return effective_at != 0 and effective_at <= block.timestamp


@internal
@view
def _effective_at() -> uint256:
    return self._phase_word >> 128


@internal
def _set_effective_at(effective_at: uint256):
    """
    @dev Beside the phase's terms, so that a closing reads one word for both.
    """
    self._phase_word = (self._phase_word & LOW_128) | (effective_at << 128)


@internal
def _put_in_force(params: market_params.MarketParams):
    """
    @dev Every field fits: the bounds see to it. There is no proposal any more.
    """
    self.params = params
    self._phase_word = (
        params.commit_seconds | (params.reveal_seconds << 32) | (params.mechanism_version << 64)
    )
    self._epoch_word = (
        params.min_stake
        | (params.kappa << 88)
        | (params.bond_alpha << 148)
        | (params.activity_epochs << 208)
        | (params.validator_share_bps << 218)
        | (params.max_validators << 232)
        | (params.weight_cap_bps << 239)
    )
    self._stake_word = (
        params.min_stake
        | (params.unbonding_epochs << 88)
        | (params.audit_share_bps << 104)
        | (params.price_half_life << 120)
        | (params.refund_bps << 152)
        | (params.immunity_epochs << 166)
    )
    self._price_word = (
        params.min_price
        | (params.max_price << 112)
        | (params.max_miners << 224)
        | (params.floor_miners << 232)
    )
