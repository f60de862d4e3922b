# pragma version ==0.4.3
# pragma optimize codesize
"""
@title Tercet treasury
@license Apache-2.0
@author Tercet contributors
@notice One market's rewards: what sponsors, fees and emission pay in, what miners, validators and
        those who close epochs are owed, and what goes back. It holds no stakes and no deposits.
@dev The payout has an exact twin in Python (`tercet.market.treasury`).

     Two pots. An epoch has a reward pot (reward token: the active sponsors' rates, and the carry,
     which is what fees and gifts paid in before it began) and an emission pot (stake token).
     Both are split by the same rule. Who closes the epoch is paid from the reward pot first.

     What is not earned. Of the reward pot it goes back to the sponsors and to the carry, in
     proportion to what each had put in; of the emission pot it is burned.

     Rounding. Every payout is floored, and so is the sponsors' part of what is left over; the
     rest stays in the carry. A sponsorship's claims are floored too, and the last one to be
     settled takes what that left over. So nothing is ever stuck.

     Bounds. Pots are below 2**112, ranks below 2**64, shares (stake units x dividend) below
     2**144: no product overflows.

     One token. Reward and stake token may be the same contract: every pot is a number in the
     books here, never a balance that is asked for.
@custom:kill When its market is wound down, every reward and every unspent budget stays
             withdrawable for ever. There is no owner, no pause and no other switch.
"""
from ethereum.ercs import IERC20


struct Sponsorship:
    sponsor: address
    rate: uint256  # reward token base units per epoch
    first_epoch: uint256
    end_epoch: uint256  # first epoch without it
    returned: uint256  # budget given back by cancelling
    claimed: uint256  # refunds already paid
    settled: bool  # the last refund has been paid


struct Books:
    owed: uint256  # not yet withdrawn, reward token; with one token for both, all that is owed
    budget: uint256  # sponsors' budgets for this and later epochs, reward token
    refundable: uint256  # what sponsors have back and may claim, reward token
    carry: uint256  # for this and the next epoch, reward token
    emission: uint256  # for this and the next epoch, stake token
    owed_stake: uint256  # not yet withdrawn, stake token; 0 with one token for both


struct MinerShare:
    uid: uint256
    owner: address
    rank: uint256


struct SeatShare:
    vid: uint256
    pool: uint256
    owner: address
    share: uint256


struct Terms:
    epoch: uint256
    rank_total: uint256  # all ranks, the unspent column's too
    earned: uint256  # the miners' ranks
    validator_share_bps: uint256


struct Payout:
    to_miners: uint256
    to_validators: uint256
    amounts: DynArray[uint256, 64]  # in the order of the seats; empty when they get nothing


interface Market:
    def epoch() -> uint256: view
    def last_epoch() -> uint256: view
    def is_closing() -> bool: view
    def is_wound_down() -> bool: view
    def owner() -> address: view


interface Stakes:
    def reward(
        epoch: uint256,
        token: address,
        pools: DynArray[uint256, 64],
        amounts: DynArray[uint256, 64],
    ): nonpayable


interface Burnable:
    def burn(amount: uint256): nonpayable


event Sponsored:
    sponsorship: indexed(uint256)
    sponsor: indexed(address)
    rate: uint256
    first_epoch: uint256
    end_epoch: uint256


event SponsorshipCancelled:
    sponsorship: indexed(uint256)
    sponsor: indexed(address)
    end_epoch: uint256
    returned: uint256


event RefundClaimed:
    sponsorship: indexed(uint256)
    sponsor: indexed(address)
    amount: uint256


event Funded:
    funder: indexed(address)
    epoch: indexed(uint256)
    amount: uint256


event EmissionFunded:
    funder: indexed(address)
    epoch: indexed(uint256)
    amount: uint256


event Poked:
    poker: indexed(address)
    steps: uint256
    amount: uint256


event MinerRewarded:
    epoch: indexed(uint256)
    uid: indexed(uint256)
    owner: indexed(address)
    token: address
    amount: uint256


event ValidatorRewarded:
    epoch: indexed(uint256)
    vid: indexed(uint256)
    owner: indexed(address)
    token: address
    amount: uint256


