# pragma version ==0.4.3
"""
@title Tercet emission
@license Apache-2.0
@author Tercet contributors
@notice The only minter of the stake token. Each period may pay a fixed rate of what is left of
        a reserve; an allocator splits it between markets, and whatever it says, no market ever
        gets more than a fixed part (beta) of what was burned for it in that period.
@dev The budget of a period is that rate of the reserve less all that was minted before the
     period began. What nobody earned is not minted and stays in the reserve for later periods.
     What is burned never comes back into it.

     The reserve cannot be overdrawn. Let D(k) be what is left when the periods up to k have
     been paid in full. A period's budget counts everything minted for periods that expired
     before it began, so D(k) >= D(k - 1) - rate * D(k - 1 - expiry). With q = e / (e + 1) for
     expiry e, D(k) >= q * D(k - 1) holds for ever if rate <= q**e / (e + 1), and
     rate <= 1 / (3 * (e + 1)) is enough for that.

     An award falls due evenly over the period that follows, so that it pays those who work
     then, and not those who stand in one epoch. All amounts floor.
@custom:kill There is no switch. The owner may only name another allocator, which counts from a
             period that begins after every older claim has expired, and is held to the same
             bounds. Without anybody burning, nothing is minted.
"""
from ethereum.ercs import IERC20


struct Choice:
    allocator: address
    since: uint256  # first period that it splits


struct Award:
    amount: uint256  # fixed at the first collect, stake token base units
    paid: uint256


interface Fees:
    def stake_token() -> address: view
    def start() -> uint256: view
    def period_seconds() -> uint256: view
    def burned(market: address, period: uint256) -> uint256: view


interface Market:
    def treasury() -> address: view


interface Treasury:
    def fund_emission(amount: uint256): nonpayable


interface Allocator:
    def allocate(market: address, period: uint256, budget: uint256) -> uint256: view


interface Mintable:
    def mint(receiver: address, amount: uint256): nonpayable
    def totalSupply() -> uint256: view
    def cap() -> uint256: view


event Collected:
    market: indexed(address)
    period: indexed(uint256)
    amount: uint256
    award: uint256  # the whole of it


event AllocatorProposed:
    allocator: indexed(address)
    since: uint256


event ProposalCancelled:
    allocator: indexed(address)


event OwnershipOffered:
    owner: indexed(address)
    heir: indexed(address)


event OwnershipTransferred:
    former: indexed(address)
    owner: indexed(address)


_ONE: constant(uint256) = 10 ** 18
_MAX_EXPIRY: constant(uint256) = 52

fees: public(immutable(address))
stake_token: public(immutable(address))
start: public(immutable(uint256))
period_seconds: public(immutable(uint256))
reserve: public(immutable(uint256))
rate: public(immutable(uint256))
beta_bps: public(immutable(uint256))
expiry: public(immutable(uint256))

owner: public(address)
pending_owner: public(address)
minted: public(uint256)
promised: public(HashMap[uint256, uint256])  # by period: the sum of its awards
_awards: HashMap[address, HashMap[uint256, Award]]  # by market and period
_opened: HashMap[uint256, uint256]  # by period: minted before it began, + 1; 0: nothing minted in it
_choices: HashMap[uint256, Choice]
_choice_count: uint256


