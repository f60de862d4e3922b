# pragma version ==0.4.3
# pragma optimize codesize
"""
@title Tercet market
@license Apache-2.0
@author Tercet contributors
@notice One competition: miners and validators register here, validators commit and reveal
        weights, and each epoch is closed on chain in pages and pays from sponsors' budgets.
@dev The epoch's maths has an exact twin in Python (`tercet.market.epoch`).

     Slots. Miners hold uid 1..255; uid 0 is the *unspent* column of every weight row.
     Validators hold vid 0..63. A slot carries a generation: the registration counter when
     its holder came. A weight counts only for a slot with 0 < generation <= the row's `as_of`.

     Lanes. The epoch works on four columns at once: a "quad" is a word of four 64-bit lanes.
     Quad q (0..3) of page p holds columns 16*p + q + 4*lane, because that is what a weight
     word (16 times 16 bits, column j at bits 16*(j%16)) yields by one shift and one mask.
     No lane can overflow into its neighbour; the bound stands beside each operation.

     Rounding. Payouts are floored; what floors leave over returns to the sponsors.
     Bonds round towards the weight they follow, so a constant weight is reached exactly.

     Not here yet, and nothing pretends to be: stake checkpoints and unbonding, delegation,
     eviction and a registration price, audits, parameters behind a timelock, emission.
@custom:kill The owner may wind the market down: the running epoch is the last one, nobody
             new comes in, and every deposit, stake, reward and unspent budget stays
             withdrawable for ever. There is no pause and no other switch.
"""
from ethereum.ercs import IERC20
import market_params


struct Miner:
    owner: address  # custody: pays the deposit, gets the rewards
    operator: address  # hot key: signs answers
    deposit: uint256  # stake token base units


struct Seat:
    owner: address  # custody: owns stake and rewards
    operator: address  # hot key: commits and reveals
    digest: bytes32  # of the newest commit


struct Voter:
    generation: uint256  # 32 bits; 0 means the slot is empty
    as_of: uint256  # 32 bits; registration counter at the commit, later the row's own
    committed: uint256  # 32 bits; epoch of the newest commit + 1, 0 means never
    revealed: uint256  # 32 bits; epoch of the newest reveal + 1, 0 means never
    words: uint256  # 8 bits; length of the newest row
    stake: uint256  # 112 bits; stake token base units


struct Clock:
    epoch: uint256  # 32 bits
    started_at: uint256  # 40 bits; Unix seconds
    closing: uint256  # 8 bits; 0 while the epoch runs, then the next page to settle + 1
    generation: uint256  # 32 bits; registrations so far
    closed_generation: uint256  # 32 bits; the counter at the last closing
    total_weight: uint256  # 48 bits; while closing: stake units in the consensus
    rank_total: uint256  # 64 bits; while closing: ranks of the pages settled


struct Jury:
    count: uint256  # highest vid + 1
    weight: uint256[64]  # stake units of those who revealed, else 0
    as_of: uint256[64]
    words: uint256[64]  # row length, 0 without a reveal
    seated: bool[64]  # a validator holds the slot
    bonded: bool[64]  # and held it at the last closing, so its bonds are its own


struct Sponsorship:
    sponsor: address
    rate: uint256  # reward token base units per epoch
    first_epoch: uint256
    end_epoch: uint256  # first epoch without it
    returned: uint256  # budget given back by cancelling
    claimed: uint256  # refunds already paid
    settled: bool  # the last refund has been paid


struct Books:
    staked: uint256  # validators' stakes, stake token
    deposits: uint256  # miners' deposits, stake token
    owed: uint256  # rewards not yet withdrawn, reward token
    budget: uint256  # sponsors' budgets for this and later epochs, reward token
    refundable: uint256  # what sponsors have back and may claim, reward token


struct Status:
    epoch: uint256
    started_at: uint256  # Unix seconds
    commit_ends: uint256
    reveal_ends: uint256
    phase: uint256  # 0 commit, 1 reveal, 2 ready to close, 3 closing, 4 wound down
    pages: uint256  # of this epoch: ceil(columns / 16)
    next_page: uint256  # while closing: the page to settle next
    columns: uint256  # highest uid + 1
    generation: uint256  # registration counter
    reward: uint256  # of this epoch: the sum of the active sponsors' rates
    total_weight: uint256  # while closing: stake units in the consensus
    last_epoch: uint256  # 2**256 - 1 unless winding down


struct MinerView:
    uid: uint256
    owner: address
    operator: address
    generation: uint256
    deposit: uint256
    consensus: uint256  # of the last closed epoch, 0..65535
    rank: uint256  # of the last closed epoch, stake units x weight
    endpoint: String[128]


struct ValidatorView:
    vid: uint256
    owner: address
    operator: address
    generation: uint256
    stake: uint256
    committed_epoch: uint256  # + 1; 0 means never
    revealed_epoch: uint256  # + 1; 0 means never
    as_of: uint256
    words: uint256


event MinerRegistered:
    uid: indexed(uint256)
    owner: indexed(address)
    operator: indexed(address)
    generation: uint256
    deposit: uint256
    endpoint: String[128]


event MinerLeft:
    uid: indexed(uint256)
    owner: indexed(address)
    deposit: uint256


event MinerOperatorChanged:
    uid: indexed(uint256)
    owner: indexed(address)
    operator: indexed(address)


event EndpointChanged:
    uid: indexed(uint256)
    owner: indexed(address)
    endpoint: String[128]


event ValidatorRegistered:
    vid: indexed(uint256)
    owner: indexed(address)
    operator: indexed(address)
    generation: uint256
    stake: uint256


event ValidatorLeft:
    vid: indexed(uint256)
    owner: indexed(address)
    stake: uint256


event ValidatorOperatorChanged:
    vid: indexed(uint256)
    owner: indexed(address)
    operator: indexed(address)


event Staked:
    vid: indexed(uint256)
    owner: indexed(address)
    amount: uint256
    stake: uint256


event Unstaked:
    vid: indexed(uint256)
    owner: indexed(address)
    amount: uint256
    stake: uint256


event WeightsCommitted:
    epoch: indexed(uint256)
    vid: indexed(uint256)
    operator: indexed(address)
    digest: bytes32
    generation: uint256


event WeightsRevealed:
    epoch: indexed(uint256)
    vid: indexed(uint256)
    operator: indexed(address)
    as_of: uint256
    words: DynArray[uint256, 16]


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


event ClosingBegan:
    epoch: indexed(uint256)
    total_weight: uint256
    pages: uint256


event PageSettled:
    epoch: indexed(uint256)
    page: indexed(uint256)
    consensus: uint256