event EpochPaid:
    epoch: indexed(uint256)
    reward: uint256
    pokes: uint256
    to_miners: uint256
    to_validators: uint256
    refunded: uint256
    carried: uint256


event CarryRefunded:
    epoch: indexed(uint256)
    amount: uint256


event EmissionPaid:
    epoch: indexed(uint256)
    emission: uint256
    to_miners: uint256
    to_validators: uint256
    burned: uint256


event Withdrawn:
    owner: indexed(address)
    reward_amount: uint256
    stake_amount: uint256


event Swept:
    receiver: indexed(address)
    amount: uint256


# Of an epoch's reward, for closing it.
POKE_BPS: constant(uint256) = 50
# Refunds per unit of rate are kept over 10**27: a pot (112 bits) x 10**27 (90 bits) fits.
REFUND_PRECISION: constant(uint256) = 10 ** 27
# All rates together; carry and emission, each with what waits for the next epoch.
MAX_RATE: constant(uint256) = 2 ** 96
MAX_FUND: constant(uint256) = 2 ** 111
MAX_EPOCHS: constant(uint256) = 1_000_000


_CREATOR: immutable(address)
stake_token: public(immutable(address))
reward_token: public(immutable(address))
sink: public(immutable(address))

market: public(address)
stakes: public(address)

# Sponsors.
sponsorships: HashMap[uint256, Sponsorship]
sponsorship_count: public(uint256)
open_sponsorships: uint256
ending_rate: HashMap[uint256, uint256]  # rate that ends with the epoch before this one
refund_index: uint256  # all refunds per unit of rate so far
starting_index: HashMap[uint256, uint256]  # the same before a sponsorship, by number
ending_index: HashMap[uint256, uint256]  # the same before an epoch that a sponsorship does not reach
reward_rate: uint256
budget: uint256
refundable: uint256

# The other money.
carry: uint256  # in the running epoch's reward
next_carry: public(uint256)
emission: public(uint256)  # the running epoch's
next_emission: public(uint256)
poked: uint256  # paid from the running epoch's reward so far, for closing it
owed: public(HashMap[address, HashMap[address, uint256]])  # by token, then owner
total_owed: HashMap[address, uint256]  # by token


@deploy
def __init__(_stake_token: address, _reward_token: address, _sink: address):
    """
    @notice Fixes the tokens. Called by the registry.
    @param _stake_token What emission comes in. Its holders can burn it (`Token`).
    @param _reward_token What sponsors and fees pay in; may be the same.
    @param _sink Who gets the carry that is left after the last epoch; the zero address leaves it
           to the last epoch's sponsors, or else to the market's owner.
    """
    _CREATOR = msg.sender
    stake_token = _stake_token
    reward_token = _reward_token
    sink = _sink


@external
def attach(market: address, stakes: address):
    """
    @notice Names the market that this treasury serves. Its creator, once.
    @param market The market.
    @param stakes Where the validators' rewards go.
    """
    assert msg.sender == _CREATOR, "treasury: caller is not the creator"
    assert self.market == empty(address), "treasury: already attached"
    self.market = market
    self.stakes = stakes


# --- Sponsors ---


@external
@nonreentrant
def sponsor(budget: uint256, epochs: uint256) -> uint256:
    """
    @notice Pays `budget // epochs` into each epoch, from the running one on.
    @dev Only rate x epochs is taken; the remainder of the division stays with the caller.
    @param budget Reward token base units.
    @param epochs How many epochs, 1..1,000,000.
    @return uint256 The sponsorship's number, for `claim_refund` and `cancel`.
    """
    self._require_open()
    assert 0 < epochs and epochs <= MAX_EPOCHS, "treasury: epochs out of bounds"
    rate: uint256 = budget // epochs
    assert rate > 0, "treasury: budget too small"
    assert rate < MAX_RATE and self.reward_rate + rate < MAX_RATE, "treasury: budget too large"
    first: uint256 = self._epoch()
    number: uint256 = self.sponsorship_count
    self.sponsorship_count = number + 1
    self.open_sponsorships += 1
    self.sponsorships[number] = Sponsorship(
        sponsor=msg.sender,
        rate=rate,
        first_epoch=first,
        end_epoch=first + epochs,
        returned=0,
        claimed=0,
        settled=False,
    )
    self.starting_index[number] = self.refund_index
    self.reward_rate += rate
    self.ending_rate[first + epochs] += rate
    self.budget += rate * epochs
    log Sponsored(
        sponsorship=number,
        sponsor=msg.sender,
        rate=rate,
        first_epoch=first,
        end_epoch=first + epochs,
    )
    self._pull(reward_token, rate * epochs)
    return number


