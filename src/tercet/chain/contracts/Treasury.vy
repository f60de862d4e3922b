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

     Bounds. Pots are below 2**96, so what anybody is owed after 2**32 epochs is below 2**128.
     Ranks are below 2**64, shares (stake units x dividend) below 2**144: no product overflows.

     Words. A closing touches every number here, so two numbers share a slot where they can.

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


struct Pot:
    money: uint256
    for_miners: uint256  # what may be paid; what is paid comes below it
    for_validators: uint256
    to_miners: uint256
    to_validators: uint256


interface Market:
    def epoch() -> uint256: view
    def last_epoch() -> uint256: view
    def is_closing() -> bool: view
    def is_wound_down() -> bool: view
    def owner() -> address: view
    def stakes() -> address: view


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
# Refunds per unit of rate are kept over 10**27: a pot (96 bits) x 10**27 (90 bits) fits.
REFUND_PRECISION: constant(uint256) = 10 ** 27
# All rates together; carry and emission, each with what waits for the next epoch.
MAX_RATE: constant(uint256) = 2 ** 95
MAX_FUND: constant(uint256) = 2 ** 95
# More than any token's transfer needs. A token that takes more pays no validators, but stops no closing.
TRANSFER_GAS: constant(uint256) = 500_000
LOW_128: constant(uint256) = 2 ** 128 - 1
# Highest bit of `rates`: the miners of the epoch that is closing have been paid, see `paid`.
MINERS_PAID: constant(uint256) = 2 ** 255
LOW_160: constant(uint256) = 2 ** 160 - 1
MAX_EPOCHS: constant(uint256) = 1_000_000


_CREATOR: immutable(address)
stake_token: public(immutable(address))
reward_token: public(immutable(address))
sink: public(immutable(address))

market: public(address)

# Sponsors.
sponsorships: HashMap[uint256, Sponsorship]
sponsorship_count: public(uint256)
open_sponsorships: uint256
ending_rate: HashMap[uint256, uint256]  # rate that ends with the epoch before this one
refund_index: uint256  # all refunds per unit of rate so far
starting_index: HashMap[uint256, uint256]  # the same before a sponsorship, by number
ending_index: HashMap[uint256, uint256]  # the same before an epoch that a sponsorship does not reach

# Words of two numbers, the first in the low 128 bits.
rates: uint256  # all sponsors' rates; what was paid for closing the running epoch so far
budgets: uint256  # for this and later epochs; refundable
carries: uint256  # in the running epoch's reward; in the next one's
emissions: uint256  # the running epoch's pot; the next one's
dues: HashMap[address, uint256]  # by owner: in reward token; in stake token, if that is another
total_due: uint256  # the same, all owners together
paid: uint256  # to the miners of the epoch that is closing: in reward token; in stake token


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
def attach(market: address):
    """
    @notice Names the market that this treasury serves. Its creator, once.
    @param market The market; its `stakes` is where the validators' rewards go.
    """
    assert msg.sender == _CREATOR, "treasury: caller is not the creator"
    assert self.market == empty(address), "treasury: already attached"
    self.market = market


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
    rates: uint256 = self.rates
    assert (
        rate < MAX_RATE and (rates & LOW_128) + rate < MAX_RATE
    ), "treasury: budget too large"
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
    self.rates = rates + rate
    self.ending_rate[first + epochs] += rate
    self.budgets += rate * epochs
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
    self.budgets = self.budgets - rest + (rest << 128)
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
            amount = self.budgets >> 128
    else:
        assert amount > 0, "treasury: nothing to claim"
    self.sponsorships[number].claimed = grant.claimed + amount
    self.budgets -= amount << 128
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
    self.carries = self._raised(self.carries, amount)
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
    self.emissions = self._raised(self.emissions, amount)
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
    amount: uint256 = self.carries >> 128
    assert amount > 0, "treasury: nothing to sweep"
    receiver: address = sink
    if receiver == empty(address):
        receiver = staticcall Market(self.market).owner()
    self.carries = 0
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
    amount: uint256 = self._poke_share(self._reward()) // of_steps * steps
    if amount == 0:
        return
    self.rates += amount << 128
    self.dues[poker] += amount
    self.total_due += amount
    log Poked(poker=poker, steps=steps, amount=amount)