event MinerRewarded:
    epoch: indexed(uint256)
    uid: indexed(uint256)
    owner: indexed(address)
    amount: uint256


event ValidatorRewarded:
    epoch: indexed(uint256)
    vid: indexed(uint256)
    owner: indexed(address)
    amount: uint256


event EpochClosed:
    epoch: indexed(uint256)
    reward: uint256
    to_miners: uint256
    to_validators: uint256
    refunded: uint256


event Withdrawn:
    owner: indexed(address)
    amount: uint256


event WindDownBegan:
    owner: indexed(address)
    last_epoch: uint256


# Consensus works in whole stake units of 10**12 base units (a millionth of an 18-decimal token).
STAKE_UNIT: constant(uint256) = 10 ** 12
# All units together stay under 2**48, so units x weight (16 bits) fit a 64-bit lane.
MAX_UNITS: constant(uint256) = 2 ** 48
# The sum of a weight row.
ROW_SUM: constant(uint256) = 65_535
PRECISE: constant(uint256) = 10 ** 18
# Refunds per unit of rate are kept over 10**27: rate (96 bits) x sum of epochs (122 bits) fits.
REFUND_PRECISION: constant(uint256) = 10 ** 27
MAX_RATE: constant(uint256) = 2 ** 96

# One in every 64-bit lane.
ONES: constant(uint256) = 1 + 2 ** 64 + 2 ** 128 + 2 ** 192
# A 16-bit value, the bit above it; a 32-bit value, the bit above it; in every lane.
LOW_16: constant(uint256) = ONES * 65_535
BIT_16: constant(uint256) = ONES * 65_536
LOW_32: constant(uint256) = ONES * 4_294_967_295
BIT_32: constant(uint256) = ONES * 4_294_967_296
LANE: constant(uint256) = 18_446_744_073_709_551_615
# 16 bits in every 32 of a word, to sum a row.
HALVES: constant(uint256) = 65_535 * (1 + 2 ** 32) * ONES


registry: public(immutable(address))
owner: public(immutable(address))
stake_token: public(immutable(address))
reward_token: public(immutable(address))
_KAPPA: immutable(uint256)
_BOND_ALPHA: immutable(uint256)  # over 2**32
_BOND_KEEP: immutable(uint256)  # 2**32 - alpha
_COMMIT_SECONDS: immutable(uint256)
_REVEAL_SECONDS: immutable(uint256)
_ACTIVITY_EPOCHS: immutable(uint256)
_VALIDATOR_SHARE_BPS: immutable(uint256)

name: public(String[64])
params: public(market_params.MarketParams)

# Who is here.
miner_slots: public(uint256)  # bit uid is set when the slot is held; bit 0 stays clear
validator_slots: public(uint256)  # bit vid is set when the slot is held
miners: HashMap[uint256, Miner]
endpoints: HashMap[uint256, String[128]]
uid_of: public(HashMap[address, uint256])  # by operator; 0 means none
seats: HashMap[uint256, Seat]
voters: HashMap[uint256, uint256]  # packed Voter
seat_of: HashMap[address, uint256]  # by operator; vid + 1, 0 means none
generation_lanes: uint256[64]  # quad 4*page + q: 32 bits in a lane; 0 means an empty slot

# The epoch.
clock: uint256  # packed Clock
last_epoch: public(uint256)  # 2**256 - 1 unless winding down
rows: uint256[1024]  # 16*vid + page: 16 weights of 16 bits
bonds: uint256[2048]  # 32*vid + 2*page + half: quads 2*half (low) and 2*half + 1 (high 32 bits)
consensus_words: uint256[16]  # by page: 16 values of 16 bits
rank_lanes: uint256[64]  # quad 4*page + q
dividends: uint256[64]  # by vid: sum over columns of bond x rank / column sum, over 2**32

# The money.
sponsorships: HashMap[uint256, Sponsorship]
sponsorship_count: public(uint256)
open_sponsorships: uint256
ending_rate: HashMap[uint256, uint256]  # rate that ends with the epoch before this one
refund_index: uint256  # all refunds per unit of rate so far
starting_index: HashMap[uint256, uint256]  # the same before a sponsorship, by number
ending_index: HashMap[uint256, uint256]  # the same before an epoch that a sponsorship does not reach
reward_rate: uint256
owed: public(HashMap[address, uint256])
_books: Books


@deploy
def __init__(
    _owner: address,
    _stake_token: address,
    _reward_token: address,
    _name: String[64],
    _params: market_params.MarketParams,
):
    """
    @notice Opens the market; its first epoch starts now. Called by the registry.
    @dev The registry has checked the arguments (`market_params`). A market that no registry
         lists has no checked rules: ask `Registry.is_market`.
    @param _owner Who opened it and may wind it down.
    @param _stake_token What validators stake and miners deposit.
    @param _reward_token What sponsors pay in.
    @param _name Name of the market.
    @param _params The rules, within their bounds.
    """
    registry = msg.sender
    owner = _owner
    stake_token = _stake_token
    reward_token = _reward_token
    _KAPPA = _params.kappa
    _BOND_ALPHA = _params.bond_alpha * 2 ** 32 // PRECISE
    _BOND_KEEP = 2 ** 32 - _params.bond_alpha * 2 ** 32 // PRECISE
    _COMMIT_SECONDS = _params.commit_seconds
    _REVEAL_SECONDS = _params.reveal_seconds
    _ACTIVITY_EPOCHS = _params.activity_epochs
    _VALIDATOR_SHARE_BPS = _params.validator_share_bps
    self.name = _name
    self.params = _params
    self.clock = block.timestamp << 32
    self.last_epoch = max_value(uint256)


# --- Miners ---


@external
@nonreentrant
def register_miner(operator: address, endpoint: String[128]) -> uint256:
    """
    @notice Takes the lowest free miner slot against the refundable deposit.
    @dev The caller becomes the owner and must have approved the deposit.
    @param operator Key that signs answers; free in this market.
    @param endpoint Where the miner answers, e.g. "http://203.0.113.7:8091".
    @return uint256 The uid, 1..255.
    """
    self._require_open()
    assert operator != empty(address), "market: operator is the zero address"
    assert self.uid_of[operator] == 0, "market: operator already in use"
    # Bit 0 counts as held: it is the unspent column.
    held: uint256 = self.miner_slots | 1
    uid: uint256 = self._lowest_free(held)
    assert uid <= self.params.max_miners, "market: no free miner slot"

    deposit: uint256 = self.params.miner_deposit
    generation: uint256 = self._next_generation()
    self.miner_slots |= 1 << uid
    self.miners[uid] = Miner(owner=msg.sender, operator=operator, deposit=deposit)
    self.endpoints[uid] = endpoint
    self.uid_of[operator] = uid
    self._set_generation(uid, generation)
    self._books.deposits += deposit
    log MinerRegistered(
        uid=uid,
        owner=msg.sender,
        operator=operator,
        generation=generation,
        deposit=deposit,
        endpoint=endpoint,
    )
    self._pull(stake_token, deposit)
    return uid