@external
@nonreentrant
def cancel(number: uint256):
    """
    @notice Ends a sponsorship with the running epoch; the rest of the budget can be claimed.
    @param number The sponsorship; the caller must be its sponsor.
    """
    self._require_open()
    grant: Sponsorship = self.sponsorships[number]
    assert msg.sender == grant.sponsor, "treasury: caller is not the sponsor"
    end: uint256 = self._epoch() + 1
    assert end < grant.end_epoch, "treasury: sponsorship ends with this epoch"
    rest: uint256 = grant.rate * (grant.end_epoch - end)
    self.ending_rate[grant.end_epoch] -= grant.rate
    self.ending_rate[end] += grant.rate
    self.sponsorships[number].end_epoch = end
    self.sponsorships[number].returned = rest
    self.budget -= rest
    self.refundable += rest
    log SponsorshipCancelled(
        sponsorship=number, sponsor=msg.sender, end_epoch=end, returned=rest
    )


@external
@nonreentrant
def claim_refund(number: uint256) -> uint256:
    """
    @notice Pays out what a sponsor has back so far.
    @dev Shares are floored; the last sponsorship to be settled takes what floors left over.
    @param number The sponsorship; the caller must be its sponsor.
    @return uint256 Reward token base units paid.
    """
    grant: Sponsorship = self.sponsorships[number]
    assert msg.sender == grant.sponsor, "treasury: caller is not the sponsor"
    assert not grant.settled, "treasury: sponsorship is settled"
    epoch: uint256 = self._epoch()
    last: uint256 = self._last_epoch()
    amount: uint256 = self._refundable(number, grant, epoch, last)
    if epoch >= min(grant.end_epoch, self._end_of_time(last)):
        self.sponsorships[number].settled = True
        self.open_sponsorships -= 1
        if self.open_sponsorships == 0:
            amount = self.refundable
    else:
        assert amount > 0, "treasury: nothing to claim"
    self.sponsorships[number].claimed = grant.claimed + amount
    self.refundable -= amount
    log RefundClaimed(sponsorship=number, sponsor=msg.sender, amount=amount)
    self._push(reward_token, msg.sender, amount)
    return amount


# --- Fees, gifts and emission ---


@external
@nonreentrant
def fund(amount: uint256):
    """
    @notice Pays into the next epoch's reward. Anyone may; nothing comes back to the payer.
    @dev After the last epoch it still takes money, so that whoever passes fees on is never
         stopped by a market's end; that money is for `sweep`.
    @param amount Reward token base units.
    """
    self._require_not_closing()
    self.next_carry = self._raised(self.carry, self.next_carry, amount)
    log Funded(funder=msg.sender, epoch=self._epoch() + 1, amount=amount)
    self._pull(reward_token, amount)


@external
@nonreentrant
def fund_emission(amount: uint256):
    """
    @notice Pays into the next epoch's emission pot. Anyone may; what is not earned is burned.
    @param amount Stake token base units.
    """
    self._require_open()
    self.next_emission = self._raised(self.emission, self.next_emission, amount)
    log EmissionFunded(funder=msg.sender, epoch=self._epoch() + 1, amount=amount)
    self._pull(stake_token, amount)


