# pragma version ==0.4.3
# pragma optimize codesize
"""
@title Tercet stakes
@license Apache-2.0
@author Tercet contributors
@notice The stake of one market's validators, their own and delegated: pools, unbonding, the
        owner's take, slashing, and the rewards that validators' seats earn.
@dev The rules of one pool have an exact twin in Python (`tercet.market.stakes`).

     Pools. A pool belongs to one seat and is named by the seat's generation, so no pool is ever
     used twice. Bonded tokens stand behind shares; unbonding tokens behind shares of their own.
     Only slashing changes what a share is worth, and rounding never lifts it above one token:
     shares >= tokens in both. Tokens sent here without a call belong to nobody.

     Epochs. Shares that came in this epoch are *pending* and turn *active* with the next one;
     nobody has to do anything for it. Who unstakes gives up pending shares first, then active
     ones. So the active shares of an epoch are exactly those held over all of it so far, and
     only they weigh and earn: stake that comes for one closing earns nothing in it.

     Rewards. An index for each pool and token counts what an active share has earned. Shares
     that turn active start from the index at the end of the epoch they came in (`endings`).

     Rounding is in the pool's favour: shares given and tokens paid are floored, shares taken are
     rounded up, a cut is floored. What floors leave of rewards stays in the pool's pot, and goes
     to the pool's owner when the last share leaves.
@custom:kill There is no owner and no switch. When the market is wound down nothing new comes in,
             unbonding ends at once, and stake and rewards stay withdrawable for ever.
"""
from ethereum.ercs import IERC20


struct Terms:
    owner: address  # 160 bits; whose seat it is
    closed: bool  # the seat is gone
    take_bps: uint256  # 16 bits; the owner's part of what delegators' shares earn
    next_take_bps: uint256  # 16 bits
    next_take_epoch: uint256  # 32 bits; from when the next take counts; 0 means there is none


struct Holding:
    active: uint256  # 112 bits; shares held since before the epoch
    pending: uint256  # 112 bits; shares that came in the epoch
    epoch: uint256  # 32 bits; the epoch that pending shares came in


struct Purse:
    pot: uint256  # 112 bits; what the pool's shares have earned and nobody has settled yet
    take: uint256  # 112 bits; what the pool's owner can claim beside that
    dust: uint256  # 32 bits; the part of the pot that the index could not express yet


struct PoolView:
    owner: address
    closed: bool
    take_bps: uint256  # in force in this epoch
    next_take_bps: uint256  # the announced raise, else the same
    next_take_epoch: uint256  # first epoch of the announced raise; 0 means there is none
    bonded: uint256  # tokens, active and pending
    active: uint256  # tokens that count in this epoch
    pending: uint256  # tokens that count from the next one
    unbonding: uint256  # tokens
    shares: uint256  # behind bonded
    active_shares: uint256
    unbonding_shares: uint256


struct PositionView:
    active: uint256  # tokens
    pending: uint256  # tokens
    unbonding: uint256  # tokens
    release_epoch: uint256  # first epoch in which these can be withdrawn; 0 means there are none
    reward: uint256  # claimable, reward token; an owner's take with it
    stake_reward: uint256  # claimable, stake token; 0 when one contract is both tokens
    shares: uint256


struct Books:
    bonded: uint256
    unbonding: uint256
    reward: uint256  # unclaimed rewards in reward token, held parts with them
    stake_reward: uint256  # the same in stake token; 0 when one contract is both tokens


struct StakeTerms:
    min_stake: uint256  # own stake that a validator needs, stake token base units
    unbonding_epochs: uint256
    audit_share_bps: uint256  # of a reward, held until an audit


interface Market:
    def epoch() -> uint256: view
    def last_epoch() -> uint256: view
    def rules() -> address: view


interface Rules:
    def stake_terms() -> StakeTerms: view


interface Treasury:
    def fund(amount: uint256): nonpayable


interface Burnable:
    def burn(amount: uint256): nonpayable


event PoolOpened:
    pool: indexed(uint256)
    owner: indexed(address)
    amount: uint256
    take_bps: uint256


event PoolClosed:
    pool: indexed(uint256)
    owner: indexed(address)


event Staked:
    pool: indexed(uint256)
    owner: indexed(address)
    amount: uint256
    shares: uint256
    epoch: uint256


event Unstaked:
    pool: indexed(uint256)
    owner: indexed(address)
    amount: uint256
    shares: uint256
    release_epoch: uint256


event Withdrawn:
    pool: indexed(uint256)
    owner: indexed(address)
    amount: uint256


event Claimed:
    pool: indexed(uint256)
    owner: indexed(address)
    reward: uint256
    stake_reward: uint256


event TakeSet:
    pool: indexed(uint256)
    owner: indexed(address)
    take_bps: uint256
    from_epoch: uint256


event Rewarded:
    pool: indexed(uint256)
    epoch: indexed(uint256)
    owner: indexed(address)
    token: address
    amount: uint256
    take: uint256
    held: uint256