@external
@nonreentrant
def leave_miner(uid: uint256):
    """
    @notice Frees the slot and returns the deposit to its owner, the caller.
    @param uid The miner.
    """
    self._require_not_closing()
    self._require_miner_owner(uid)
    miner: Miner = self.miners[uid]
    self.miner_slots &= ~(1 << uid)
    self.miners[uid] = empty(Miner)
    self.endpoints[uid] = ""
    self.uid_of[miner.operator] = 0
    self._set_generation(uid, 0)
    self._books.deposits -= miner.deposit
    log MinerLeft(uid=uid, owner=miner.owner, deposit=miner.deposit)
    self._push(stake_token, miner.owner, miner.deposit)


@external
def set_miner_operator(uid: uint256, operator: address):
    """
    @notice Replaces a miner's hot key.
    @param uid The miner; the caller must own it.
    @param operator The new key; free in this market.
    """
    self._require_miner_owner(uid)
    assert operator != empty(address), "market: operator is the zero address"
    assert self.uid_of[operator] == 0, "market: operator already in use"
    self.uid_of[self.miners[uid].operator] = 0
    self.uid_of[operator] = uid
    self.miners[uid].operator = operator
    log MinerOperatorChanged(uid=uid, owner=msg.sender, operator=operator)


@external
def set_endpoint(uid: uint256, endpoint: String[128]):
    """
    @notice Says where a miner answers.
    @param uid The miner; the caller must be its owner or operator.
    @param endpoint The new address.
    """
    miner: Miner = self.miners[uid]
    assert msg.sender == miner.owner or msg.sender == miner.operator, "market: caller is not the miner"
    self.endpoints[uid] = endpoint
    log EndpointChanged(uid=uid, owner=miner.owner, endpoint=endpoint)


# --- Validators ---


@external
@nonreentrant
def register_validator(operator: address, amount: uint256) -> uint256:
    """
    @notice Takes the lowest free validator slot with a first stake.
    @dev The caller becomes the owner and must have approved the stake.
    @param operator Key that commits and reveals; free in this market.
    @param amount Stake token base units, at least `min_stake`.
    @return uint256 The vid, 0..63.
    """
    self._require_open()
    assert operator != empty(address), "market: operator is the zero address"
    assert self.seat_of[operator] == 0, "market: operator already in use"
    assert amount >= self.params.min_stake, "market: stake below the minimum"
    vid: uint256 = self._lowest_free(self.validator_slots)
    assert vid < self.params.max_validators, "market: no free validator slot"

    generation: uint256 = self._next_generation()
    self.validator_slots |= 1 << vid
    self.seats[vid] = Seat(owner=msg.sender, operator=operator, digest=empty(bytes32))
    self.seat_of[operator] = vid + 1
    self._store_voter(
        vid,
        Voter(generation=generation, as_of=0, committed=0, revealed=0, words=0, stake=amount),
    )
    self._add_stake(amount)
    log ValidatorRegistered(
        vid=vid, owner=msg.sender, operator=operator, generation=generation, stake=amount
    )
    self._pull(stake_token, amount)
    return vid


@external
@nonreentrant
def stake(vid: uint256, amount: uint256):
    """
    @notice Adds to a validator's stake; the caller pays and must own the seat.
    @param vid The validator.
    @param amount Stake token base units.
    """
    self._require_open()
    self._require_seat_owner(vid)
    voter: Voter = self._load_voter(vid)
    voter.stake += amount
    self._store_voter(vid, voter)
    self._add_stake(amount)
    log Staked(vid=vid, owner=msg.sender, amount=amount, stake=voter.stake)
    self._pull(stake_token, amount)


@external
@nonreentrant
def unstake(vid: uint256, amount: uint256):
    """
    @notice Takes back a part of the stake; what is left must reach the minimum.
    @param vid The validator; the caller must own it.
    @param amount Stake token base units.
    """
    self._require_not_closing()
    self._require_seat_owner(vid)
    voter: Voter = self._load_voter(vid)
    assert amount <= voter.stake, "market: more than the stake"
    voter.stake -= amount
    assert voter.stake >= self.params.min_stake, "market: stake below the minimum"
    self._store_voter(vid, voter)
    self._books.staked -= amount
    log Unstaked(vid=vid, owner=msg.sender, amount=amount, stake=voter.stake)
    self._push(stake_token, msg.sender, amount)


@external
@nonreentrant
def leave_validator(vid: uint256):
    """
    @notice Frees the slot and returns the whole stake to its owner, the caller.
    @dev A row revealed in this epoch leaves with its validator.
    @param vid The validator.
    """
    self._require_not_closing()
    self._require_seat_owner(vid)
    seat: Seat = self.seats[vid]
    amount: uint256 = self._load_voter(vid).stake
    self.validator_slots &= ~(1 << vid)
    self.seats[vid] = empty(Seat)
    self.seat_of[seat.operator] = 0
    self.voters[vid] = 0
    self._books.staked -= amount
    log ValidatorLeft(vid=vid, owner=seat.owner, stake=amount)
    self._push(stake_token, seat.owner, amount)


@external
def set_validator_operator(vid: uint256, operator: address):
    """
    @notice Replaces a validator's hot key. A live commit stays valid: it names the owner.
    @param vid The validator; the caller must own it.
    @param operator The new key; free in this market.
    """
    self._require_seat_owner(vid)
    assert operator != empty(address), "market: operator is the zero address"
    assert self.seat_of[operator] == 0, "market: operator already in use"
    self.seat_of[self.seats[vid].operator] = 0
    self.seat_of[operator] = vid + 1
    self.seats[vid].operator = operator
    log ValidatorOperatorChanged(vid=vid, owner=msg.sender, operator=operator)


@external
def commit(digest: bytes32):
    """
    @notice Commits to this epoch's weights. Once an epoch, by the operator.
    @param digest keccak256(abi.encode(chain id, market, epoch, validator's owner, salt, as_of, words)).
    """
    vid: uint256 = self._seat_of_caller()
    clock: Clock = self._load_clock()
    epoch: uint256 = clock.epoch
    assert self._phase(clock) == 0, "market: not in the commit phase"
    voter: Voter = self._load_voter(vid)
    assert voter.committed != epoch + 1, "market: already committed"
    voter.committed = epoch + 1
    voter.as_of = clock.generation
    self._store_voter(vid, voter)
    self.seats[vid].digest = digest
    log WeightsCommitted(
        epoch=epoch, vid=vid, operator=msg.sender, digest=digest, generation=voter.as_of
    )