@deploy
def __init__(
    _fees: address,
    allocator: address,
    _owner: address,
    _reserve: uint256,
    _rate: uint256,
    _beta_bps: uint256,
    _expiry: uint256,
):
    """
    @notice Fixes the schedule.
    @dev `set_minter` of the token must name this contract before anything can be collected.
    @param _fees Knows what was burned, and the clock of periods.
    @param allocator The first allocator.
    @param _owner Who may name another one.
    @param _reserve All that may ever be minted, stake token base units.
    @param _rate Part of what is left that a period may pay, over 10**18.
    @param _beta_bps Most that a market gets of what was burned for it, ten-thousandths, 1..9000.
    @param _expiry Periods after which a claim is lost, 2..52.
    """
    assert _fees.is_contract, "emission: fees is not a contract"
    assert allocator.is_contract, "emission: allocator is not a contract"
    assert _owner != empty(address), "emission: owner is the zero address"
    assert 2 <= _expiry and _expiry <= _MAX_EXPIRY, "emission: expiry out of bounds"
    assert 0 < _rate and _rate <= _ONE // (3 * (_expiry + 1)), "emission: rate out of bounds"
    assert 0 < _beta_bps and _beta_bps <= 9_000, "emission: beta_bps out of bounds"
    fees = _fees
    stake_token = staticcall Fees(_fees).stake_token()
    start = staticcall Fees(_fees).start()
    period_seconds = staticcall Fees(_fees).period_seconds()
    supply: uint256 = staticcall Mintable(stake_token).totalSupply()
    assert (
        supply + _reserve <= staticcall Mintable(stake_token).cap()
    ), "emission: reserve above the cap"
    reserve = _reserve
    rate = _rate
    beta_bps = _beta_bps
    expiry = _expiry
    self.owner = _owner
    self._choices[0] = Choice(allocator=allocator, since=0)
    self._choice_count = 1
    log AllocatorProposed(allocator=allocator, since=0)
    log OwnershipTransferred(former=empty(address), owner=_owner)


@external
@nonreentrant
def collect(market: address, period: uint256) -> uint256:
    """
    @notice Mints what is due of a market's award for a period, into its next epoch. Anyone may.
    @dev The first call fixes the award. It falls due evenly over the following period; what is
         not collected when the claim expires stays in the reserve.
    @param market A listed market.
    @param period A finished period, at most `expiry` periods ago.
    @return uint256 Stake token base units minted now.
    """
    assert period < self._period(), "emission: period is not over"
    self._require_live(period)
    award: Award = self._awards[market][period]
    if award.amount == 0:
        award.amount = self._allocate(market, period)
        self.promised[period] += award.amount
    amount: uint256 = self._due(award, period)
    assert amount != 0, "emission: nothing to collect"
    award.paid += amount
    self._awards[market][period] = award
    self._record(amount)
    log Collected(market=market, period=period, amount=amount, award=award.amount)
    # Fees counts burns for listed markets only, so an award leads to our own code.
    treasury: address = staticcall Market(market).treasury()
    extcall Mintable(stake_token).mint(self, amount)
    assert extcall IERC20(stake_token).approve(treasury, amount), "emission: approval failed"
    extcall Treasury(treasury).fund_emission(amount)
    return amount


# --- The owner ---


@external
def propose_allocator(allocator: address):
    """
    @notice Names another allocator. It splits periods that begin after all older claims expired.
    @dev Takes the place of an earlier proposal that does not count yet, with a new delay.
    @param allocator Its contract.
    """
    self._require_owner()
    assert allocator.is_contract, "emission: allocator is not a contract"
    count: uint256 = self._choice_count
    if self._is_proposal(count - 1):
        count -= 1
    since: uint256 = self._period() + expiry + 1
    self._choices[count] = Choice(allocator=allocator, since=since)
    self._choice_count = count + 1
    log AllocatorProposed(allocator=allocator, since=since)


@external
def cancel_proposal():
    """
    @notice Takes back a proposed allocator that does not count yet.
    """
    self._require_owner()
    last: uint256 = self._choice_count - 1
    assert self._is_proposal(last), "emission: nothing proposed"
    self._choice_count = last
    log ProposalCancelled(allocator=self._choices[last].allocator)


@external
def transfer_ownership(heir: address):
    """
    @notice Offers the ownership; the heir must accept it. Zero takes an offer back.
    @param heir Who may accept.
    """
    self._require_owner()
    self.pending_owner = heir
    log OwnershipOffered(owner=msg.sender, heir=heir)


@external
def accept_ownership():
    """
    @notice Takes an offered ownership over.
    """
    assert msg.sender == self.pending_owner, "emission: ownership was not offered to the caller"
    log OwnershipTransferred(former=self.owner, owner=msg.sender)
    self.owner = msg.sender
    self.pending_owner = empty(address)


