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
    min_price: uint256
    max_price: uint256
    price_half_life: uint256
    refund_bps: uint256
    floor_miners: uint256


struct StakeTerms:
    min_stake: uint256
    unbonding_epochs: uint256
    audit_share_bps: uint256


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

_CREATOR: immutable(address)
timelock_seconds: public(immutable(uint256))

market: public(address)
owner: public(address)
pending_owner: public(address)
params: public(market_params.MarketParams)  # those in force
_proposed: market_params.MarketParams
_effective_at: uint256  # Unix seconds; 0 means no proposal


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
    self.params = _params
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
    self._effective_at = effective_at
    log ParamsProposed(owner=msg.sender, effective_at=effective_at, params=params)


@external
def cancel_proposal():
    """
    @notice Takes the proposal back; the rules in force stay.
    """
    self._require_owner()
    assert self._effective_at != 0, "rules: no proposal"
    self._clear_proposal()
    log ProposalCancelled(owner=msg.sender)


@external
def take_effect():
    """
    @notice Puts the due proposal in force. Only the market may, which does so between two epochs.
    """
    assert msg.sender == self.market, "rules: caller is not the market"
    assert self._is_due(), "rules: nothing is due"
    params: market_params.MarketParams = self._proposed
    self.params = params
    self._clear_proposal()
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
    return self._proposed, self._effective_at


# --- Parts of the rules in force, for the contracts that go by them ---


@external
@view
def phase_terms() -> PhaseTerms:
    """
    @notice What a commit and a reveal are checked by.
    @return PhaseTerms See the struct; units and bounds as in `market_params`.
    """
    return PhaseTerms(
        commit_seconds=self.params.commit_seconds,
        reveal_seconds=self.params.reveal_seconds,
        mechanism_version=self.params.mechanism_version,
    )


@external
@view
def epoch_terms() -> EpochTerms:
    """
    @notice What the closing of an epoch goes by.
    @return EpochTerms See the struct; units and bounds as in `market_params`.
    """
    return EpochTerms(
        activity_epochs=self.params.activity_epochs,
        kappa=self.params.kappa,
        bond_alpha=self.params.bond_alpha,
        validator_share_bps=self.params.validator_share_bps,
        max_validators=self.params.max_validators,
        min_stake=self.params.min_stake,
        weight_cap_bps=self.params.weight_cap_bps,
    )


@external
@view
def miner_terms() -> MinerTerms:
    """
    @notice What a miner's slot costs, and when it is lost.
    @return MinerTerms See the struct; units and bounds as in `market_params`.
    """
    return MinerTerms(
        max_miners=self.params.max_miners,
        immunity_epochs=self.params.immunity_epochs,
        min_price=self.params.min_price,
        max_price=self.params.max_price,
        price_half_life=self.params.price_half_life,
        refund_bps=self.params.refund_bps,
        floor_miners=self.params.floor_miners,
    )


@external
@view
def stake_terms() -> StakeTerms:
    """
    @notice What `Stakes` goes by.
    @return StakeTerms See the struct; units and bounds as in `market_params`.
    """
    return StakeTerms(
        min_stake=self.params.min_stake,
        unbonding_epochs=self.params.unbonding_epochs,
        audit_share_bps=self.params.audit_share_bps,
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
def _is_due() -> bool:
    return self._effective_at != 0 and self._effective_at <= block.timestamp


@internal
def _clear_proposal():
    self._proposed = empty(market_params.MarketParams)
    self._effective_at = 0