@external
def reveal(as_of: uint256, salt: bytes32, words: DynArray[uint256, 16]):
    """
    @notice Reveals the weights behind this epoch's commit.
    @dev Column j stands in words[j // 16] at bits 16 * (j % 16); columns past the end are 0.
    @param as_of Registration counter when the validator measured; at most that of its commit.
    @param salt The commit's secret.
    @param words The row; its weights sum to 65,535 exactly.
    """
    vid: uint256 = self._seat_of_caller()
    clock: Clock = self._load_clock()
    epoch: uint256 = clock.epoch
    assert self._phase(clock) == 1, "market: not in the reveal phase"
    voter: Voter = self._load_voter(vid)
    assert voter.committed == epoch + 1, "market: nothing committed"
    assert voter.revealed != epoch + 1, "market: already revealed"
    assert as_of <= voter.as_of, "market: as_of is later than the commit"
    seat: Seat = self.seats[vid]
    digest: bytes32 = keccak256(abi_encode(chain.id, self, epoch, seat.owner, salt, as_of, words))
    assert digest == seat.digest, "market: reveal does not match the commit"
    assert self._row_sum(words) == ROW_SUM, "market: row sum is not 65535"

    voter.revealed = epoch + 1
    voter.as_of = as_of
    voter.words = len(words)
    self._store_voter(vid, voter)
    for page: uint256 in range(len(words), bound=16):
        self.rows[16 * vid + page] = words[page]
    log WeightsRevealed(epoch=epoch, vid=vid, operator=msg.sender, as_of=as_of, words=words)


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
    assert 0 < epochs and epochs <= 1_000_000, "market: epochs out of bounds"
    rate: uint256 = budget // epochs
    assert rate > 0, "market: budget too small"
    assert self.reward_rate + rate < MAX_RATE, "market: budget too large"
    first: uint256 = self._load_clock().epoch
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
    self._books.budget += rate * epochs
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
def cancel(number: uint256):
    """
    @notice Ends a sponsorship with the running epoch; the rest of the budget can be claimed.
    @param number The sponsorship; the caller must be its sponsor.
    """
    self._require_open()
    grant: Sponsorship = self.sponsorships[number]
    assert msg.sender == grant.sponsor, "market: caller is not the sponsor"
    end: uint256 = self._load_clock().epoch + 1
    assert end < grant.end_epoch, "market: sponsorship ends with this epoch"
    rest: uint256 = grant.rate * (grant.end_epoch - end)
    self.ending_rate[grant.end_epoch] -= grant.rate
    self.ending_rate[end] += grant.rate
    self.sponsorships[number].end_epoch = end
    self.sponsorships[number].returned = rest
    self._books.budget -= rest
    self._books.refundable += rest
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
    assert msg.sender == grant.sponsor, "market: caller is not the sponsor"
    assert not grant.settled, "market: sponsorship is settled"
    amount: uint256 = self._refundable(number, grant)
    if self._load_clock().epoch >= min(grant.end_epoch, self._end_of_time()):
        self.sponsorships[number].settled = True
        self.open_sponsorships -= 1
        if self.open_sponsorships == 0:
            amount = self._books.refundable
    else:
        assert amount > 0, "market: nothing to claim"
    self.sponsorships[number].claimed = grant.claimed + amount
    self._books.refundable -= amount
    log RefundClaimed(sponsorship=number, sponsor=msg.sender, amount=amount)
    self._push(reward_token, msg.sender, amount)
    return amount


# --- The epoch ---


@external
def begin_close():
    """
    @notice Starts closing the epoch once its reveal phase is over. Anyone may.
    """
    self._begin()


@external
def settle_pages(first_page: uint256, hints: DynArray[uint256, 16]):
    """
    @notice Settles one or more pages of 16 columns: checks the hinted consensus, ranks,
            moves the bonds, adds up dividends. Anyone may; pages go in order.
    @param first_page The page that the first hint is for; must be the next one due.
    @param hints One word a page: the consensus weight of column j at bits 16 * (j % 16).
    """
    self._settle(first_page, hints)


@external
def finish_close():
    """
    @notice Pays the epoch out, once all its pages are settled, and starts the next one. Anyone may.
    """
    self._finish()


@external
def close_epoch(hints: DynArray[uint256, 16]):
    """
    @notice Begins, settles all pages and finishes in one transaction: for small markets.
    @param hints One word for each of the epoch's pages, as for `settle_pages`.
    """
    self._begin()
    self._settle(0, hints)
    self._finish()


# --- Money out, and the end ---


@external
@nonreentrant
def withdraw() -> uint256:
    """
    @notice Pays the caller all rewards it is owed.
    @return uint256 Reward token base units paid.
    """
    amount: uint256 = self.owed[msg.sender]
    assert amount > 0, "market: nothing to withdraw"
    self.owed[msg.sender] = 0
    self._books.owed -= amount
    log Withdrawn(owner=msg.sender, amount=amount)
    self._push(reward_token, msg.sender, amount)
    return amount


@external
def wind_down():
    """
    @notice Makes the running epoch the last one. Only the owner may; it cannot be undone.
    @dev Once that epoch is closed, sponsors can claim all that is left of their budgets.
    """
    self._require_open()
    assert msg.sender == owner, "market: caller is not the owner"
    epoch: uint256 = self._load_clock().epoch
    self.last_epoch = epoch
    log WindDownBegan(owner=msg.sender, last_epoch=epoch)


# --- Views ---


@external
@view
def is_wound_down() -> bool:
    """
    @notice Whether the last epoch has been closed.
    @return bool True once nothing but withdrawals is left.
    """
    return self._phase(self._load_clock()) == 4


@external
@view
def status() -> Status:
    """
    @notice Where the epoch stands, all in one call.
    @return Status See the struct.
    """
    columns: uint256 = self._columns()
    clock: Clock = self._load_clock()
    return Status(
        epoch=clock.epoch,
        started_at=clock.started_at,
        commit_ends=clock.started_at + _COMMIT_SECONDS,
        reveal_ends=clock.started_at + _COMMIT_SECONDS + _REVEAL_SECONDS,
        phase=self._phase(clock),
        pages=(columns + 15) // 16,
        next_page=max(clock.closing, 1) - 1,
        columns=columns,
        generation=clock.generation,
        reward=self.reward_rate,
        total_weight=clock.total_weight,
        last_epoch=self.last_epoch,
    )