@external
@nonreentrant
def distribute(
    epoch: uint256,
    last: bool,
    votes: uint256,
    earned: uint256,
    validator_share_bps: uint256,
    miners: DynArray[uint256, 255],
    seats: DynArray[uint256, 64],
    final: bool,
) -> (uint256, uint256, uint256):
    """
    @notice Pays both pots of an epoch out and begins the next one. Only the market may, at the
            end of closing and before its own clock moves.
    @dev Called once, or twice when all of it is too much for one transaction: first for the
         miners alone. The part of the reward that may go to who closes the epoch is no part of
         the pot, so nothing that happens in between changes a payout.
         Of each pot, earned / votes is spent; of that the validators get their share in
         proportion to `share`, the miners the rest in proportion to `rank`.
         The market cannot be stopped here by a reward token: where that does not take the
         transfer to `stakes`, the validators' part goes back with what was not earned.
    @param epoch The epoch that ends.
    @param last Whether no other follows.
    @param votes All that was voted: what the ranks would be if everybody had agreed.
    @param earned The miners' ranks: what was agreed upon.
    @param validator_share_bps The validators' part over 10,000.
    @param miners Who earned: owner (160 bits), uid (8), rank (64); nobody without a rank.
    @param seats The validators: pool (32 bits), and what their part is divided by (144).
    @param final Whether the epoch ends with this; else only the miners are paid.
    @return (uint256, uint256, uint256) Of the reward pot: to miners, to validators, back to
            the sponsors.
    """
    self._require_market()
    reward: uint256 = self._reward()
    rewarded: Pot = self._fill_pot(
        reward - self._poke_share(reward), votes, earned, validator_share_bps
    )
    emitted: Pot = self._fill_pot(self.emissions & LOW_128, votes, earned, validator_share_bps)
    in_reward: uint256 = 0
    in_stake: uint256 = 0
    for word: uint256 in miners:
        in_reward = rewarded.for_miners * (word >> 168) // earned
        in_stake = emitted.for_miners * (word >> 168) // earned
        if in_reward + in_stake == 0:
            continue
        rewarded.to_miners += in_reward
        emitted.to_miners += in_stake
        self.dues[convert(word & LOW_160, address)] += self._both(in_reward, in_stake)
        self._log_miner(epoch, word, reward_token, in_reward)
        self._log_miner(epoch, word, stake_token, in_stake)
    self.total_due += self._both(rewarded.to_miners, emitted.to_miners)
    if not final:
        assert self.rates < MINERS_PAID, "treasury: miners are paid"
        self.paid = rewarded.to_miners | (emitted.to_miners << 128)
        self.rates |= MINERS_PAID
        return rewarded.to_miners, 0, 0
    in_reward, in_stake = self._paid_before()
    rewarded.to_miners += in_reward
    emitted.to_miners += in_stake

    stakes: address = staticcall Market(msg.sender).stakes()
    shares: uint256 = 0
    pools: DynArray[uint256, 64] = []
    for word: uint256 in seats:
        shares += word >> 32
        pools.append(word & 4_294_967_295)
    reward_amounts: DynArray[uint256, 64] = []
    stake_amounts: DynArray[uint256, 64] = []
    if shares != 0:
        for word: uint256 in seats:
            in_reward = rewarded.for_validators * (word >> 32) // shares
            in_stake = emitted.for_validators * (word >> 32) // shares
            reward_amounts.append(in_reward)
            stake_amounts.append(in_stake)
            rewarded.to_validators += in_reward
            emitted.to_validators += in_stake
    # The only call to a token that somebody else chose. Nobody can come back in: all that could
    # move money here is locked, and refused while the market is closing.
    if not self._hand_over(stakes, rewarded.to_validators):
        rewarded.to_validators = 0
    refund: uint256 = self._close_reward(epoch, last, rewarded)
    lost: uint256 = self._close_emission(epoch, last, emitted)
    self._end_sponsorships(epoch + 1, last)
    # `Stakes` has the sums; it splits each pool's part among its members, and logs it.
    if rewarded.to_validators != 0:
        extcall Stakes(stakes).reward(epoch, reward_token, pools, reward_amounts)
    if emitted.to_validators != 0:
        self._push(stake_token, stakes, emitted.to_validators)
        extcall Stakes(stakes).reward(epoch, stake_token, pools, stake_amounts)
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
    due: uint256 = self.dues[msg.sender]
    assert due != 0, "treasury: nothing to withdraw"
    self.dues[msg.sender] = 0
    self.total_due -= due
    reward_amount: uint256 = due & LOW_128
    stake_amount: uint256 = due >> 128
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
def next_carry() -> uint256:
    """
    @notice What fees and gifts have paid in for the next epoch; after the last one, for `sweep`.
    @return uint256 Reward token base units.
    """
    return self.carries >> 128


@external
@view
def emission() -> uint256:
    """
    @notice The running epoch's emission pot.
    @return uint256 Stake token base units.
    """
    return self.emissions & LOW_128


@external
@view
def next_emission() -> uint256:
    """
    @notice What is paid in for the next epoch's emission pot.
    @return uint256 Stake token base units.
    """
    return self.emissions >> 128


@external
@view
def owed(token: address, owner: address) -> uint256:
    """
    @notice What somebody can withdraw.
    @param token The reward token or the stake token.
    @param owner Who.
    @return uint256 Base units.
    """
    if token == reward_token:
        return self.dues[owner] & LOW_128
    if token == stake_token:
        return self.dues[owner] >> 128
    return 0


