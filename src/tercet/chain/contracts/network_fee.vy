# pragma version ==0.4.3
"""
@title The network's fee
@license Apache-2.0
@author Tercet contributors
@notice The part of every payment that goes to the network, how it can be changed,
        and the market that a receiver's income belongs to.
@dev The fee never exceeds 5 %, and a new one counts a week after it was announced: time enough to
     collect at the old one. Where it goes is fixed for ever. Fees are floored: dust stays with the receiver.
"""


event FeeProposed:
    fee_bps: uint256
    effective_at: uint256


event FeeProposalCancelled:
    fee_bps: uint256


event FeeChanged:
    fee_bps: uint256


event FeeOwnershipOffered:
    owner: indexed(address)
    pending_owner: indexed(address)


event FeeOwnershipTransferred:
    old_owner: indexed(address)
    new_owner: indexed(address)


event MarketDeclared:
    receiver: indexed(address)
    market: indexed(address)


MAX_FEE_BPS: public(constant(uint256)) = 500
FEE_DELAY: public(constant(uint256)) = 7 * 24 * 3_600

fee_sink: public(immutable(address))

fee_bps: public(uint256)
fee_owner: public(address)
pending_fee_owner: public(address)
market_of: public(HashMap[address, address])
_proposed_bps: uint256
_effective_at: uint256


@deploy
def __init__(_fee_bps: uint256, _fee_sink: address, _fee_owner: address):
    """
    @notice Fixes the sink and starts with a fee.
    @param _fee_bps The first fee, in ten-thousandths; at most 500.
    @param _fee_sink Where fees go, for ever.
    @param _fee_owner Who may announce another fee.
    """
    assert _fee_bps <= MAX_FEE_BPS, "fee: above the maximum"
    assert _fee_sink != empty(address), "fee: sink is the zero address"
    assert _fee_owner != empty(address), "fee: owner is the zero address"
    fee_sink = _fee_sink
    self.fee_bps = _fee_bps
    self.fee_owner = _fee_owner
    log FeeChanged(fee_bps=_fee_bps)
    log FeeOwnershipTransferred(old_owner=empty(address), new_owner=_fee_owner)


@external
def declare_market(market: address):
    """
    @notice Says which market the caller's income belongs to, from now on. Its fees count for that market.
    @param market The market; the zero address for none.
    """
    self.market_of[msg.sender] = market
    log MarketDeclared(receiver=msg.sender, market=market)


@external
def propose_fee(_fee_bps: uint256):
    """
    @notice Announces another fee; replaces an older announcement and starts the wait anew.
    @param _fee_bps Ten-thousandths; at most 500.
    """
    assert msg.sender == self.fee_owner, "fee: caller is not the owner"
    assert _fee_bps <= MAX_FEE_BPS, "fee: above the maximum"
    effective_at: uint256 = block.timestamp + FEE_DELAY
    self._proposed_bps = _fee_bps
    self._effective_at = effective_at
    log FeeProposed(fee_bps=_fee_bps, effective_at=effective_at)


@external
def cancel_fee():
    """
    @notice Takes the announcement back.
    """
    assert msg.sender == self.fee_owner, "fee: caller is not the owner"
    assert self._effective_at != 0, "fee: nothing proposed"
    log FeeProposalCancelled(fee_bps=self._proposed_bps)
    self._proposed_bps = 0
    self._effective_at = 0


@external
def apply_fee():
    """
    @notice Makes the announced fee count, once its time has come. Anyone may.
    """
    assert self._effective_at != 0, "fee: nothing proposed"
    assert block.timestamp >= self._effective_at, "fee: not due yet"
    fee: uint256 = self._proposed_bps
    self._proposed_bps = 0
    self._effective_at = 0
    self.fee_bps = fee
    log FeeChanged(fee_bps=fee)


@external
def transfer_fee_ownership(new_owner: address):
    """
    @notice Offers the right to announce fees to somebody, who must accept it.
    @param new_owner Who; the zero address takes an offer back.
    """
    assert msg.sender == self.fee_owner, "fee: caller is not the owner"
    self.pending_fee_owner = new_owner
    log FeeOwnershipOffered(owner=msg.sender, pending_owner=new_owner)


@external
def accept_fee_ownership():
    """
    @notice Takes over the right to announce fees.
    """
    assert msg.sender == self.pending_fee_owner, "fee: caller is not the pending owner"
    log FeeOwnershipTransferred(old_owner=self.fee_owner, new_owner=msg.sender)
    self.fee_owner = msg.sender
    self.pending_fee_owner = empty(address)


@external
@view
def proposed_fee() -> (uint256, uint256):
    """
    @notice The announced fee.
    @return (fee_bps, effective_at) From which second (Unix time) it can be applied; 0 means that none is announced.
    """
    return self._proposed_bps, self._effective_at


@internal
@view
def _fee_of(amount: uint256) -> uint256:
    """
    @notice The fee on a payment, rounded down.
    @param amount Base units, below 2**128.
    @return uint256 Base units.
    """
    return amount * self.fee_bps // 10_000