@external
@view
def epoch() -> uint256:
    """
    @notice The running epoch.
    @return uint256 From 0.
    """
    return self._load_clock().epoch


@external
@view
def generation() -> uint256:
    """
    @notice Registrations so far: what a validator that measures now reveals as `as_of`.
    @return uint256 The counter.
    """
    return self._load_clock().generation


@external
@view
def closed_generation() -> uint256:
    """
    @notice The counter at the last closing: slots taken later have no bonds yet.
    @return uint256 The counter.
    """
    return self._load_clock().closed_generation


@external
@view
def books() -> Books:
    """
    @notice What the market holds and for whom.
    @return Books staked + deposits of the stake token, owed + budget + refundable of the reward token.
    """
    return self._books


@external
@view
def get_miners(first_uid: uint256, count: uint256) -> DynArray[MinerView, 64]:
    """
    @notice The miners in a range of slots; empty slots are left out.
    @param first_uid Where to start.
    @param count How many slots to look at, up to 64.
    @return DynArray[MinerView, 64] In order of uid.
    """
    found: DynArray[MinerView, 64] = []
    for k: uint256 in range(min(count, 64), bound=64):
        uid: uint256 = first_uid + k
        if uid > 255 or (self.miner_slots >> uid) & 1 == 0:
            continue
        miner: Miner = self.miners[uid]
        found.append(
            MinerView(
                uid=uid,
                owner=miner.owner,
                operator=miner.operator,
                generation=self._lane_of(self.generation_lanes[self._quad_of(uid)], uid),
                deposit=miner.deposit,
                consensus=(self.consensus_words[uid // 16] >> (16 * (uid % 16))) & 65_535,
                rank=self._lane_of(self.rank_lanes[self._quad_of(uid)], uid),
                endpoint=self.endpoints[uid],
            )
        )
    return found


@external
@view
def get_validators() -> DynArray[ValidatorView, 64]:
    """
    @notice All validators.
    @return DynArray[ValidatorView, 64] In order of vid.
    """
    found: DynArray[ValidatorView, 64] = []
    slots: uint256 = self.validator_slots
    for vid: uint256 in range(64):
        if (slots >> vid) & 1 == 0:
            continue
        voter: Voter = self._load_voter(vid)
        found.append(
            ValidatorView(
                vid=vid,
                owner=self.seats[vid].owner,
                operator=self.seats[vid].operator,
                generation=voter.generation,
                stake=voter.stake,
                committed_epoch=voter.committed,
                revealed_epoch=voter.revealed,
                as_of=voter.as_of,
                words=voter.words,
            )
        )
    return found


@external
@view
def vid_of(operator: address) -> uint256:
    """
    @notice The validator that an operator speaks for.
    @param operator The hot key.
    @return uint256 The vid; reverts when there is none.
    """
    assert self.seat_of[operator] != 0, "market: caller is not a validator's operator"
    return self.seat_of[operator] - 1


@external
@view
def get_generations() -> uint256[256]:
    """
    @notice The generation of each miner slot; 0 for an empty one and for the unspent column.
    @return uint256[256] By uid.
    """
    found: uint256[256] = empty(uint256[256])
    for uid: uint256 in range(256):
        found[uid] = self._lane_of(self.generation_lanes[self._quad_of(uid)], uid)
    return found


@external
@view
def get_row(vid: uint256) -> DynArray[uint256, 16]:
    """
    @notice The newest row a validator revealed, of whatever epoch.
    @param vid The validator.
    @return DynArray[uint256, 16] Words of 16 weights of 16 bits.
    """
    found: DynArray[uint256, 16] = []
    for page: uint256 in range(self._load_voter(vid).words, bound=16):
        found.append(self.rows[16 * vid + page])
    return found


@external
@view
def get_bonds(vid: uint256) -> uint256[256]:
    """
    @notice A validator's stored bonds, over 2**16 of a weight unit.
    @dev The next settlement takes a bond as 0 when its row or column changed hands since.
    @param vid The validator.
    @return uint256[256] By uid.
    """
    found: uint256[256] = empty(uint256[256])
    for uid: uint256 in range(256):
        quad: uint256 = self._quad_of(uid)
        word: uint256 = self.bonds[32 * vid + quad // 2]
        found[uid] = (word >> (64 * (uid % 16 // 4) + 32 * (quad % 2))) & 4_294_967_295
    return found


@external
@view
def get_consensus() -> uint256[16]:
    """
    @notice The consensus of the pages settled last.
    @return uint256[16] By page: 16 values of 16 bits.
    """
    return self.consensus_words


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
    return grant, self._refundable(number, grant)


# --- Closing, step by step ---


@internal
def _begin():
    clock: Clock = self._load_clock()
    assert clock.closing == 0, "market: epoch is closing"
    assert self._phase(clock) == 2, "market: epoch is not over"
    now: uint256 = clock.epoch + 1
    slots: uint256 = self.validator_slots
    total: uint256 = 0
    for vid: uint256 in range(self._bit_length(slots), bound=64):
        if (slots >> vid) & 1 == 0:
            continue
        voter: Voter = self._load_voter(vid)
        # In the total: committed now (revealed or not), or revealed not long ago.
        if voter.committed == now or (
            voter.revealed != 0 and voter.revealed + _ACTIVITY_EPOCHS >= now
        ):
            total += voter.stake // STAKE_UNIT
    clock.closing = 1
    clock.total_weight = total
    clock.rank_total = 0
    self._store_clock(clock)
    log ClosingBegan(epoch=clock.epoch, total_weight=total, pages=self._pages())


@internal
def _settle(first_page: uint256, hints: DynArray[uint256, 16]):
    clock: Clock = self._load_clock()
    assert clock.closing != 0, "market: epoch is not closing"
    assert first_page + 1 >= clock.closing, "market: page already settled"
    assert first_page + 1 == clock.closing, "market: page is not the next one"
    assert first_page + len(hints) <= self._pages(), "market: no such page"
    # kappa of the total, rounded up; at least 1, so that an empty jury agrees on 0.
    threshold: uint256 = max((_KAPPA * clock.total_weight + PRECISE - 1) // PRECISE, 1)
    before: uint256 = clock.closed_generation * ONES
    jury: Jury = self._load_jury(clock)
    earned: uint256[64] = empty(uint256[64])
    if first_page != 0:
        for vid: uint256 in range(jury.count, bound=64):
            earned[vid] = self.dividends[vid]

    page: uint256 = first_page
    for hint: uint256 in hints:
        rows: uint256[64] = self._page_rows(page, jury)
        for half: uint256 in range(2):
            ratios: uint256[8] = empty(uint256[8])
            bonds: uint256[64] = empty(uint256[64])
            rank: uint256 = 0
            rank, ratios, bonds = self._settle_half(
                page, half, hint, threshold, before, rows, jury
            )
            clock.rank_total += rank
            for vid: uint256 in range(jury.count, bound=64):
                if jury.weight[vid] != 0:
                    earned[vid] = unsafe_add(earned[vid], self._dividend(bonds[vid], ratios))
        self.consensus_words[page] = hint
        log PageSettled(epoch=clock.epoch, page=page, consensus=hint)
        page += 1

    for vid: uint256 in range(jury.count, bound=64):
        self.dividends[vid] = earned[vid]
    clock.closing = page + 1
    self._store_clock(clock)


@internal
def _settle_half(
    page: uint256,
    half: uint256,
    hint: uint256,
    threshold: uint256,
    before: uint256,
    rows: uint256[64],
    jury: Jury,
) -> (uint256, uint256[8], uint256[64]):
    """
    @dev Eight columns: quad 2*half ("low") and quad 2*half + 1 ("high").
    @return (sum of ranks, rank / column sum of bonds over 2**32, new bonds by vid)
    """
    quad: uint256 = 4 * page + 2 * half
    offset: uint256 = 32 * half
    born_low: uint256 = self.generation_lanes[quad]
    born_high: uint256 = self.generation_lanes[quad + 1]
    # A miner holds the column (1 or 0 in each lane).
    held_low: uint256 = self._at_least_32(born_low, ONES)
    held_high: uint256 = self._at_least_32(born_high, ONES)
    # It held it at the last closing too, so the stored bonds are for it.
    kept: uint256 = (
        (held_low & self._at_least_32(before, born_low))
        | ((held_high & self._at_least_32(before, born_high)) << 32)
    ) * 4_294_967_295
    # The unspent column takes votes, but no bonds.
    votable_low: uint256 = held_low
    if quad == 0:
        votable_low |= 1

    hint_low: uint256 = (hint >> offset) & LOW_16
    hint_high: uint256 = (hint >> (offset + 16)) & LOW_16
    reach_low: uint256 = 0
    reach_high: uint256 = 0
    above_low: uint256 = 0
    above_high: uint256 = 0
    rank_low: uint256 = 0
    rank_high: uint256 = 0
    sum_low: uint256 = 0
    sum_high: uint256 = 0
    bonds: uint256[64] = empty(uint256[64])

    for vid: uint256 in range(jury.count, bound=64):
        if not jury.seated[vid]:
            continue
        weight_low: uint256 = 0
        weight_high: uint256 = 0
        stake: uint256 = jury.weight[vid]
        if stake != 0:
            as_of: uint256 = unsafe_mul(jury.as_of[vid], ONES)
            weight_low = (rows[vid] >> offset) & unsafe_mul(
                votable_low & self._at_least_32(as_of, born_low), 65_535
            )
            weight_high = (rows[vid] >> (offset + 16)) & unsafe_mul(
                held_high & self._at_least_32(as_of, born_high), 65_535
            )
            # Lanes: sums of units stay under 2**48, units x weight under 2**64.
            at_low: uint256 = self._at_least_16(weight_low, hint_low)
            at_high: uint256 = self._at_least_16(weight_high, hint_high)
            reach_low = unsafe_add(reach_low, unsafe_mul(stake, at_low))
            reach_high = unsafe_add(reach_high, unsafe_mul(stake, at_high))
            above_low = unsafe_add(
                above_low, unsafe_mul(stake, self._at_least_16(weight_low, hint_low + ONES))
            )
            above_high = unsafe_add(
                above_high, unsafe_mul(stake, self._at_least_16(weight_high, hint_high + ONES))
            )
            rank_low = unsafe_add(
                rank_low, unsafe_mul(stake, self._clip(weight_low, hint_low, at_low))
            )
            rank_high = unsafe_add(
                rank_high, unsafe_mul(stake, self._clip(weight_high, hint_high, at_high))
            )
        slot: uint256 = 32 * vid + quad // 2
        old: uint256 = self.bonds[slot]
        new: uint256 = 0
        if jury.bonded[vid]:
            new = old & kept
        bond_low: uint256 = self._ema(
            new & LOW_32, weight_low & unsafe_mul(held_low, 65_535)
        )
        bond_high: uint256 = self._ema((new >> 32) & LOW_32, weight_high)
        # Lanes: 64 bonds of 32 bits stay under 2**38.
        sum_low = unsafe_add(sum_low, bond_low)
        sum_high = unsafe_add(sum_high, bond_high)
        new = bond_low | (bond_high << 32)
        bonds[vid] = new
        if new != old:
            self.bonds[slot] = new

    self._check(hint_low, reach_low, above_low, threshold)
    self._check(hint_high, reach_high, above_high, threshold)
    self.rank_lanes[quad] = rank_low
    self.rank_lanes[quad + 1] = rank_high
    ratios: uint256[8] = empty(uint256[8])
    ranked: uint256 = 0
    for lane: uint256 in range(4):
        at: uint256 = 64 * lane
        ratios[2 * lane] = self._ratio((rank_low >> at) & LANE, (sum_low >> at) & LANE)
        ratios[2 * lane + 1] = self._ratio((rank_high >> at) & LANE, (sum_high >> at) & LANE)
        ranked += ((rank_low >> at) & LANE) + ((rank_high >> at) & LANE)
    return ranked, ratios, bonds


@internal
@pure
def _check(hint: uint256, reach: uint256, above: uint256, threshold: uint256):
    """
    @dev A column's consensus is the largest weight that kappa of the stake reaches, or 0:
         units(w >= c) >= threshold > units(w > c). No other value passes.
    """
    for lane: uint256 in range(4):
        at: uint256 = 64 * lane
        if (hint >> at) & LANE != 0:
            assert (reach >> at) & LANE >= threshold, "market: consensus hint too high"
        assert (above >> at) & LANE < threshold, "market: consensus hint too low"


@internal
@pure
def _dividend(bonds: uint256, ratios: uint256[8]) -> uint256:
    """
    @dev The sum of bond x ratio over eight columns. No overflow: a bond is at most its
         column sum, so each product is at most rank x 2**32 < 2**96.
    """
    total: uint256 = 0
    rest: uint256 = bonds
    for k: uint256 in range(8):
        total = unsafe_add(total, unsafe_mul(rest & 4_294_967_295, ratios[k]))
        rest = rest >> 32
    return total


@internal
def _finish():
    clock: Clock = self._load_clock()
    assert clock.closing != 0, "market: epoch is not closing"
    assert clock.closing == self._pages() + 1, "market: pages are not all settled"
    reward: uint256 = self.reward_rate
    # Spent is what was not voted for the unspent column; floored, as each payout is.
    earned: uint256 = clock.rank_total - (self.rank_lanes[0] & LANE)
    spent: uint256 = 0
    if earned != 0:
        spent = reward * earned // clock.rank_total
    for_validators: uint256 = spent * _VALIDATOR_SHARE_BPS // 10_000
    to_miners: uint256 = self._pay_miners(clock.epoch, spent - for_validators, earned)
    to_validators: uint256 = self._pay_validators(clock, for_validators)
    refund: uint256 = reward - to_miners - to_validators

    if reward != 0:
        self.refund_index += refund * REFUND_PRECISION // reward
        self._books.owed += to_miners + to_validators
        self._books.budget -= reward
        self._books.refundable += refund
    log EpochClosed(
        epoch=clock.epoch,
        reward=reward,
        to_miners=to_miners,
        to_validators=to_validators,
        refunded=refund,
    )
    clock.epoch += 1
    clock.started_at = block.timestamp
    clock.closing = 0
    clock.closed_generation = clock.generation
    self._store_clock(clock)
    self._end_sponsorships(clock.epoch)


@internal
def _end_sponsorships(epoch: uint256):
    """
    @dev Ends what ends before this epoch; after the last epoch, all.
    """
    if epoch > self.last_epoch:
        self.reward_rate = 0
        self._books.refundable += self._books.budget
        self._books.budget = 0
        return
    ending: uint256 = self.ending_rate[epoch]
    if ending != 0:
        self.reward_rate -= ending
        self.ending_index[epoch] = self.refund_index


@internal
def _pay_miners(epoch: uint256, pot: uint256, earned: uint256) -> uint256:
    """
    @dev Splits the miners' pot by rank; floors. Returns what was paid.
    """
    if pot == 0 or earned == 0:
        return 0
    paid: uint256 = 0
    for quad: uint256 in range(4 * self._pages(), bound=64):
        ranks: uint256 = self.rank_lanes[quad]
        if quad == 0:
            ranks = (ranks >> 64) << 64  # the unspent column is nobody's
        if ranks == 0:
            continue
        for lane: uint256 in range(4):
            amount: uint256 = pot * ((ranks >> (64 * lane)) & LANE) // earned
            if amount == 0:
                continue
            uid: uint256 = 16 * (quad // 4) + quad % 4 + 4 * lane
            payee: address = self.miners[uid].owner
            self.owed[payee] += amount
            paid += amount
            log MinerRewarded(epoch=epoch, uid=uid, owner=payee, amount=amount)
    return paid


@internal
def _pay_validators(clock: Clock, pot: uint256) -> uint256:
    """
    @dev Splits the validators' pot by stake x dividend; floors. Returns what was paid.
    """
    if pot == 0:
        return 0
    jury: Jury = self._load_jury(clock)
    shares: uint256[64] = empty(uint256[64])
    total: uint256 = 0
    for vid: uint256 in range(jury.count, bound=64):
        if jury.weight[vid] != 0:
            shares[vid] = jury.weight[vid] * self.dividends[vid]
            total += shares[vid]
    if total == 0:
        return 0
    paid: uint256 = 0
    for vid: uint256 in range(jury.count, bound=64):
        amount: uint256 = pot * shares[vid] // total
        if amount == 0:
            continue
        payee: address = self.seats[vid].owner
        self.owed[payee] += amount
        paid += amount
        log ValidatorRewarded(epoch=clock.epoch, vid=vid, owner=payee, amount=amount)
    return paid


# --- Small parts ---


@internal
@view
def _phase(clock: Clock) -> uint256:
    if clock.closing != 0:
        return 3
    if clock.epoch > self.last_epoch:
        return 4
    age: uint256 = block.timestamp - clock.started_at
    if age < _COMMIT_SECONDS:
        return 0
    if age < _COMMIT_SECONDS + _REVEAL_SECONDS:
        return 1
    return 2


@internal
@view
def _require_not_closing():
    assert self._load_clock().closing == 0, "market: epoch is closing"


@internal
@view
def _require_open():
    self._require_not_closing()
    assert self.last_epoch == max_value(uint256), "market: winding down"


@internal
@view
def _require_miner_owner(uid: uint256):
    assert msg.sender == self.miners[uid].owner, "market: caller is not the miner's owner"


@internal
@view
def _require_seat_owner(vid: uint256):
    assert msg.sender == self.seats[vid].owner, "market: caller is not the validator's owner"


@internal
@view
def _seat_of_caller() -> uint256:
    seat: uint256 = self.seat_of[msg.sender]
    assert seat != 0, "market: caller is not a validator's operator"
    return unsafe_sub(seat, 1)


@internal
@view
def _end_of_time() -> uint256:
    """
    @dev First epoch that will never run; unbounded while the market is open.
    """
    if self.last_epoch == max_value(uint256):
        return max_value(uint256)
    return self.last_epoch + 1


@internal
@view
def _refundable(number: uint256, grant: Sponsorship) -> uint256:
    """
    @dev Floored share of all refunds since the sponsorship began, what cancelling gave back,
         and after the last epoch the budget of all epochs that never ran; less what was paid.
    """
    epoch: uint256 = self._load_clock().epoch
    end: uint256 = min(grant.end_epoch, self._end_of_time())
    index: uint256 = self.refund_index
    if grant.end_epoch <= min(epoch, self.last_epoch):
        index = self.ending_index[end]
    index -= self.starting_index[number]
    total: uint256 = grant.rate * index // REFUND_PRECISION + grant.returned
    if epoch >= end:
        total += grant.rate * (grant.end_epoch - end)
    return total - grant.claimed


@internal
@view
def _load_jury(clock: Clock) -> Jury:
    jury: Jury = empty(Jury)
    slots: uint256 = self.validator_slots
    jury.count = self._bit_length(slots)
    for vid: uint256 in range(jury.count, bound=64):
        if (slots >> vid) & 1 == 0:
            continue
        voter: Voter = self._load_voter(vid)
        jury.seated[vid] = True
        jury.bonded[vid] = voter.generation <= clock.closed_generation
        if voter.revealed == clock.epoch + 1:
            jury.weight[vid] = voter.stake // STAKE_UNIT
            jury.as_of[vid] = voter.as_of
            jury.words[vid] = voter.words
    return jury


@internal
@view
def _page_rows(page: uint256, jury: Jury) -> uint256[64]:
    rows: uint256[64] = empty(uint256[64])
    for vid: uint256 in range(jury.count, bound=64):
        if page < jury.words[vid]:
            rows[vid] = self.rows[16 * vid + page]
    return rows


@internal
@view
def _load_clock() -> Clock:
    word: uint256 = self.clock
    return Clock(
        epoch=word & 4_294_967_295,
        started_at=(word >> 32) & 1_099_511_627_775,
        closing=(word >> 72) & 255,
        generation=(word >> 80) & 4_294_967_295,
        closed_generation=(word >> 112) & 4_294_967_295,
        total_weight=(word >> 144) & 281_474_976_710_655,
        rank_total=word >> 192,
    )


@internal
def _store_clock(clock: Clock):
    # Rows sum to 65,535 at most and all units to less than 2**48, so all ranks fit 64 bits.
    self.clock = (
        clock.epoch
        | (clock.started_at << 32)
        | (clock.closing << 72)
        | (clock.generation << 80)
        | (clock.closed_generation << 112)
        | (clock.total_weight << 144)
        | (clock.rank_total << 192)
    )


@internal
@view
def _load_voter(vid: uint256) -> Voter:
    word: uint256 = self.voters[vid]
    return Voter(
        generation=word & 4_294_967_295,
        as_of=(word >> 32) & 4_294_967_295,
        committed=(word >> 64) & 4_294_967_295,
        revealed=(word >> 96) & 4_294_967_295,
        words=(word >> 128) & 255,
        stake=word >> 144,
    )


@internal
def _store_voter(vid: uint256, voter: Voter):
    # Epochs and registrations are far below 2**32; the stake is bounded by `_add_stake`.
    self.voters[vid] = (
        voter.generation
        | (voter.as_of << 32)
        | (voter.committed << 64)
        | (voter.revealed << 96)
        | (voter.words << 128)
        | (voter.stake << 144)
    )


@internal
def _add_stake(amount: uint256):
    total: uint256 = self._books.staked + amount
    assert total // STAKE_UNIT < MAX_UNITS, "market: total stake too large"
    self._books.staked = total


@internal
def _next_generation() -> uint256:
    clock: Clock = self._load_clock()
    clock.generation += 1
    assert clock.generation < 2 ** 32, "market: too many registrations"
    self._store_clock(clock)
    return clock.generation


@internal
@pure
def _quad_of(uid: uint256) -> uint256:
    return 4 * (uid // 16) + uid % 4


@internal
@pure
def _lane_of(lanes: uint256, uid: uint256) -> uint256:
    return (lanes >> (64 * (uid % 16 // 4))) & LANE


@internal
def _set_generation(uid: uint256, generation: uint256):
    quad: uint256 = self._quad_of(uid)
    at: uint256 = 64 * (uid % 16 // 4)
    self.generation_lanes[quad] = (
        self.generation_lanes[quad] & ~(LANE << at) | (generation << at)
    )


@internal
@view
def _columns() -> uint256:
    """
    @dev Highest uid + 1; at least 1, for the unspent column.
    """
    return self._bit_length(self.miner_slots | 1)


@internal
@view
def _pages() -> uint256:
    return (self._columns() + 15) // 16


@internal
@pure
def _bit_length(word: uint256) -> uint256:
    length: uint256 = 0
    rest: uint256 = word
    for k: uint256 in range(8):
        step: uint256 = 128 >> k
        if rest >> step != 0:
            rest = rest >> step
            length += step
    return length + rest


@internal
@pure
def _lowest_free(held: uint256) -> uint256:
    """
    @dev The lowest clear bit; 256 when all are set.
    """
    if held == max_value(uint256):
        return 256
    return self._bit_length(~held & (held + 1)) - 1


@internal
@pure
def _row_sum(words: DynArray[uint256, 16]) -> uint256:
    """
    @dev Adds 16-bit weights in 32-bit lanes: 2 x 16 words of 16 bits stay under 2**21.
    """
    lanes: uint256 = 0
    for word: uint256 in words:
        lanes = unsafe_add(lanes, unsafe_add(word & HALVES, (word >> 16) & HALVES))
    lanes = unsafe_add(lanes & LOW_32, (lanes >> 32) & LOW_32)
    lanes = unsafe_add(lanes, lanes >> 128)
    return unsafe_add(lanes, lanes >> 64) & LANE


@internal
@pure
def _at_least_16(a: uint256, b: uint256) -> uint256:
    """
    @dev 1 in each lane where a >= b. a < 2**16, b <= 2**16: no lane borrows.
    """
    return (unsafe_sub(a | BIT_16, b) >> 16) & ONES


@internal
@pure
def _at_least_32(a: uint256, b: uint256) -> uint256:
    """
    @dev 1 in each lane where a >= b. a < 2**32, b <= 2**32: no lane borrows.
    """
    return (unsafe_sub(a | BIT_32, b) >> 32) & ONES


@internal
@pure
def _clip(weight: uint256, limit: uint256, over: uint256) -> uint256:
    """
    @dev min(weight, limit) in each lane; `over` is 1 where weight >= limit.
    """
    excess: uint256 = unsafe_sub(weight | BIT_16, limit) & unsafe_mul(over, 65_535)
    return unsafe_sub(weight, excess)


@internal
@view
def _ema(bond: uint256, weight: uint256) -> uint256:
    """
    @dev keep x bond + alpha x weight in each lane, rounded towards the weight.
         Lanes: keep + alpha = 2**32 and both values < 2**32, so the sum with the rounding
         term 2**32 - 1 is at most 2**64 - 1.
    """
    target: uint256 = weight << 16
    rising: uint256 = self._at_least_32(target, bond)
    mixed: uint256 = unsafe_add(unsafe_mul(_BOND_ALPHA, target), unsafe_mul(_BOND_KEEP, bond))
    rounded: uint256 = unsafe_add(mixed, unsafe_mul(rising, 4_294_967_295))
    return (rounded >> 32) & LOW_32


@internal
@pure
def _ratio(rank: uint256, column: uint256) -> uint256:
    """
    @dev rank / column sum over 2**32, floored; 0 without bonds.
    """
    if column == 0:
        return 0
    return unsafe_div(rank << 32, column)


@internal
def _pull(token: address, amount: uint256):
    if amount != 0:
        assert extcall IERC20(token).transferFrom(
            msg.sender, self, amount, default_return_value=True
        ), "market: token transfer failed"


@internal
def _push(token: address, receiver: address, amount: uint256):
    if amount != 0:
        assert extcall IERC20(token).transfer(
            receiver, amount, default_return_value=True
        ), "market: token transfer failed"