event Released:
    pool: indexed(uint256)
    epoch: indexed(uint256)
    reward: uint256
    stake_reward: uint256


event Forfeited:
    pool: indexed(uint256)
    epoch: indexed(uint256)
    reward: uint256
    stake_reward: uint256


event Slashed:
    pool: indexed(uint256)
    receiver: indexed(address)
    bps: uint256
    bonded: uint256
    unbonding: uint256
    to_receiver: uint256
    burned: uint256


# The market's consensus works in whole stake units of 10**12 base units, all below 2**48.
STAKE_UNIT: constant(uint256) = 10 ** 12
MAX_UNITS: constant(uint256) = 2 ** 48
MAX_TAKE_BPS: public(constant(uint256)) = 2_000
# A seat that earned more of an epoch than that, ten-thousandths, has too few others to judge it.
AUDITED_UP_TO_BPS: constant(uint256) = 3_000
# Rewards per share are kept over 10**27: rewards (112 bits) x 2**90 x epochs (32 bits) fits.
PRECISION: constant(uint256) = 10 ** 27
# Unclaimed rewards of one token stay below this.
MAX_REWARDS: constant(uint256) = 2 ** 112
# A pool takes no new stake once slashing has left less than 2**-24 of a share's first worth:
# so shares (88 bits of tokens and 24 more) always fit 112 bits.
MAX_DEPTH: constant(uint256) = 24
# Kinds of reward.
IN_REWARD_TOKEN: constant(uint256) = 0
IN_STAKE_TOKEN: constant(uint256) = 1

# The most that is held of one amount. A treasury's pots are below 2**96, of which less than a sixth can be held; it pays
# each of its two pots once an epoch.
MAX_HELD: constant(uint256) = 2 ** 95 - 1

LOW_96: constant(uint256) = 2 ** 96 - 1
LOW_112: constant(uint256) = 2 ** 112 - 1
LOW_128: constant(uint256) = 2 ** 128 - 1


stake_token: public(immutable(address))
reward_token: public(immutable(address))
audits: public(immutable(address))  # may slash and decides over held rewards; zero: nobody
_CREATOR: immutable(address)
_KINDS: immutable(uint256)  # 1 when one contract is both tokens, else 2

market: public(address)
treasury: public(address)

# Pools.
terms: HashMap[uint256, uint256]  # packed Terms
shares: HashMap[uint256, uint256]  # packed Holding: of all positions together
funds: HashMap[uint256, uint256]  # bonded tokens | unbonding tokens << 128
unbonding_shares: HashMap[uint256, uint256]

# Positions.
positions: HashMap[uint256, HashMap[address, uint256]]  # packed Holding
unbondings: HashMap[uint256, HashMap[address, uint256]]  # release epoch (32 bits) | shares << 32

# Rewards. A line is one pool's account in one token: 2 * pool + kind.
indexes: HashMap[uint256, uint256]  # by line: earned by one share held since the beginning
purses: HashMap[uint256, uint256]  # by line: packed Purse
endings: HashMap[uint256, HashMap[uint256, uint256]]  # by line, epoch: the index at its end
starts: HashMap[uint256, HashMap[address, uint256]]  # by line: the index a position is settled to
settled: HashMap[uint256, HashMap[address, uint256]]  # by line: settled and not claimed yet
# By line, held of the newest even epoch in the low half and of the newest odd one in the high: a part of 96 bits,
# then its epoch. A part that was decided leaves its epoch, so that the next writes where something stands.
held: HashMap[uint256, uint256]
overdue: HashMap[uint256, HashMap[uint256, uint256]]  # by line, epoch: what was undecided when its place was needed

# All pools together.
total_funds: uint256  # bonded | unbonding << 128
total_rewards: uint256[2]  # by kind: unclaimed


@deploy
def __init__(_stake_token: address, _reward_token: address, _audits: address):
    """
    @notice Fixes the tokens. Called by the registry, which attaches the market next.
    @param _stake_token What is staked.
    @param _reward_token What sponsors of the market pay in; may be the same contract.
    @param _audits Contract that may slash and that decides over held rewards; zero means nobody
           ever slashes, and nothing is held.
    """
    stake_token = _stake_token
    reward_token = _reward_token
    audits = _audits
    _CREATOR = msg.sender
    _KINDS = 1 if _stake_token == _reward_token else 2


@external
def attach(market: address, treasury: address):
    """
    @notice Names the market and its treasury. Only the creator may, once.
    @param market Opens and closes pools, and says what epoch it is.
    @param treasury Pays the rewards in.
    """
    assert msg.sender == _CREATOR, "stakes: caller is not the creator"
    assert self.market == empty(address), "stakes: already attached"
    self.market = market
    self.treasury = treasury


# --- Pools ---