@external
@nonreentrant
def sweep() -> uint256:
    """
    @notice Once the market is wound down: sends the carry, which nobody can earn any more, to
            the sink, or to the market's owner when there is no sink. Anyone may.
    @return uint256 Reward token base units sent.
    """
    assert staticcall Market(self.market).is_wound_down(), "treasury: market is not wound down"
    amount: uint256 = self.next_carry
    assert amount > 0, "treasury: nothing to sweep"
    receiver: address = sink
    if receiver == empty(address):
        receiver = staticcall Market(self.market).owner()
    self.next_carry = 0
    log Swept(receiver=receiver, amount=amount)
    self._push(reward_token, receiver, amount)
    return amount


# --- The epoch ---


@external
@nonreentrant
def poke(poker: address, steps: uint256, of_steps: uint256):
    """
    @notice Owes somebody for a part of the work of closing the epoch. Only the market may,
            once for each step, before it distributes.
    @param poker Who did it.
    @param steps How many steps.
    @param of_steps How many the whole closing has.
    """
    self._require_market()
    amount: uint256 = self._reward() * POKE_BPS // 10_000 // of_steps * steps
    if amount == 0:
        return
    self.poked += amount
    self.owed[reward_token][poker] += amount
    self.total_owed[reward_token] += amount
    log Poked(poker=poker, steps=steps, amount=amount)


@external
@nonreentrant
def distribute(
    epoch: uint256,
    last: bool,
    rank_total: uint256,
    earned: uint256,
    validator_share_bps: uint256,
    miners: DynArray[MinerShare, 255],
    seats: DynArray[SeatShare, 64],
) -> (uint256, uint256, uint256):
    """
    @notice Pays both pots of an epoch out and begins the next one. Only the market may, at the
            end of closing and before its own clock moves.
    @dev Of each pot, earned / rank_total is spent; of that the validators get their share in
         proportion to `share`, the miners the rest in proportion to `rank`.
    @param epoch The epoch that ends.
    @param last Whether no other follows.
    @param rank_total All ranks, the unspent column's too; 0 without a consensus.
    @param earned The miners' ranks.
    @param validator_share_bps The validators' part over 10,000.
    @param miners Who earned.
    @param seats The validators and what their part is divided by.
    @return (uint256, uint256, uint256) Of the reward pot: to miners, to validators, back to
            the sponsors.
    """
    self._require_market()
    terms: Terms = Terms(
        epoch=epoch, rank_total=rank_total, earned=earned, validator_share_bps=validator_share_bps
    )
    # All that this changes here stands before the first call to a token.
    rewarded: Payout = self._pay(reward_token, self._reward() - self.poked, terms, miners, seats)
    emitted: Payout = self._pay(stake_token, self.emission, terms, miners, seats)
    refund: uint256 = self._close_reward(epoch, last, rewarded)
    lost: uint256 = self._close_emission(epoch, last, emitted)
    self._end_sponsorships(epoch + 1, last)
    self._hand_over(reward_token, epoch, seats, rewarded)
    self._hand_over(stake_token, epoch, seats, emitted)
    if lost != 0:
        extcall Burnable(stake_token).burn(lost)
    return rewarded.to_miners, rewarded.to_validators, refund


# --- Money out ---


@external
@nonreentrant
def withdraw() -> (uint256, uint256):
    """
    @notice Pays the caller all it is owed.
    @return (uint256, uint256) Base units of the reward token and of the stake token; when they
            are one contract, all is in the first.
    """
    reward_amount: uint256 = self._settle(reward_token, msg.sender)
    stake_amount: uint256 = self._settle(stake_token, msg.sender)
    assert reward_amount + stake_amount > 0, "treasury: nothing to withdraw"
    log Withdrawn(owner=msg.sender, reward_amount=reward_amount, stake_amount=stake_amount)
    self._push(reward_token, msg.sender, reward_amount)
    self._push(stake_token, msg.sender, stake_amount)
    return reward_amount, stake_amount


# --- Views ---


@external
@view
def reward() -> uint256:
    """
    @notice The running epoch's reward pot, before those who close it are paid.
    @return uint256 Reward token base units: the active sponsors' rates and the carry.
    """
    return self._reward()