@external
@view
def books() -> Books:
    """
    @notice What the treasury holds and for whom.
    @dev While an epoch is closing, what was paid out of its reward so far is taken off budgets
         and carry in proportion, so that the sum is right at any moment.
    @return Books owed + budget + refundable + carry of the reward token, emission + owed_stake
            of the stake token.
    """
    in_reward: uint256 = 0
    in_stake: uint256 = 0
    in_reward, in_stake = self._paid_before()
    in_reward += self._pokes()
    by_sponsors: uint256 = 0
    if in_reward != 0:
        by_sponsors = in_reward * (self.rates & LOW_128) // self._reward()
    return Books(
        owed=self.total_due & LOW_128,
        budget=(self.budgets & LOW_128) - by_sponsors,
        refundable=self.budgets >> 128,
        carry=(self.carries & LOW_128) + (self.carries >> 128) - (in_reward - by_sponsors),
        emission=(self.emissions & LOW_128) + (self.emissions >> 128) - in_stake,
        owed_stake=self.total_due >> 128,
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
@pure
def _fill_pot(
    money: uint256, votes: uint256, earned: uint256, validator_share_bps: uint256
) -> Pot:
    """
    @dev Divides what was earned of a pot between miners and validators, floored.
    """
    pot: Pot = empty(Pot)
    pot.money = money
    if earned != 0:
        spent: uint256 = money * earned // votes
        pot.for_validators = spent * validator_share_bps // 10_000
        pot.for_miners = spent - pot.for_validators
    return pot


@internal
@view
def _both(in_reward: uint256, in_stake: uint256) -> uint256:
    """
    @dev Two amounts in one word; with one token for both, their sum in the low half.
    """
    if stake_token == reward_token:
        return in_reward + in_stake
    return in_reward | (in_stake << 128)


@internal
def _log_miner(epoch: uint256, word: uint256, token: address, amount: uint256):
    if amount != 0:
        log MinerRewarded(
            epoch=epoch,
            uid=(word >> 160) & 255,
            owner=convert(word & LOW_160, address),
            token=token,
            amount=amount,
        )


@internal
def _close_reward(epoch: uint256, last: bool, paid: Pot) -> uint256:
    """
    @dev Gives back what was not earned, and sets the next epoch's carry. Returns the refund.
    """
    rate: uint256 = self.rates & LOW_128
    reward: uint256 = self._reward()
    pokes: uint256 = self._pokes()
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
    carried += self.carries >> 128
    if last and rate != 0 and sink == empty(address) and carried != 0:
        back += carried
        log CarryRefunded(epoch=epoch, amount=carried)
        carried = 0
    if rate != 0:
        self.refund_index += back * REFUND_PRECISION // rate
        self.budgets = self.budgets - rate + (back << 128)
    self.rates = rate
    # After the last epoch what is left waits for `sweep`.
    self.carries = carried << 128 if last else carried
    return refund


@internal
def _close_emission(epoch: uint256, last: bool, paid: Pot) -> uint256:
    """
    @dev Sets the next epoch's emission pot. Returns what is to be burned.
    """
    following: uint256 = self.emissions >> 128
    burned: uint256 = paid.money - paid.to_miners - paid.to_validators
    if paid.money != 0:
        log EmissionPaid(
            epoch=epoch,
            emission=paid.money,
            to_miners=paid.to_miners,
            to_validators=paid.to_validators,
            burned=burned,
        )
    self.emissions = 0 if last else following
    return burned + (following if last else 0)


@internal
def _hand_over(stakes: address, amount: uint256) -> bool:
    """
    @dev Sends the validators' part to `Stakes`; says whether the token took it.
    """
    if amount == 0:
        return True
    success: bool = False
    response: Bytes[32] = b""
    success, response = raw_call(
        reward_token,
        abi_encode(stakes, amount, method_id=method_id("transfer(address,uint256)")),
        max_outsize=32,
        gas=TRANSFER_GAS,
        revert_on_failure=False,
    )
    return success and (len(response) == 0 or convert(response, uint256) != 0)


@internal
def _end_sponsorships(epoch: uint256, last: bool):
    """
    @dev Ends what ends before this epoch; after the last epoch, all.
    """
    if last:
        self.rates = 0
        self.budgets = (self.budgets + (self.budgets << 128)) & ~LOW_128
        return
    ending: uint256 = self.ending_rate[epoch]
    if ending != 0:
        self.rates -= ending
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
    return (self.rates & LOW_128) + (self.carries & LOW_128)


@internal
@pure
def _poke_share(reward: uint256) -> uint256:
    """
    @dev The most that closing the epoch pays; floors leave a bit of it, which is not earned.
    """
    return reward * POKE_BPS // 10_000


@internal
@view
def _pokes() -> uint256:
    return (self.rates & ~MINERS_PAID) >> 128


@internal
@view
def _paid_before() -> (uint256, uint256):
    """
    @dev What the miners have got of an epoch that is still closing, of either pot.
    """
    if self.rates < MINERS_PAID:
        return 0, 0
    return self.paid & LOW_128, self.paid >> 128


@internal
@pure
def _raised(word: uint256, amount: uint256) -> uint256:
    """
    @dev A running epoch's pot and the next one's, which gains the amount; both stay bounded.
    """
    assert (
        amount < MAX_FUND and (word & LOW_128) + (word >> 128) + amount < MAX_FUND
    ), "treasury: amount too large"
    return word + (amount << 128)


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