@external
@nonreentrant
def open_pool(pool: uint256, owner: address, amount: uint256, take_bps: uint256):
    """
    @notice Opens a validator's pool with its own first stake. Only the market may.
    @dev The owner must have approved the stake to this contract.
    @param pool The seat's generation.
    @param owner The validator's owner, who pays the stake.
    @param amount Stake token base units, at least the market's `min_stake`.
    @param take_bps The owner's part of what delegators' shares earn.
    """
    self._require_market()
    assert self.terms[pool] == 0, "stakes: pool already open"
    assert amount >= self._stake_terms().min_stake, "stakes: own stake below the minimum"
    assert take_bps <= MAX_TAKE_BPS, "stakes: take above the maximum"
    self._store_terms(
        pool,
        Terms(owner=owner, closed=False, take_bps=take_bps, next_take_bps=0, next_take_epoch=0),
    )
    self._bond(pool, owner, amount, self._epoch())
    log PoolOpened(pool=pool, owner=owner, amount=amount, take_bps=take_bps)
    self._pull(owner, amount)


@external
@nonreentrant
def close_pool(pool: uint256):
    """
    @notice The seat is gone: the pool weighs nothing from now on and takes no stake. Only the market may.
    @dev Everybody may unstake, the owner all of it; what was earned stays claimable.
    @param pool The pool.
    """
    self._require_market()
    terms: Terms = self._load_open(pool)
    terms.closed = True
    self._store_terms(pool, terms)
    log PoolClosed(pool=pool, owner=terms.owner)


@external
@nonreentrant
def set_take(pool: uint256, take_bps: uint256):
    """
    @notice Changes the owner's part of what delegators' shares earn. The newest call counts.
    @dev A lower one counts at once. A higher one counts only after everybody who unstakes now
         has their tokens back, so nobody can be caught by it.
    @param pool The pool; the caller must be its owner.
    @param take_bps At most `MAX_TAKE_BPS`.
    """
    terms: Terms = self._load_open(pool)
    assert msg.sender == terms.owner, "stakes: caller is not the pool's owner"
    assert take_bps <= MAX_TAKE_BPS, "stakes: take above the maximum"
    epoch: uint256 = self._epoch()
    from_epoch: uint256 = epoch
    terms.take_bps = self._take_in(terms, epoch)
    terms.next_take_bps = 0
    terms.next_take_epoch = 0
    if take_bps > terms.take_bps:
        from_epoch = epoch + self._stake_terms().unbonding_epochs + 1
        terms.next_take_bps = take_bps
        terms.next_take_epoch = from_epoch
    else:
        terms.take_bps = take_bps
    self._store_terms(pool, terms)
    log TakeSet(pool=pool, owner=msg.sender, take_bps=take_bps, from_epoch=from_epoch)


# --- Stake ---


@external
@nonreentrant
def stake(pool: uint256, amount: uint256):
    """
    @notice Adds to the caller's stake in a pool, its own or another's. Counts from the next epoch.
    @dev The caller must have approved the amount.
    @param pool The pool.
    @param amount Stake token base units.
    """
    assert amount > 0, "stakes: amount is zero"
    self._load_open(pool)
    assert self._last_epoch() == max_value(uint256), "stakes: market is winding down"
    epoch: uint256 = self._epoch()
    shares: uint256 = self._bond(pool, msg.sender, amount, epoch)
    log Staked(pool=pool, owner=msg.sender, amount=amount, shares=shares, epoch=epoch)
    self._pull(msg.sender, amount)


@external
@nonreentrant
def unstake(pool: uint256, amount: uint256) -> uint256:
    """
    @notice Starts unbonding of the caller's stake. What unbonds neither weighs nor earns, and can
            still be slashed.
    @dev All unbonding tokens of one position are released together: unstaking again puts off
         what is unbonding already. While the pool is open its owner must keep the market's
         `min_stake`; to go altogether it leaves the seat.
    @param pool The pool.
    @param amount Stake token base units; the largest number means everything.
    @return uint256 Stake token base units that unbond now.
    """
    terms: Terms = self._load_terms(pool)
    epoch: uint256 = self._epoch()
    mine: Holding = self._settle(pool, msg.sender, epoch)
    whole: Holding = self._roll(self.shares[pool], epoch)
    bonded: uint256 = 0
    unbonding: uint256 = 0
    bonded, unbonding = self._load_pair(self.funds[pool])

    own: uint256 = mine.active + mine.pending
    all_shares: uint256 = whole.active + whole.pending
    worth: uint256 = self._worth(own, bonded, all_shares)
    tokens: uint256 = amount
    if amount == max_value(uint256):
        tokens = worth
    assert tokens <= worth, "stakes: more than the stake"
    # All that a position is worth takes all its shares; less takes shares rounded up.
    gone: uint256 = own
    if tokens < worth:
        gone = (tokens * all_shares + bonded - 1) // bonded
    assert gone > 0, "stakes: amount is zero"
    bonded -= tokens
    if msg.sender == terms.owner and not terms.closed:
        rest: uint256 = self._worth(own - gone, bonded, all_shares - gone)
        assert rest >= self._stake_terms().min_stake, "stakes: own stake below the minimum"

    # Newest first: so what stays active was held over the whole epoch.
    newest: uint256 = min(gone, mine.pending)
    mine.pending -= newest
    mine.active -= gone - newest
    whole.pending -= newest
    whole.active -= gone - newest
    self._store_holding(pool, msg.sender, mine)
    self.shares[pool] = self._pack_holding(whole)

    release_epoch: uint256 = epoch + self._stake_terms().unbonding_epochs
    if tokens != 0:
        entering: uint256 = tokens
        behind: uint256 = self.unbonding_shares[pool]
        if behind != 0:
            # Not by zero: a slash leaves nothing unbonding only where it leaves nothing bonded,
            # and such a pool takes no stake again while those shares are here.
            entering = tokens * behind // unbonding
        self.unbonding_shares[pool] = behind + entering
        word: uint256 = self.unbondings[pool][msg.sender]
        self.unbondings[pool][msg.sender] = (((word >> 32) + entering) << 32) | release_epoch
    self.funds[pool] = self._pack_pair(bonded, unbonding + tokens)
    self._move_total(0, tokens, tokens, 0)
    if gone == all_shares:
        self._give_dust(pool)
    log Unstaked(
        pool=pool, owner=msg.sender, amount=tokens, shares=gone, release_epoch=release_epoch
    )
    return tokens