@external
@view
def books() -> Books:
    """
    @notice What the treasury holds and for whom.
    @dev While an epoch is closing, what was paid for that so far is taken off budgets and carry
         in proportion, so that the sum is right at any moment.
    @return Books owed + budget + refundable + carry of the reward token, emission + owed_stake
            of the stake token.
    """
    by_sponsors: uint256 = 0
    if self.poked != 0:
        by_sponsors = self.poked * self.reward_rate // self._reward()
    owed_stake: uint256 = 0
    if stake_token != reward_token:
        owed_stake = self.total_owed[stake_token]
    return Books(
        owed=self.total_owed[reward_token],
        budget=self.budget - by_sponsors,
        refundable=self.refundable,
        carry=self.carry + self.next_carry - (self.poked - by_sponsors),
        emission=self.emission + self.next_emission,
        owed_stake=owed_stake,
    )


@external
@view
def get_sponsorship(number: uint256) -> (Sponsorship, uint256):
    """
    @notice A sponsorship and what its sponsor could claim now.
    @param number The sponsorship.
    @return (Sponsorship, uint256) The record; reward token base units.
    """
    grant: Sponsorship = self.sponsorships[number]
    if grant.settled:
        return grant, 0
    return grant, self._refundable(number, grant, self._epoch(), self._last_epoch())


# --- Paying an epoch, step by step ---


@internal
def _pay(
    token: address,
    pot: uint256,
    terms: Terms,
    miners: DynArray[MinerShare, 255],
    seats: DynArray[SeatShare, 64],
) -> Payout:
    """
    @dev Splits a pot, floored: owes the miners, and says what is for the validators.
    """
    payout: Payout = empty(Payout)
    if pot == 0 or terms.earned == 0:
        return payout
    spent: uint256 = pot * terms.earned // terms.rank_total
    for_validators: uint256 = spent * terms.validator_share_bps // 10_000
    for_miners: uint256 = spent - for_validators
    for miner: MinerShare in miners:
        amount: uint256 = for_miners * miner.rank // terms.earned
        if amount == 0:
            continue
        payout.to_miners += amount
        self.owed[token][miner.owner] += amount
        log MinerRewarded(
            epoch=terms.epoch, uid=miner.uid, owner=miner.owner, token=token, amount=amount
        )
    self.total_owed[token] += payout.to_miners

    shares: uint256 = 0
    for seat: SeatShare in seats:
        shares += seat.share
    if shares == 0:
        return payout
    for seat: SeatShare in seats:
        amount: uint256 = for_validators * seat.share // shares
        payout.amounts.append(amount)
        payout.to_validators += amount
        if amount != 0:
            log ValidatorRewarded(
                epoch=terms.epoch, vid=seat.vid, owner=seat.owner, token=token, amount=amount
            )
    return payout


@internal
def _close_reward(epoch: uint256, last: bool, paid: Payout) -> uint256:
    """
    @dev Gives back what was not earned, and sets the next epoch's carry. Returns the refund.
    """
    reward: uint256 = self._reward()
    rate: uint256 = self.reward_rate
    pokes: uint256 = self.poked
    rest: uint256 = reward - pokes - paid.to_miners - paid.to_validators
    refund: uint256 = 0
    if rate != 0:
        refund = rest * rate // reward
    carried: uint256 = rest - refund
    log EpochPaid(
        epoch=epoch,
        reward=reward,
        pokes=pokes,
        to_miners=paid.to_miners,
        to_validators=paid.to_validators,
        refunded=refund,
        carried=carried,
    )
    back: uint256 = refund
    carried += self.next_carry
    if last and rate != 0 and sink == empty(address) and carried != 0:
        back += carried
        log CarryRefunded(epoch=epoch, amount=carried)
        carried = 0
    if rate != 0:
        self.refund_index += back * REFUND_PRECISION // rate
        self.refundable += back
        self.budget -= rate
    self.poked = 0
    # After the last epoch what is left waits for `sweep`.
    self.carry = 0 if last else carried
    self.next_carry = carried if last else 0
    return refund