# --- Views ---


@external
@view
def period() -> uint256:
    """
    @notice The running period.
    @return uint256 Its number, from 0.
    """
    return self._period()


@external
@view
def left() -> uint256:
    """
    @notice What is left of the reserve.
    @return uint256 Stake token base units.
    """
    return reserve - self.minted


@external
@view
def budget(period: uint256) -> uint256:
    """
    @notice The most that all markets together get for a period.
    @param period The running period, or one whose claims have not expired.
    @return uint256 Stake token base units.
    """
    assert period <= self._period(), "emission: period has not begun"
    self._require_live(period)
    return self._budget(period)


@external
@view
def award(market: address, period: uint256) -> (uint256, uint256, uint256):
    """
    @notice A market's award for a period: as it was fixed, or as a collect would fix it now.
    @param market The market.
    @param period The period. Nothing is due before it is over, or after its claims expired.
    @return (amount, paid, due) Stake token base units.
    """
    found: Award = self._awards[market][period]
    running: uint256 = self._period()
    if period >= running or period + expiry < running:
        return found.amount, found.paid, 0
    if found.amount == 0:
        found.amount = self._allocate(market, period)
    return found.amount, found.paid, self._due(found, period)


@external
@view
def allocator_of(period: uint256) -> address:
    """
    @notice Who splits a period.
    @param period The running period, a later one, or one whose claims have not expired.
    @return address The allocator's contract.
    """
    return self._allocator_of(period)


@external
@view
def proposal() -> (address, uint256):
    """
    @notice The allocator that was proposed and does not count yet.
    @return (allocator, since) The first period that it will split; zero: none.
    """
    last: uint256 = self._choice_count - 1
    if not self._is_proposal(last):
        return empty(address), 0
    return self._choices[last].allocator, self._choices[last].since


# --- Small parts ---


@internal
@view
def _allocate(market: address, period: uint256) -> uint256:
    budget: uint256 = self._budget(period)
    answer: uint256 = staticcall Allocator(self._allocator_of(period)).allocate(
        market, period, budget
    )
    most: uint256 = staticcall Fees(fees).burned(market, period) * beta_bps // 10_000
    return min(min(answer, most), budget - self.promised[period])


@internal
@view
def _due(award: Award, period: uint256) -> uint256:
    # The following period begins at `opens`; a collect is never earlier.
    opens: uint256 = start + (period + 1) * period_seconds
    elapsed: uint256 = min(block.timestamp - opens, period_seconds)
    return award.amount * elapsed // period_seconds - award.paid


@internal
@view
def _budget(period: uint256) -> uint256:
    # Nothing was minted between the period's begin and the first later period that has a record.
    before: uint256 = self.minted
    for k: uint256 in range(period, self._period() + 1, bound=_MAX_EXPIRY + 1):
        record: uint256 = self._opened[k]
        if record != 0:
            before = record - 1
            break
    return (reserve - before) * rate // _ONE


@internal
def _record(amount: uint256):
    running: uint256 = self._period()
    if self._opened[running] == 0:
        self._opened[running] = self.minted + 1
    self.minted += amount


@internal
@view
def _allocator_of(period: uint256) -> address:
    # A choice takes longer to count than a claim takes to expire, so the last three cover all.
    count: uint256 = self._choice_count
    for back: uint256 in range(1, 4):
        choice: Choice = self._choices[count - back]
        if choice.since <= period:
            return choice.allocator
    raise "emission: period has expired"


@internal
@view
def _is_proposal(index: uint256) -> bool:
    return self._choices[index].since > self._period()


@internal
@view
def _require_live(period: uint256):
    assert period + expiry >= self._period(), "emission: period has expired"


@internal
@view
def _require_owner():
    assert msg.sender == self.owner, "emission: caller is not the owner"


@internal
@view
def _period() -> uint256:
    return (block.timestamp - start) // period_seconds