@external
@nonreentrant
def withdraw(pool: uint256) -> uint256:
    """
    @notice Pays the caller's unbonding tokens once they are released, or the market is wound down.
    @param pool The pool.
    @return uint256 Stake token base units paid.
    """
    word: uint256 = self.unbondings[pool][msg.sender]
    shares: uint256 = word >> 32
    assert shares != 0, "stakes: nothing to withdraw"
    epoch: uint256 = self._epoch()
    assert (
        epoch >= word & 4_294_967_295 or epoch > self._last_epoch()
    ), "stakes: still unbonding"
    bonded: uint256 = 0
    unbonding: uint256 = 0
    bonded, unbonding = self._load_pair(self.funds[pool])
    behind: uint256 = self.unbonding_shares[pool]
    amount: uint256 = self._worth(shares, unbonding, behind)
    self.unbondings[pool][msg.sender] = 0
    self.unbonding_shares[pool] = behind - shares
    self.funds[pool] = self._pack_pair(bonded, unbonding - amount)
    self._move_total(0, 0, 0, amount)
    log Withdrawn(pool=pool, owner=msg.sender, amount=amount)
    self._push(stake_token, msg.sender, amount)
    return amount


# --- Rewards ---


@external
@nonreentrant
def claim(pool: uint256) -> (uint256, uint256):
    """
    @notice Pays what the caller's stake in a pool has earned; a pool's owner gets the take with it.
    @param pool The pool.
    @return (reward, stake_reward) In reward token and in stake token, base units; all in the
            first when one contract is both.
    """
    self._store_holding(pool, msg.sender, self._settle(pool, msg.sender, self._epoch()))
    is_owner: bool = self._load_terms(pool).owner == msg.sender
    paid: uint256[2] = [0, 0]
    for kind: uint256 in range(_KINDS, bound=2):
        line: uint256 = 2 * pool + kind
        paid[kind] = self.settled[line][msg.sender]
        if paid[kind] != 0:
            self.settled[line][msg.sender] = 0
        if is_owner:
            purse: Purse = self._load_purse(line)
            paid[kind] += purse.take
            purse.take = 0
            self._store_purse(line, purse)
        self.total_rewards[kind] -= paid[kind]
    assert paid[0] + paid[1] > 0, "stakes: nothing to claim"
    log Claimed(pool=pool, owner=msg.sender, reward=paid[0], stake_reward=paid[1])
    self._push(reward_token, msg.sender, paid[0])
    self._push(stake_token, msg.sender, paid[1])
    return paid[0], paid[1]