@internal
def _close_emission(epoch: uint256, last: bool, paid: Payout) -> uint256:
    """
    @dev Sets the next epoch's emission pot. Returns what is to be burned.
    """
    pot: uint256 = self.emission
    following: uint256 = self.next_emission
    burned: uint256 = pot - paid.to_miners - paid.to_validators
    if pot != 0:
        log EmissionPaid(
            epoch=epoch,
            emission=pot,
            to_miners=paid.to_miners,
            to_validators=paid.to_validators,
            burned=burned,
        )
    self.emission = 0 if last else following
    self.next_emission = 0
    return burned + (following if last else 0)


@internal
def _hand_over(token: address, epoch: uint256, seats: DynArray[SeatShare, 64], paid: Payout):
    """
    @dev Sends the validators' part to `Stakes`, which splits each pool's among its members.
    """
    if paid.to_validators == 0:
        return
    pools: DynArray[uint256, 64] = []
    amounts: DynArray[uint256, 64] = []
    for k: uint256 in range(len(seats), bound=64):
        if paid.amounts[k] != 0:
            pools.append(seats[k].pool)
            amounts.append(paid.amounts[k])
    self._push(token, self.stakes, paid.to_validators)
    extcall Stakes(self.stakes).reward(epoch, token, pools, amounts)


@internal
def _end_sponsorships(epoch: uint256, last: bool):
    """
    @dev Ends what ends before this epoch; after the last epoch, all.
    """
    if last:
        self.reward_rate = 0
        self.refundable += self.budget
        self.budget = 0
        return
    ending: uint256 = self.ending_rate[epoch]
    if ending != 0:
        self.reward_rate -= ending
        self.ending_index[epoch] = self.refund_index


# --- Small parts ---


@internal
@view
def _refundable(
    number: uint256, grant: Sponsorship, epoch: uint256, last: uint256
) -> uint256:
    """
    @dev Floored share of all refunds since the sponsorship began, what cancelling gave back,
         and after the last epoch the budget of all epochs that never ran; less what was paid.
    """
    end: uint256 = min(grant.end_epoch, self._end_of_time(last))
    index: uint256 = self.refund_index
    if grant.end_epoch <= min(epoch, last):
        index = self.ending_index[end]
    index -= self.starting_index[number]
    total: uint256 = grant.rate * index // REFUND_PRECISION + grant.returned
    if epoch >= end:
        total += grant.rate * (grant.end_epoch - end)
    return total - grant.claimed


@internal
@pure
def _end_of_time(last: uint256) -> uint256:
    """
    @dev First epoch that will never run; unbounded while the market is open.
    """
    if last == max_value(uint256):
        return max_value(uint256)
    return last + 1


@internal
@view
def _reward() -> uint256:
    return self.reward_rate + self.carry


@internal
@pure
def _raised(running: uint256, following: uint256, amount: uint256) -> uint256:
    """
    @dev What waits for the next epoch with an amount more; both epochs together stay bounded.
    """
    assert (
        amount < MAX_FUND and running + following + amount < MAX_FUND
    ), "treasury: amount too large"
    return following + amount


@internal
@view
def _epoch() -> uint256:
    return staticcall Market(self.market).epoch()


@internal
@view
def _last_epoch() -> uint256:
    return staticcall Market(self.market).last_epoch()


@internal
@view
def _require_market():
    assert msg.sender == self.market, "treasury: caller is not the market"


@internal
@view
def _require_not_closing():
    assert not staticcall Market(self.market).is_closing(), "treasury: epoch is closing"


@internal
@view
def _require_open():
    self._require_not_closing()
    assert self._last_epoch() == max_value(uint256), "treasury: winding down"


@internal
def _settle(token: address, owner: address) -> uint256:
    """
    @dev Takes off the books what an owner is owed in a token, to be sent. Returns how much.
    """
    amount: uint256 = self.owed[token][owner]
    self.owed[token][owner] = 0
    self.total_owed[token] -= amount
    return amount


@internal
def _pull(token: address, amount: uint256):
    if amount != 0:
        assert extcall IERC20(token).transferFrom(
            msg.sender, self, amount, default_return_value=True
        ), "treasury: token transfer failed"


@internal
def _push(token: address, receiver: address, amount: uint256):
    if amount != 0:
        assert extcall IERC20(token).transfer(
            receiver, amount, default_return_value=True
        ), "treasury: token transfer failed"