@external
@nonreentrant
def reward(
    epoch: uint256, token: address, pools: DynArray[uint256, 64], amounts: DynArray[uint256, 64]
):
    """
    @notice Shares out what seats earned in the running epoch. Only the treasury may, and has sent the sum before.
    @dev Of each amount the audit share is held for an audit of that epoch, unless the seat earned
         more than three tenths of the sum: its others would weigh so little that any stranger with
         a few seats could withhold its pay by not vouching. Of the rest the owner gets the take,
         floored; the active shares get what remains.
         A closing must never fail here: more than the books can hold (2**112 - 1 unclaimed base
         units) is left lying, owed to nobody, instead of freezing everybody's stake.
    @param epoch The running epoch.
    @param token The reward token or the stake token.
    @param pools The seats' pools.
    @param amounts What each earned, base units.
    """
    assert msg.sender == self.treasury, "stakes: caller is not the treasury"
    assert len(pools) == len(amounts), "stakes: lists differ in length"
    kind: uint256 = IN_REWARD_TOKEN
    if token != reward_token:
        assert token == stake_token, "stakes: unknown token"
        kind = IN_STAKE_TOKEN
    audit_share: uint256 = 0
    if audits != empty(address):
        audit_share = self._stake_terms().audit_share_bps
    earned: uint256 = 0
    for amount: uint256 in amounts:
        earned += amount
    total: uint256 = self.total_rewards[kind]
    k: uint256 = 0
    for pool: uint256 in pools:
        amount: uint256 = amounts[k]
        k += 1
        if amount == 0 or amount >= MAX_REWARDS - total:
            continue
        total += amount
        kept: uint256 = 0
        if amount * 10_000 <= earned * AUDITED_UP_TO_BPS:
            kept = min(amount * audit_share // 10_000, MAX_HELD)
        if kept != 0:
            self._hold(2 * pool + kind, epoch, kept)
        take: uint256 = self._share_out(pool, kind, amount - kept, epoch)
        log Rewarded(
            pool=pool,
            epoch=epoch,
            owner=convert(self.terms[pool] & (2 ** 160 - 1), address),
            token=token,
            amount=amount,
            take=take,
            held=kept,
        )
    self.total_rewards[kind] = total


# --- Audits ---


@external
@nonreentrant
def slash(pool: uint256, bps: uint256, receiver: address) -> uint256:
    """
    @notice Cuts all stake of a pool, bonded and unbonding alike. Only the audits contract may.
    @dev Half of the cut, floored, goes to the receiver, the rest is burned. Rewards are not touched.
    @param pool The pool.
    @param bps How much, 1..10000.
    @param receiver Who gets its half; zero burns all.
    @return uint256 Stake token base units cut.
    """
    self._require_audits()
    self._load_terms(pool)
    assert 0 < bps and bps <= 10_000, "stakes: slash out of bounds"
    bonded: uint256 = 0
    unbonding: uint256 = 0
    bonded, unbonding = self._load_pair(self.funds[pool])
    bonded_cut: uint256 = bonded * bps // 10_000
    unbonding_cut: uint256 = unbonding * bps // 10_000
    self.funds[pool] = self._pack_pair(bonded - bonded_cut, unbonding - unbonding_cut)
    self._move_total(0, bonded_cut, 0, unbonding_cut)
    cut: uint256 = bonded_cut + unbonding_cut
    to_receiver: uint256 = 0
    if receiver != empty(address):
        to_receiver = cut // 2
    log Slashed(
        pool=pool,
        receiver=receiver,
        bps=bps,
        bonded=bonded_cut,
        unbonding=unbonding_cut,
        to_receiver=to_receiver,
        burned=cut - to_receiver,
    )
    self._push(stake_token, receiver, to_receiver)
    self._burn(cut - to_receiver)
    return cut


@external
@nonreentrant
def release(pool: uint256, epoch: uint256) -> (uint256, uint256):
    """
    @notice Pays out what was held of an epoch's rewards, as a reward of now. Only the audits contract may.
    @param pool The pool.
    @param epoch The audited epoch.
    @return (reward, stake_reward) What was held in reward token and in stake token.
    """
    paid: uint256[2] = self._take_held(pool, epoch)
    now: uint256 = self._epoch()
    for kind: uint256 in range(_KINDS, bound=2):
        if paid[kind] != 0:
            self._share_out(pool, kind, paid[kind], now)
    log Released(pool=pool, epoch=epoch, reward=paid[0], stake_reward=paid[1])
    return paid[0], paid[1]


@external
@nonreentrant
def forfeit(pool: uint256, epoch: uint256) -> (uint256, uint256):
    """
    @notice Takes away what was held of an epoch's rewards: reward token goes to the market's
            next rewards, stake token is burned. Only the audits contract may.
    @dev The treasury refuses money while the market is closing: then this has to wait.
    @param pool The pool.
    @param epoch The audited epoch.
    @return (reward, stake_reward) What was held in reward token and in stake token.
    """
    lost: uint256[2] = self._take_held(pool, epoch)
    self.total_rewards[0] -= lost[0]
    self.total_rewards[1] -= lost[1]
    log Forfeited(pool=pool, epoch=epoch, reward=lost[0], stake_reward=lost[1])
    if lost[0] != 0:
        assert extcall IERC20(reward_token).approve(
            self.treasury, lost[0], default_return_value=True
        ), "stakes: token transfer failed"
        extcall Treasury(self.treasury).fund(lost[0])
    self._burn(lost[1])
    return lost[0], lost[1]


# --- Views ---


@external
@view
def effective(pools: DynArray[uint256, 64], min_own: uint256) -> DynArray[uint256, 64]:
    """
    @notice What pools weigh now: the least stake held over the running epoch so far.
    @param pools Which pools.
    @param min_own Own active stake that an owner needs, base units; a pool below it weighs nothing.
    @return DynArray[uint256, 64] Stake token base units; 0 for a closed pool.
    """
    epoch: uint256 = self._epoch()
    found: DynArray[uint256, 64] = []
    for pool: uint256 in pools:
        terms: Terms = self._unpack_terms(self.terms[pool])
        weight: uint256 = 0
        if terms.owner != empty(address) and not terms.closed:
            whole: Holding = self._roll(self.shares[pool], epoch)
            all_shares: uint256 = whole.active + whole.pending
            bonded: uint256 = self.funds[pool] & LOW_128
            own: uint256 = self._roll(self.positions[pool][terms.owner], epoch).active
            if self._worth(own, bonded, all_shares) >= min_own:
                weight = self._worth(whole.active, bonded, all_shares)
        found.append(weight)
    return found


@external
@view
def weakest(pools: DynArray[uint256, 64]) -> (uint256, uint256):
    """
    @notice The pool with the least stake bonded, active and pending; of equals the youngest.
    @param pools Which pools; at least one.
    @return (uint256, uint256) Its place in the list; its stake token base units.
    """
    place: uint256 = 0
    least: uint256 = max_value(uint256)
    for k: uint256 in range(len(pools), bound=64):
        bonded: uint256 = self.funds[pools[k]] & LOW_128
        if bonded < least or (bonded == least and pools[k] > pools[place]):
            place = k
            least = bonded
    return place, least


@external
@view
def get_pool(pool: uint256) -> PoolView:
    """
    @notice All about one pool.
    @param pool The pool.
    @return PoolView All zero when there never was one.
    """
    terms: Terms = self._unpack_terms(self.terms[pool])
    if terms.owner == empty(address):
        return empty(PoolView)
    epoch: uint256 = self._epoch()
    whole: Holding = self._roll(self.shares[pool], epoch)
    all_shares: uint256 = whole.active + whole.pending
    bonded: uint256 = 0
    unbonding: uint256 = 0
    bonded, unbonding = self._load_pair(self.funds[pool])
    active: uint256 = self._worth(whole.active, bonded, all_shares)
    found: PoolView = PoolView(
        owner=terms.owner,
        closed=terms.closed,
        take_bps=self._take_in(terms, epoch),
        next_take_bps=self._take_in(terms, epoch),
        next_take_epoch=0,
        bonded=bonded,
        active=active,
        pending=bonded - active,
        unbonding=unbonding,
        shares=all_shares,
        active_shares=whole.active,
        unbonding_shares=self.unbonding_shares[pool],
    )
    if terms.next_take_epoch > epoch:
        found.next_take_bps = terms.next_take_bps
        found.next_take_epoch = terms.next_take_epoch
    return found


@external
@view
def get_position(pool: uint256, who: address) -> PositionView:
    """
    @notice All that one account has in one pool.
    @param pool The pool.
    @param who The account.
    @return PositionView All zero when it has nothing.
    """
    epoch: uint256 = self._epoch()
    whole: Holding = self._roll(self.shares[pool], epoch)
    all_shares: uint256 = whole.active + whole.pending
    bonded: uint256 = 0
    unbonding: uint256 = 0
    bonded, unbonding = self._load_pair(self.funds[pool])
    raw: Holding = self._unpack_holding(self.positions[pool][who])
    mine: Holding = self._roll(self.positions[pool][who], epoch)
    word: uint256 = self.unbondings[pool][who]
    claimable: uint256[2] = [0, 0]
    for kind: uint256 in range(_KINDS, bound=2):
        line: uint256 = 2 * pool + kind
        claimable[kind] = self.settled[line][who] + self._earned(
            line, who, raw, self.indexes[line], epoch
        )
        if who == self._unpack_terms(self.terms[pool]).owner:
            claimable[kind] += self._load_purse(line).take
    active: uint256 = self._worth(mine.active, bonded, all_shares)
    return PositionView(
        active=active,
        pending=self._worth(mine.active + mine.pending, bonded, all_shares) - active,
        unbonding=self._worth(word >> 32, unbonding, self.unbonding_shares[pool]),
        release_epoch=word & 4_294_967_295,
        reward=claimable[0],
        stake_reward=claimable[1],
        shares=mine.active + mine.pending,
    )


@external
@view
def get_held(pool: uint256, epoch: uint256) -> (uint256, uint256):
    """
    @notice What is held of a pool's rewards of one epoch until an audit decides.
    @param pool The pool.
    @param epoch The epoch.
    @return (reward, stake_reward) In reward token and in stake token.
    """
    return self._held(2 * pool, epoch), self._held(2 * pool + 1, epoch)


@external
@view
def books() -> Books:
    """
    @notice What this contract holds and for whom.
    @return Books Of each token at least so much is here.
    """
    bonded: uint256 = 0
    unbonding: uint256 = 0
    bonded, unbonding = self._load_pair(self.total_funds)
    return Books(
        bonded=bonded,
        unbonding=unbonding,
        reward=self.total_rewards[0],
        stake_reward=self.total_rewards[1],
    )


@external
@view
def total_bonded() -> uint256:
    """
    @notice All stake bonded in all pools.
    @return uint256 Stake token base units.
    """
    return self.total_funds & LOW_128


# --- Stake, the parts ---


@internal
def _bond(pool: uint256, who: address, amount: uint256, epoch: uint256) -> uint256:
    """
    @dev Books new stake as pending shares, floored. Returns the shares.
    """
    bonded: uint256 = 0
    unbonding: uint256 = 0
    bonded, unbonding = self._load_pair(self.funds[pool])
    whole: Holding = self._roll(self.shares[pool], epoch)
    all_shares: uint256 = whole.active + whole.pending
    assert (
        all_shares <= bonded << MAX_DEPTH
        and self.unbonding_shares[pool] <= unbonding << MAX_DEPTH
    ), "stakes: pool was slashed away"
    shares: uint256 = amount
    if all_shares != 0:
        shares = amount * all_shares // bonded
    mine: Holding = self._settle(pool, who, epoch)
    mine.pending += shares
    mine.epoch = epoch
    whole.pending += shares
    whole.epoch = epoch
    self._store_holding(pool, who, mine)
    self.shares[pool] = self._pack_holding(whole)
    self.funds[pool] = self._pack_pair(bonded + amount, unbonding)
    self._move_total(amount, 0, 0, 0)
    assert (
        (self.total_funds & LOW_128) // STAKE_UNIT < MAX_UNITS
    ), "stakes: total stake too large"
    return shares


@internal
def _settle(pool: uint256, who: address, epoch: uint256) -> Holding:
    """
    @dev Books what a position has earned and returns it as of now; the caller stores it.
    """
    word: uint256 = self.positions[pool][who]
    for kind: uint256 in range(_KINDS, bound=2):
        line: uint256 = 2 * pool + kind
        index: uint256 = self.indexes[line]
        earned: uint256 = self._earned(line, who, self._unpack_holding(word), index, epoch)
        if earned != 0:
            purse: Purse = self._load_purse(line)
            purse.pot -= earned
            self._store_purse(line, purse)
            self.settled[line][who] += earned
        if index != self.starts[line][who]:
            self.starts[line][who] = index
    return self._roll(word, epoch)


@internal
@view
def _earned(
    line: uint256, who: address, mine: Holding, index: uint256, epoch: uint256
) -> uint256:
    """
    @dev Floored. Pending shares of an epoch that is over have earned since its end.
    """
    start: uint256 = self.starts[line][who]
    earned: uint256 = mine.active * (index - start)
    if mine.pending != 0 and epoch > mine.epoch:
        # No ending stands there when nothing was paid after they came: then it is the start.
        earned += mine.pending * (index - max(start, self.endings[line][mine.epoch]))
    return earned // PRECISION


@internal
def _give_dust(pool: uint256):
    """
    @dev The last share has left and all positions are settled: the rest of the pot is dust.
    """
    for kind: uint256 in range(_KINDS, bound=2):
        purse: Purse = self._load_purse(2 * pool + kind)
        if purse.pot != 0:
            purse.take += purse.pot
            purse.pot = 0
            purse.dust = 0
            self._store_purse(2 * pool + kind, purse)


# --- Rewards, the parts ---


@internal
def _share_out(pool: uint256, kind: uint256, amount: uint256, epoch: uint256) -> uint256:
    """
    @dev Gives the owner the take, floored, and the rest to the active shares; all to the owner
         where no share is active. Returns the owner's part.
    """
    line: uint256 = 2 * pool + kind
    whole: Holding = self._roll(self.shares[pool], epoch)
    active: uint256 = whole.active
    purse: Purse = self._load_purse(line)
    take: uint256 = amount
    if active != 0:
        take = amount * self._take_in(self._unpack_terms(self.terms[pool]), epoch) // 10_000
        spread: uint256 = (amount - take + purse.dust) * PRECISION
        step: uint256 = spread // active
        index: uint256 = self.indexes[line] + step
        self.indexes[line] = index
        if whole.pending != 0:
            self.endings[line][epoch] = index
        purse.pot += amount - take
        # Below 2**23: active shares are below 2**112.
        purse.dust = (spread - step * active) // PRECISION
    purse.take += take
    self._store_purse(line, purse)
    return take


@internal
def _hold(line: uint256, epoch: uint256, amount: uint256):
    """
    @dev Writes one word where something stands already, so long as no audit is late: an epoch is decided
         before the second one after it is closed. What is older than that moves out of the way.
    """
    part: uint256 = self._held_part(line, epoch)
    kept: uint256 = part & LOW_96
    if kept != 0 and part >> 96 != epoch:
        self.overdue[line][part >> 96] = kept
        kept = 0
    self.held[line] ^= (part ^ ((kept + amount) | (epoch << 96))) << self._held_at(epoch)


@internal
def _take_held(pool: uint256, epoch: uint256) -> uint256[2]:
    self._require_audits()
    found: uint256[2] = [self._held(2 * pool, epoch), self._held(2 * pool + 1, epoch)]
    assert found[0] + found[1] > 0, "stakes: nothing is held"
    for kind: uint256 in range(2):
        line: uint256 = 2 * pool + kind
        if found[kind] == 0:
            continue
        if self._held_part(line, epoch) >> 96 == epoch:
            self.held[line] -= found[kind] << self._held_at(epoch)
        else:
            self.overdue[line][epoch] = 0
    return found


@internal
@view
def _held(line: uint256, epoch: uint256) -> uint256:
    part: uint256 = self._held_part(line, epoch)
    if part == 0 or part >> 96 == epoch:
        return part & LOW_96
    return self.overdue[line][epoch]


@internal
@view
def _held_part(line: uint256, epoch: uint256) -> uint256:
    return (self.held[line] >> self._held_at(epoch)) & LOW_128


@internal
@pure
def _held_at(epoch: uint256) -> uint256:
    return (epoch & 1) << 7


@internal
@pure
def _take_in(terms: Terms, epoch: uint256) -> uint256:
    if terms.next_take_epoch != 0 and epoch >= terms.next_take_epoch:
        return terms.next_take_bps
    return terms.take_bps


# --- What the market says ---


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
def _stake_terms() -> StakeTerms:
    return staticcall Rules(staticcall Market(self.market).rules()).stake_terms()


# --- Small parts ---


@internal
@view
def _require_market():
    assert msg.sender == self.market, "stakes: caller is not the market"


@internal
@view
def _require_audits():
    assert msg.sender == audits, "stakes: caller is not the audits contract"


@internal
@view
def _load_terms(pool: uint256) -> Terms:
    word: uint256 = self.terms[pool]
    assert word != 0, "stakes: no such pool"
    return self._unpack_terms(word)


@internal
@view
def _load_open(pool: uint256) -> Terms:
    terms: Terms = self._load_terms(pool)
    assert not terms.closed, "stakes: pool is closed"
    return terms


@internal
@pure
def _worth(shares: uint256, tokens: uint256, all_shares: uint256) -> uint256:
    """
    @dev The tokens behind shares, floored.
    """
    if all_shares == 0:
        return 0
    return shares * tokens // all_shares


@internal
@pure
def _roll(word: uint256, epoch: uint256) -> Holding:
    """
    @dev A holding as of this epoch: what was pending before it is active.
    """
    holding: Holding = self._unpack_holding(word)
    if epoch > holding.epoch:
        holding.active += holding.pending
        holding.pending = 0
    return holding


@internal
@pure
def _unpack_holding(word: uint256) -> Holding:
    return Holding(
        active=word & LOW_112, pending=(word >> 112) & LOW_112, epoch=word >> 224
    )


@internal
@pure
def _pack_holding(holding: Holding) -> uint256:
    # Shares stay below 2**112, see MAX_DEPTH.
    return holding.active | (holding.pending << 112) | (holding.epoch << 224)


@internal
def _store_holding(pool: uint256, who: address, holding: Holding):
    word: uint256 = self._pack_holding(holding)
    if word != self.positions[pool][who]:
        self.positions[pool][who] = word


@internal
@pure
def _unpack_terms(word: uint256) -> Terms:
    return Terms(
        owner=convert(word & (2 ** 160 - 1), address),
        closed=(word >> 160) & 1 == 1,
        take_bps=(word >> 168) & 65_535,
        next_take_bps=(word >> 184) & 65_535,
        next_take_epoch=word >> 200,
    )


@internal
def _store_terms(pool: uint256, terms: Terms):
    self.terms[pool] = (
        convert(terms.owner, uint256)
        | (convert(terms.closed, uint256) << 160)
        | (terms.take_bps << 168)
        | (terms.next_take_bps << 184)
        | (terms.next_take_epoch << 200)
    )


@internal
@view
def _load_purse(line: uint256) -> Purse:
    word: uint256 = self.purses[line]
    return Purse(pot=word & LOW_112, take=(word >> 112) & LOW_112, dust=word >> 224)


@internal
def _store_purse(line: uint256, purse: Purse):
    # Both are parts of the unclaimed rewards, which stay below 2**112.
    self.purses[line] = purse.pot | (purse.take << 112) | (purse.dust << 224)


@internal
@pure
def _load_pair(word: uint256) -> (uint256, uint256):
    return word & LOW_128, word >> 128


@internal
@pure
def _pack_pair(bonded: uint256, unbonding: uint256) -> uint256:
    # No more tokens are here than `transferFrom` brought, and of those bonded below 2**88.
    return bonded | (unbonding << 128)


@internal
def _move_total(bonding: uint256, unbonding: uint256, entering: uint256, leaving: uint256):
    """
    @dev All pools together: bonded grows and falls by the first two, unbonding by the others.
    """
    bonded: uint256 = 0
    released: uint256 = 0
    bonded, released = self._load_pair(self.total_funds)
    self.total_funds = self._pack_pair(
        bonded + bonding - unbonding, released + entering - leaving
    )


@internal
def _burn(amount: uint256):
    if amount != 0:
        extcall Burnable(stake_token).burn(amount)


@internal
def _pull(payer: address, amount: uint256):
    assert extcall IERC20(stake_token).transferFrom(
        payer, self, amount, default_return_value=True
    ), "stakes: token transfer failed"


@internal
def _push(token: address, receiver: address, amount: uint256):
    if amount != 0:
        assert extcall IERC20(token).transfer(
            receiver, amount, default_return_value=True
        ), "stakes: token transfer failed"
