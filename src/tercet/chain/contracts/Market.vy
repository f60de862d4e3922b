# pragma version ==0.4.3
# pragma optimize codesize
"""
@title Tercet market
@license Apache-2.0
@author Tercet contributors
@notice One competition: miners and validators take slots here, validators commit and reveal
        weights, and each epoch is closed on chain in pages. Whoever is weakest gives way.
@dev The epoch's maths has an exact twin in Python (`tercet.market.epoch`), price and eviction
     have theirs in `tercet.market.registration`.

     Four contracts. `Stakes` holds the validators' tokens and says what each seat weighs,
     `Treasury` holds what is paid out, `Rules` holds the parameters behind a timelock.
     This one holds the miners' deposits, and asks the other three.

     Slots. Miners hold uid 1..255; uid 0 is the *unspent* column of every weight row.
     Validators hold vid 0..63. A slot carries a generation: the registration counter when
     its holder came. A weight counts only for a slot with 0 < generation <= the row's `as_of`.
     A seat's generation is also the number of its pool of stake.

     Lanes. The epoch works on four columns at once: a "quad" is a word of four 64-bit lanes.
     Quad q (0..3) of page p holds columns 16*p + q + 4*lane, because that is what a weight
     word (16 times 16 bits, column j at bits 16*(j%16)) yields by one shift and one mask.
     No lane can overflow into its neighbour; the bound stands beside each operation.

     Rounding. The deposit is floored, so that the burned part never falls short; the price's
     step is rounded up, so that it always rises.
     Bonds round towards the weight they follow, so a constant weight is reached exactly.
@custom:kill The owner of its rules may wind the market down: the running epoch is the last
             one, nobody new comes in, and every deposit, stake, reward and unspent budget
             stays withdrawable for ever. There is no pause and no other switch.
"""
from ethereum.ercs import IERC20


struct Miner:
    owner: address  # custody: pays the price, gets the rewards and the deposit
    operator: address  # hot key: signs answers; zero when revoked
    deposit: uint256  # stake token base units


struct Application:
    owner: address
    paid: uint256  # stake token base units, all of it held
    epoch: uint256  # when it came
    endpoint: String[128]


struct Seat:
    owner: address  # custody: owns the pool and its rewards
    operator: address  # hot key: commits and reveals; zero when revoked
    digest: bytes32  # of the newest commit
    evidence: bytes32  # of the newest reveal: root of the evaluation log, zero for none


struct Voter:
    generation: uint256  # 32 bits; 0 means the slot is empty
    as_of: uint256  # 32 bits; registration counter at the commit, later the row's own
    committed: uint256  # 32 bits; epoch of the newest commit + 1, 0 means never
    revealed: uint256  # 32 bits; epoch of the newest reveal + 1, 0 means never
    words: uint256  # 8 bits; length of the newest row
    weight: uint256  # 48 bits; stake units in the newest closing, 0 without a vote


struct Clock:
    epoch: uint256  # 32 bits
    started_at: uint256  # 40 bits; Unix seconds
    closing: uint256  # 6 bits; 0 while the epoch runs, then the next page to settle + 1
    waiting: bool  # 1 bit; somebody may wait for a slot
    winding: bool  # 1 bit; there is a last epoch
    generation: uint256  # 32 bits; registrations so far
    closed_generation: uint256  # 32 bits; the counter at the last closing
    total_weight: uint256  # 48 bits; stake units in the newest closing
    rank_total: uint256  # 64 bits; while closing: ranks of the pages settled


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
    reward: uint256  # of this epoch, reward token: the treasury's pot
    total_weight: uint256  # stake units in the newest closing
    last_epoch: uint256  # 2**256 - 1 unless winding down
    price: uint256  # of a miner's registration now, stake token


struct MinerView:
    uid: uint256
    owner: address
    operator: address
    generation: uint256
    since: uint256  # epoch it came in, or the one after it when it took an evicted miner's slot
    deposit: uint256
    consensus: uint256  # of the last closed epoch, 0..65535
    rank: uint256  # of the last closed epoch, stake units x weight
    endpoint: String[128]


struct ValidatorView:
    vid: uint256
    owner: address
    operator: address
    pool: uint256  # also the seat's generation
    weight: uint256  # stake units in the newest closing, 0 without a vote
    committed_epoch: uint256  # + 1; 0 means never
    revealed_epoch: uint256  # + 1; 0 means never
    as_of: uint256
    words: uint256
    evidence: bytes32


interface Burnable:
    def burn(amount: uint256): nonpayable


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


interface Rules:
    def owner() -> address: view
    def phase_terms() -> PhaseTerms: view
    def epoch_terms() -> EpochTerms: view
    def miner_terms() -> MinerTerms: view
    def price(last_price: uint256) -> (uint256, uint256): view
    def due() -> bool: view
    def take_effect(): nonpayable


interface Stakes:
    def open_pool(pool: uint256, owner: address, amount: uint256, take_bps: uint256): nonpayable
    def close_pool(pool: uint256): nonpayable
    def effective(
        pools: DynArray[uint256, 64], min_own: uint256
    ) -> DynArray[uint256, 64]: view
    def weakest(pools: DynArray[uint256, 64]) -> (uint256, uint256): view


interface Treasury:
    def reward() -> uint256: view
    def poke(poker: address, steps: uint256, of_steps: uint256): nonpayable
    def distribute(
        epoch: uint256,
        last: bool,
        votes: uint256,
        earned: uint256,
        validator_share_bps: uint256,
        miners: DynArray[uint256, 255],
        seats: DynArray[uint256, 64],
        final: bool,
    ): nonpayable


event MinerRegistered:
    uid: indexed(uint256)
    owner: indexed(address)
    operator: indexed(address)
    generation: uint256
    deposit: uint256
    burned: uint256
    endpoint: String[128]


event MinerApplied:
    owner: indexed(address)
    operator: indexed(address)
    paid: uint256
    endpoint: String[128]


event ApplicationWithdrawn:
    owner: indexed(address)
    operator: indexed(address)
    paid: uint256


event MinerLeft:
    uid: indexed(uint256)
    owner: indexed(address)
    deposit: uint256


event MinerEvicted:
    uid: indexed(uint256)
    owner: indexed(address)
    deposit: uint256


event DepositClaimed:
    owner: indexed(address)
    amount: uint256


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
    pool: uint256


event ValidatorOperatorChanged:
    vid: indexed(uint256)
    owner: indexed(address)
    operator: indexed(address)


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
    evidence: bytes32
    words: DynArray[uint256, 16]


event ClosingBegan:
    epoch: indexed(uint256)
    total_weight: uint256
    pages: uint256


event PageSettled:
    epoch: indexed(uint256)
    page: indexed(uint256)
    consensus: uint256


event EpochClosed:
    epoch: indexed(uint256)


event WindDownBegan:
    owner: indexed(address)
    last_epoch: uint256


# Consensus works in whole stake units of 10**12 base units (a millionth of an 18-decimal token).
# All units together stay under 2**48 (`Stakes` sees to it), so units x weight (16 bits) fit a lane.
STAKE_UNIT: constant(uint256) = 10 ** 12
# The sum of a weight row.
ROW_SUM: constant(uint256) = 65_535
PRECISE: constant(uint256) = 10 ** 18
MAX_APPLICANTS: constant(uint256) = 16

# One in every 64-bit lane.
ONES: constant(uint256) = 1 + 2 ** 64 + 2 ** 128 + 2 ** 192
# A 16-bit value, the bit above it; a 32-bit value, the bit above it; in every lane.
LOW_16: constant(uint256) = ONES * 65_535
BIT_16: constant(uint256) = ONES * 65_536
LOW_32: constant(uint256) = ONES * 4_294_967_295
BIT_32: constant(uint256) = ONES * 4_294_967_296
# Flags of the clock.
WAITING: constant(uint256) = 1 << 78
WINDING: constant(uint256) = 1 << 79
LOW_128: constant(uint256) = 2 ** 128 - 1
LANE: constant(uint256) = 18_446_744_073_709_551_615
# 16 bits in every 32 of a word, to sum a row.
HALVES: constant(uint256) = 65_535 * (1 + 2 ** 32) * ONES


registry: public(immutable(address))
stakes: public(immutable(address))
treasury: public(immutable(address))
rules: public(immutable(address))
stake_token: public(immutable(address))
reward_token: public(immutable(address))

name: public(String[64])

# Who is here.
miner_slots: public(uint256)  # bit uid is set when the slot is held; bit 0 stays clear
validator_slots: public(uint256)  # bit vid is set when the slot is held
miners: HashMap[uint256, Miner]
endpoints: HashMap[uint256, String[128]]
uid_of: public(HashMap[address, uint256])  # by operator; 0 means none
queue: DynArray[address, MAX_APPLICANTS]  # who waits for a slot, by operator, in order
applications: HashMap[address, Application]  # by operator
seats: HashMap[uint256, Seat]
voters: uint256[64]  # by vid: packed Voter
seat_of: HashMap[address, uint256]  # by operator; vid + 1, 0 means none
# Quad 4*page + q: in a lane 32 bits of generation, 0 for an empty slot, then 32 bits of `since`.
generation_lanes: uint256[64]

# The epoch.
clock: uint256  # packed Clock
last_epoch: public(uint256)  # 2**256 - 1 unless winding down
entropy: bytes32[2]  # by epoch % 2: all salts revealed in such epochs so far
rows: uint256[1024]  # 16*vid + page: 16 weights of 16 bits
bonds: uint256[2048]  # 32*vid + 2*page + half: quads 2*half (low) and 2*half + 1 (high 32 bits)
consensus_words: uint256[16]  # by page: 16 values of 16 bits
rank_lanes: uint256[64]  # quad 4*page + q
# Two validators to a word: the sum over columns of bond x rank / column sum, over 2**32.
dividends: uint256[32]
# The same for a closing in one transaction, which need not store them.
passing: transient(uint256[32])
is_passing: transient(bool)

# The miners' money, all in stake token.
last_price: uint256  # 112 bits; above them the Unix seconds it was set at
deposits: public(uint256)  # all that is held: deposits, applications, what is owed
deposit_owed: public(HashMap[address, uint256])  # of evicted miners, by owner


@deploy
def __init__(
    _stakes: address,
    _treasury: address,
    _rules: address,
    _stake_token: address,
    _reward_token: address,
    _name: String[64],
):
    """
    @notice Opens the market; its first epoch starts now. Called by the registry.
    @dev A market that no registry lists may be wired to anything: ask `Registry.is_market`.
    @param _stakes Who holds the validators' stake.
    @param _treasury Who holds the rewards.
    @param _rules Who holds the parameters.
    @param _stake_token What validators stake and miners pay; it can be burned.
    @param _reward_token What sponsors pay in.
    @param _name Name of the market.
    """
    registry = msg.sender
    stakes = _stakes
    treasury = _treasury
    rules = _rules
    stake_token = _stake_token
    reward_token = _reward_token
    self.name = _name
    self.clock = block.timestamp << 32
    self.last_epoch = max_value(uint256)


# --- Miners ---


@external
@nonreentrant
def register_miner(operator: address, endpoint: String[128], max_price: uint256) -> uint256:
    """
    @notice Takes the lowest free miner slot at the current price.
    @dev The caller becomes the owner and must have approved the price. Part of it is the
         deposit, which comes back to a miner that leaves; the rest is burned.
    @param operator Key that signs answers; free in this market.
    @param endpoint Where the miner answers, e.g. "http://203.0.113.7:8091".
    @param max_price The most that the caller pays, stake token base units.
    @return uint256 The uid, 1..255.
    """
    self._require_open()
    self._require_free_key(operator)
    uid: uint256 = self._free_uid()
    assert uid != 0, "market: no free miner slot"
    price: uint256 = self._charge(max_price)
    burned: uint256 = self._seat_miner(
        uid, msg.sender, operator, endpoint, price, self._epoch()
    )
    self._pull(price)
    self._burn(burned)
    return uid


@external
@nonreentrant
def apply_miner(operator: address, endpoint: String[128], max_price: uint256):
    """
    @notice Waits, in a full market, for the slot of the weakest miner at an epoch's end.
    @dev The whole price is held meanwhile.
    @param operator Key that signs answers; free in this market.
    @param endpoint Where the miner will answer.
    @param max_price The most that the caller pays, stake token base units.
    """
    self._require_open()
    self._require_free_key(operator)
    assert self._free_uid() == 0, "market: a miner slot is free"
    assert len(self.queue) < MAX_APPLICANTS, "market: too many applicants"
    price: uint256 = self._charge(max_price)
    self.queue.append(operator)
    self.clock |= WAITING
    self.applications[operator] = Application(
        owner=msg.sender, paid=price, epoch=self._epoch(), endpoint=endpoint
    )
    log MinerApplied(owner=msg.sender, operator=operator, paid=price, endpoint=endpoint)
    self._pull(price)


@external
@nonreentrant
def withdraw_application(operator: address):
    """
    @notice Stops waiting; the whole price comes back to the caller.
    @dev Not in the epoch it was made in: who could leave the queue just before the closing
         would fill it, and raise the price, for nothing.
    @param operator The one it was made with.
    """
    self._require_not_closing()
    self._require_owner(self.applications[operator].owner)
    paid: uint256 = self.applications[operator].paid
    assert (
        self.applications[operator].epoch < self._epoch()
    ), "market: application is too young"
    waiting: DynArray[address, MAX_APPLICANTS] = self.queue
    kept: DynArray[address, MAX_APPLICANTS] = []
    for other: address in waiting:
        if other != operator:
            kept.append(other)
    self.queue = kept
    self.applications[operator] = empty(Application)
    self.deposits -= paid
    log ApplicationWithdrawn(owner=msg.sender, operator=operator, paid=paid)
    self._push(paid)


@external
@nonreentrant
def leave_miner(uid: uint256):
    """
    @notice Frees the slot and returns the deposit to its owner, the caller.
    @param uid The miner.
    """
    self._require_not_closing()
    self._require_owner(self.miners[uid].owner)
    miner: Miner = self._remove_miner(uid)
    self.deposits -= miner.deposit
    log MinerLeft(uid=uid, owner=miner.owner, deposit=miner.deposit)
    self._push(miner.deposit)


@external
@nonreentrant
def claim_deposit() -> uint256:
    """
    @notice Pays the caller the deposits of its evicted miners.
    @return uint256 Stake token base units paid.
    """
    amount: uint256 = self.deposit_owed[msg.sender]
    assert amount != 0, "market: nothing to claim"
    self.deposit_owed[msg.sender] = 0
    self.deposits -= amount
    log DepositClaimed(owner=msg.sender, amount=amount)
    self._push(amount)
    return amount


@external
def set_miner_operator(uid: uint256, operator: address):
    """
    @notice Replaces a miner's hot key, or revokes it.
    @param uid The miner; the caller must own it.
    @param operator The new key, free in this market; the zero address for none.
    """
    self._require_owner(self.miners[uid].owner)
    if operator != empty(address):
        self._require_free_key(operator)
        self.uid_of[operator] = uid
    self.uid_of[self.miners[uid].operator] = 0
    self.miners[uid].operator = operator
    log MinerOperatorChanged(uid=uid, owner=msg.sender, operator=operator)


@external
def set_endpoint(uid: uint256, endpoint: String[128]):
    """
    @notice Says where a miner answers.
    @param uid The miner; the caller must be its owner or operator.
    @param endpoint The new address.
    """
    owner: address = self.miners[uid].owner
    if msg.sender != self.miners[uid].operator:
        self._require_owner(owner)
    self.endpoints[uid] = endpoint
    log EndpointChanged(uid=uid, owner=owner, endpoint=endpoint)


# --- Validators ---


@external
@nonreentrant
def register_validator(operator: address, amount: uint256, take_bps: uint256) -> uint256:
    """
    @notice Takes the lowest free of 64 seats with a first stake, which counts from the next epoch.
    @dev The caller becomes the owner and must have approved the stake to `stakes`. When no seat
         is free, a larger stake takes the seat with the least behind it, in the commit phase.
    @param operator Key that commits and reveals; free in this market.
    @param amount Stake token base units; `stakes` asks for the rules' `min_stake`.
    @param take_bps The owner's part of what delegated stake earns.
    @return uint256 The vid, 0..63.
    """
    self._require_open()
    self._require_free(operator, self.seat_of[operator] != 0)
    vid: uint256 = self._lowest_free(self.validator_slots)
    if vid == 64:
        vid = self._weakest_seat(amount)
        self._remove_validator(vid)

    generation: uint256 = self._next_generation()
    self.validator_slots |= 1 << vid
    self.seats[vid] = Seat(
        owner=msg.sender, operator=operator, digest=empty(bytes32), evidence=empty(bytes32)
    )
    self.seat_of[operator] = vid + 1
    self.voters[vid] = generation  # the lowest field of a packed Voter
    log ValidatorRegistered(
        vid=vid, owner=msg.sender, operator=operator, generation=generation, stake=amount
    )
    extcall Stakes(stakes).open_pool(generation, msg.sender, amount, take_bps)
    return vid


@external
@nonreentrant
def leave_validator(vid: uint256):
    """
    @notice Frees the seat and closes its pool; the stake is then unstaked at `stakes`.
    @dev Not while its newest row can be audited, in the epoch of the reveal and the one after:
         who leaves lets an epoch pass without a row first.
    @param vid The validator; the caller must own it.
    """
    self._require_not_closing()
    self._require_owner(self.seats[vid].owner)
    clock: Clock = self._load_clock()
    assert (
        self._load_voter(vid).revealed < max(clock.epoch, 1) or self._phase(clock) == 4
    ), "market: row can still be audited"
    self._remove_validator(vid)


@external
def set_validator_operator(vid: uint256, operator: address):
    """
    @notice Replaces a validator's hot key, or revokes it. A live commit stays valid: it names the owner.
    @param vid The validator; the caller must own it.
    @param operator The new key, free in this market; the zero address for none.
    """
    self._require_owner(self.seats[vid].owner)
    if operator != empty(address):
        self._require_free(operator, self.seat_of[operator] != 0)
        self.seat_of[operator] = vid + 1
    self.seat_of[self.seats[vid].operator] = 0
    self.seats[vid].operator = operator
    log ValidatorOperatorChanged(vid=vid, owner=msg.sender, operator=operator)


@external
def commit(digest: bytes32):
    """
    @notice Commits to this epoch's weights. Once an epoch, by the operator.
    @param digest keccak256(abi.encode(chain id, market, epoch, validator's owner, salt, as_of,
           version, evidence, words)).
    """
    vid: uint256 = self._vid_of(msg.sender)
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
def reveal(
    as_of: uint256,
    version: uint256,
    salt: bytes32,
    evidence: bytes32,
    words: DynArray[uint256, 16],
):
    """
    @notice Reveals the weights behind this epoch's commit.
    @dev Column j stands in words[j // 16] at bits 16 * (j % 16); columns past the end are 0.
    @param as_of Registration counter when the validator measured; at most that of its commit.
    @param version The mechanism's version that it measured by; must be the market's.
    @param salt The commit's secret; it also feeds the epoch's beacon.
    @param evidence Root of the validator's evaluation log; zero for none.
    @param words The row; its weights sum to 65,535 exactly.
    """
    vid: uint256 = self._vid_of(msg.sender)
    clock: Clock = self._load_clock()
    epoch: uint256 = clock.epoch
    assert self._phase(clock) == 1, "market: not in the reveal phase"
    voter: Voter = self._load_voter(vid)
    assert voter.committed == epoch + 1, "market: nothing committed"
    assert voter.revealed != epoch + 1, "market: already revealed"
    assert as_of <= voter.as_of, "market: as_of is later than the commit"
    assert version == self._phase_terms().mechanism_version, "market: wrong mechanism version"
    digest: bytes32 = keccak256(
        abi_encode(
            chain.id, self, epoch, self.seats[vid].owner, salt, as_of, version, evidence, words
        )
    )
    assert digest == self.seats[vid].digest, "market: reveal does not match the commit"
    assert self._row_sum(words) == ROW_SUM, "market: row sum is not 65535"

    voter.revealed = epoch + 1
    voter.as_of = as_of
    voter.words = len(words)
    self._store_voter(vid, voter)
    self.seats[vid].evidence = evidence
    self.entropy[epoch & 1] = keccak256(concat(self.entropy[epoch & 1], salt))
    for page: uint256 in range(len(words), bound=16):
        self.rows[(vid << 4) | page] = words[page]
    log WeightsRevealed(
        epoch=epoch, vid=vid, operator=msg.sender, as_of=as_of, evidence=evidence, words=words
    )


# --- The epoch ---


@external
@nonreentrant
def begin_close():
    """
    @notice Starts closing the epoch once its reveal phase is over. Anyone may, for a part of
            the reward, as for each step of the closing.
    """
    self._begin(self._epoch_terms())
    self._poke(1)


@external
@nonreentrant
def settle_pages(first_page: uint256, hints: DynArray[uint256, 16]):
    """
    @notice Settles one or more pages of 16 columns: checks the hinted consensus, ranks,
            moves the bonds, adds up dividends. Anyone may; pages go in order.
    @param first_page The page that the first hint is for; must be the next one due.
    @param hints One word a page: the consensus weight of column j at bits 16 * (j % 16).
    """
    self._settle(first_page, hints, self._epoch_terms())
    self._poke(len(hints))


@external
@nonreentrant
def pay_miners():
    """
    @notice Pays the miners, once all pages are settled, ahead of `finish_close`, which else does
            it too: for markets where both together are too much for one transaction.
            Anyone may; only what is left for `finish_close` is paid for.
    """
    clock: Clock = self._load_settled()
    self._distribute(clock, False, self._epoch_terms().validator_share_bps)
    clock.closing += 1
    self._store_clock(clock)


@external
@nonreentrant
def finish_close():
    """
    @notice Pays the epoch out, once all its pages are settled, and starts the next one. Anyone may.
    """
    self._finish(1, self._epoch_terms().validator_share_bps)


@external
@nonreentrant
def close_epoch(hints: DynArray[uint256, 16]):
    """
    @notice Begins, settles all pages and finishes in one transaction: for small markets.
    @param hints One word for each of the epoch's pages, as for `settle_pages`.
    """
    self.is_passing = True
    terms: EpochTerms = self._epoch_terms()
    self._begin(terms)
    self._settle(0, hints, terms)
    self._finish(len(hints) + 2, terms.validator_share_bps)
    self.is_passing = False


@external
def wind_down():
    """
    @notice Makes the running epoch the last one. Only the rules' owner may; it cannot be undone.
    @dev Once that epoch is closed, everybody can take all that is left.
    """
    self._require_open()
    assert msg.sender == staticcall Rules(rules).owner(), "market: caller is not the owner"
    epoch: uint256 = self._epoch()
    self.last_epoch = epoch
    self.clock |= WINDING
    log WindDownBegan(owner=msg.sender, last_epoch=epoch)


# --- Views ---


@external
@view
def owner() -> address:
    """
    @notice Who may propose rules and wind the market down.
    @return address The rules' owner.
    """
    return staticcall Rules(rules).owner()


@external
@view
def is_closing() -> bool:
    """
    @notice Whether the epoch is being closed, so that nothing that it reads may move.
    @return bool True between the beginning and the end of the closing.
    """
    return self._load_clock().closing != 0


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
def price() -> uint256:
    """
    @notice What a miner's registration costs now.
    @return uint256 Stake token base units.
    """
    return self._price()[0]


@external
@view
def status() -> Status:
    """
    @notice Where the epoch stands, all in one call.
    @return Status See the struct.
    """
    columns: uint256 = self._columns()
    clock: Clock = self._load_clock()
    terms: PhaseTerms = self._phase_terms()
    commit_ends: uint256 = clock.started_at + terms.commit_seconds
    return Status(
        epoch=clock.epoch,
        started_at=clock.started_at,
        commit_ends=commit_ends,
        reveal_ends=commit_ends + terms.reveal_seconds,
        phase=self._phase(clock),
        pages=self._pages(),
        next_page=max(clock.closing, 1) - 1,
        columns=columns,
        generation=clock.generation,
        reward=staticcall Treasury(treasury).reward(),
        total_weight=clock.total_weight,
        last_epoch=self.last_epoch,
        price=self._price()[0],
    )


@external
@view
def epoch() -> uint256:
    """
    @notice The running epoch.
    @return uint256 From 0.
    """
    return self._epoch()


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
def beacon(epoch: uint256) -> bytes32:
    """
    @notice Chance that nobody knew before an epoch's reveals were over: all its salts, on top of
            those of every second epoch before.
    @param epoch The newest closed epoch.
    @return bytes32 The beacon; 0 for any other epoch.
    """
    if epoch + 1 != self._epoch():
        return empty(bytes32)
    return keccak256(abi_encode(self.entropy[epoch & 1], epoch, self))


@external
@view
def closing_weight() -> uint256:
    """
    @notice All weight in the newest closing.
    @return uint256 Stake units.
    """
    return self._load_clock().total_weight


@external
@view
def weight_of(vid: uint256) -> uint256:
    """
    @notice A validator's weight in the newest closing, after the cap.
    @param vid The validator.
    @return uint256 Stake units; 0 without a vote.
    """
    return self._load_voter(vid).weight


@external
@view
def get_applicants() -> DynArray[address, MAX_APPLICANTS]:
    """
    @notice Who waits for a miner's slot.
    @return DynArray[address, 16] Their operators, in order of arrival.
    """
    return self.queue


@external
@view
def get_application(operator: address) -> Application:
    """
    @notice What is known of somebody who waits for a miner's slot.
    @param operator The key it applied with.
    @return Application All 0 when nobody waits with this key.
    """
    return self.applications[operator]


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
        born: uint256 = self._born(uid)
        found.append(
            MinerView(
                uid=uid,
                owner=miner.owner,
                operator=miner.operator,
                generation=born & 4_294_967_295,
                since=born >> 32,
                deposit=miner.deposit,
                consensus=(self.consensus_words[uid >> 4] >> ((uid & 15) << 4)) & 65_535,
                rank=self._rank(uid),
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
    for vid: uint256 in range(64):
        if (self.validator_slots >> vid) & 1 != 0:
            found.append(self._validator(vid))
    return found


@external
@view
def get_validator(vid: uint256) -> ValidatorView:
    """
    @notice One validator.
    @param vid Which; all fields but the vid are 0 when nobody holds the seat.
    @return ValidatorView See the struct.
    """
    return self._validator(vid)


@external
@view
def vid_of(operator: address) -> uint256:
    """
    @notice The validator that an operator speaks for.
    @param operator The hot key.
    @return uint256 The vid; reverts when there is none.
    """
    return self._vid_of(operator)


@external
@view
def get_generations() -> uint256[256]:
    """
    @notice The generation of each miner slot; 0 for an empty one and for the unspent column.
    @return uint256[256] By uid.
    """
    found: uint256[256] = empty(uint256[256])
    for uid: uint256 in range(256):
        found[uid] = self._born(uid) & 4_294_967_295
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
        found.append(self.rows[(vid << 4) | page])
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
        word: uint256 = self.bonds[(vid << 5) | (quad >> 1)]
        found[uid] = (word >> (self._place_of(uid) | ((quad & 1) << 5))) & 4_294_967_295
    return found


@external
@view
def get_consensus() -> uint256[16]:
    """
    @notice The consensus of the pages settled last.
    @return uint256[16] By page: 16 values of 16 bits.
    """
    return self.consensus_words


# --- Closing, step by step ---


@internal
def _begin(terms: EpochTerms):
    """
    @dev Fixes who votes and with how much. In the count: who committed now (revealed or not) or
         revealed not long ago, and has effective stake. Of these the strongest hold a permit,
         of equals the older; then nobody weighs more than the cap.
    """
    self._require_not_closing()
    clock: Clock = self._load_clock()
    assert self._phase(clock) == 2, "market: epoch is not over"
    now: uint256 = clock.epoch + 1
    count: uint256 = self._bit_length(self.validator_slots)
    # An empty seat asks for pool 0, which nobody can open.
    stakes_of: DynArray[uint256, 64] = staticcall Stakes(stakes).effective(
        self._pools(count), terms.min_stake
    )
    # Stake, then seniority: a larger key goes first. No two are equal.
    keys: uint256[64] = empty(uint256[64])
    voting: uint256 = 0
    for vid: uint256 in range(count, bound=64):
        voter: Voter = self._load_voter(vid)
        if stakes_of[vid] != 0 and (
            voter.committed == now
            or (voter.revealed != 0 and voter.revealed + terms.activity_epochs >= now)
        ):
            keys[vid] = (stakes_of[vid] << 32) | (4_294_967_295 - voter.generation)
            voting += 1

    if voting > terms.max_validators:
        for vid: uint256 in range(count, bound=64):
            ahead: uint256 = 0
            for key: uint256 in keys:
                if key > keys[vid]:
                    ahead += 1
            # Who goes was ahead of nobody who stays, so the count stays right.
            if ahead >= terms.max_validators:
                keys[vid] = 0

    total: uint256 = 0
    for vid: uint256 in range(count, bound=64):
        keys[vid] = (keys[vid] >> 32) // STAKE_UNIT
        total += keys[vid]
    most: uint256 = total * terms.weight_cap_bps // 10_000
    total = 0
    for vid: uint256 in range(count, bound=64):
        weight: uint256 = min(keys[vid], most)
        total += weight
        # The weight is the highest field of a packed Voter.
        self.voters[vid] = (self.voters[vid] & (2 ** 136 - 1)) | (weight << 136)
    clock.closing = 1
    clock.total_weight = total
    clock.rank_total = 0
    self._store_clock(clock)
    log ClosingBegan(epoch=clock.epoch, total_weight=total, pages=self._pages())


@internal
def _settle(first_page: uint256, hints: DynArray[uint256, 16], terms: EpochTerms):
    clock: Clock = self._load_closing()
    assert first_page + 1 == clock.closing, "market: page is not the next one"
    assert first_page + len(hints) <= self._pages(), "market: no such page"
    # kappa of the total, rounded up; at least 1, so that an empty jury agrees on 0.
    threshold: uint256 = max((terms.kappa * clock.total_weight + PRECISE - 1) // PRECISE, 1)
    alpha: uint256 = terms.bond_alpha * 2 ** 32 // PRECISE
    count: uint256 = self._bit_length(self.validator_slots)
    pairs: uint256 = (count + 1) >> 1
    voters: uint256[64] = self._jury(count, clock.epoch + 1)
    earned: uint256[64] = empty(uint256[64])
    if first_page != 0:
        for pair: uint256 in range(pairs, bound=32):
            word: uint256 = self.dividends[pair]
            earned[pair << 1] = word & LOW_128
            earned[(pair << 1) | 1] = word >> 128

    page: uint256 = first_page
    for hint: uint256 in hints:
        rows: uint256[64] = empty(uint256[64])
        for vid: uint256 in range(count, bound=64):
            if page < (voters[vid] >> 128) & 255:
                rows[vid] = self.rows[(vid << 4) | page]
        for half: uint256 in range(2):
            ratios: uint256[8] = empty(uint256[8])
            bonds: uint256[64] = empty(uint256[64])
            rank: uint256 = 0
            rank, ratios, bonds = self._settle_half(
                page, half, hint, threshold, clock.closed_generation, alpha, count, rows, voters
            )
            clock.rank_total += rank
            # Without ranks there are no ratios.
            if rank == 0:
                continue
            for vid: uint256 in range(count, bound=64):
                if voters[vid] >> 136 != 0:
                    earned[vid] = unsafe_add(earned[vid], self._dividend(bonds[vid], ratios))
        self.consensus_words[page] = hint
        log PageSettled(epoch=clock.epoch, page=page, consensus=hint)
        page += 1

    for pair: uint256 in range(pairs, bound=32):
        word: uint256 = earned[pair << 1] | (earned[(pair << 1) | 1] << 128)
        if self.is_passing:
            self.passing[pair] = word
        else:
            self.dividends[pair] = word
    clock.closing = page + 1
    self._store_clock(clock)


@internal
def _settle_half(
    page: uint256,
    half: uint256,
    hint: uint256,
    threshold: uint256,
    closed_generation: uint256,
    alpha: uint256,
    count: uint256,
    rows: uint256[64],
    voters: uint256[64],
) -> (uint256, uint256[8], uint256[64]):
    """
    @dev Eight columns: quad 2*half ("low") and quad 2*half + 1 ("high").
    @return (sum of ranks, rank / column sum of bonds over 2**32, new bonds by vid)
    """
    quad: uint256 = (page << 2) | (half << 1)
    offset: uint256 = half << 5
    before: uint256 = unsafe_mul(closed_generation, ONES)
    born_low: uint256 = self.generation_lanes[quad] & LOW_32
    born_high: uint256 = self.generation_lanes[quad + 1] & LOW_32
    # A miner holds the column (1 or 0 in each lane).
    held_low: uint256 = self._at_least_32(born_low, ONES)
    held_high: uint256 = self._at_least_32(born_high, ONES)
    # It held it at the last closing too, so the stored bonds are for it.
    kept: uint256 = (
        (held_low & self._at_least_32(before, born_low))
        | ((held_high & self._at_least_32(before, born_high)) << 32)
    ) * 4_294_967_295
    bonding_low: uint256 = unsafe_mul(held_low, 65_535)
    # The unspent column takes votes, but no bonds.
    if quad == 0:
        held_low |= 1

    hint_low: uint256 = (hint >> offset) & LOW_16
    hint_high: uint256 = (hint >> (offset + 16)) & LOW_16
    next_low: uint256 = unsafe_add(hint_low, ONES)
    next_high: uint256 = unsafe_add(hint_high, ONES)
    reach_low: uint256 = 0
    reach_high: uint256 = 0
    above_low: uint256 = 0
    above_high: uint256 = 0
    rank_low: uint256 = 0
    rank_high: uint256 = 0
    sum_low: uint256 = 0
    sum_high: uint256 = 0
    bonds: uint256[64] = empty(uint256[64])

    for vid: uint256 in range(count, bound=64):
        voter: uint256 = voters[vid]
        if voter == 0:
            continue
        weight_low: uint256 = 0
        weight_high: uint256 = 0
        # The highest field; 0 without a reveal.
        stake: uint256 = voter >> 136
        if stake != 0:
            as_of: uint256 = unsafe_mul((voter >> 32) & 4_294_967_295, ONES)
            row: uint256 = rows[vid] >> offset
            weight_low = row & unsafe_mul(held_low & self._at_least_32(as_of, born_low), 65_535)
            weight_high = (row >> 16) & unsafe_mul(
                held_high & self._at_least_32(as_of, born_high), 65_535
            )
            # Lanes: sums of units stay under 2**48, units x weight under 2**64.
            at_low: uint256 = self._at_least_16(weight_low, hint_low)
            at_high: uint256 = self._at_least_16(weight_high, hint_high)
            reach_low = unsafe_add(reach_low, unsafe_mul(stake, at_low))
            reach_high = unsafe_add(reach_high, unsafe_mul(stake, at_high))
            above_low = unsafe_add(
                above_low, unsafe_mul(stake, self._at_least_16(weight_low, next_low))
            )
            above_high = unsafe_add(
                above_high, unsafe_mul(stake, self._at_least_16(weight_high, next_high))
            )
            rank_low = unsafe_add(
                rank_low, unsafe_mul(stake, self._clip(weight_low, hint_low, at_low))
            )
            rank_high = unsafe_add(
                rank_high, unsafe_mul(stake, self._clip(weight_high, hint_high, at_high))
            )
        slot: uint256 = (vid << 5) | (quad >> 1)
        old: uint256 = self.bonds[slot]
        new: uint256 = 0
        # It held its seat at the last closing too, so the stored bonds are its own.
        if voter & 4_294_967_295 <= closed_generation:
            new = old & kept
        bond_low: uint256 = self._ema(new & LOW_32, weight_low & bonding_low, alpha)
        bond_high: uint256 = self._ema((new >> 32) & LOW_32, weight_high, alpha)
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
        at: uint256 = lane << 6
        low: uint256 = (rank_low >> at) & LANE
        high: uint256 = (rank_high >> at) & LANE
        ratios[lane << 1] = self._ratio(low, (sum_low >> at) & LANE)
        ratios[(lane << 1) | 1] = self._ratio(high, (sum_high >> at) & LANE)
        ranked = unsafe_add(ranked, unsafe_add(low, high))
    return ranked, ratios, bonds


@internal
@pure
def _check(hint: uint256, reach: uint256, above: uint256, threshold: uint256):
    """
    @dev A column's consensus is the largest weight that kappa of the stake reaches, or 0:
         units(w >= c) >= threshold > units(w > c). No other value passes.
    """
    for lane: uint256 in range(4):
        at: uint256 = lane << 6
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
    total: uint256 = unsafe_mul(bonds & 4_294_967_295, ratios[0])
    total = unsafe_add(total, unsafe_mul((bonds >> 32) & 4_294_967_295, ratios[1]))
    total = unsafe_add(total, unsafe_mul((bonds >> 64) & 4_294_967_295, ratios[2]))
    total = unsafe_add(total, unsafe_mul((bonds >> 96) & 4_294_967_295, ratios[3]))
    total = unsafe_add(total, unsafe_mul((bonds >> 128) & 4_294_967_295, ratios[4]))
    total = unsafe_add(total, unsafe_mul((bonds >> 160) & 4_294_967_295, ratios[5]))
    total = unsafe_add(total, unsafe_mul((bonds >> 192) & 4_294_967_295, ratios[6]))
    total = unsafe_add(total, unsafe_mul((bonds >> 224), ratios[7]))
    return total


@internal
@view
def _load_closing() -> Clock:
    clock: Clock = self._load_clock()
    assert clock.closing != 0, "market: epoch is not closing"
    return clock


@internal
@view
def _load_settled() -> Clock:
    clock: Clock = self._load_closing()
    assert clock.closing > self._pages(), "market: pages are not settled"
    return clock


@internal
def _poke(steps: uint256):
    """
    @dev Each page is a step, and so are the beginning and the end.
    """
    extcall Treasury(treasury).poke(msg.sender, steps, self._pages() + 2)


@internal
@view
def _dividend_of(vid: uint256) -> uint256:
    word: uint256 = 0
    if self.is_passing:
        word = self.passing[vid >> 1]
    else:
        word = self.dividends[vid >> 1]
    return (word >> ((vid & 1) << 7)) & LOW_128


@internal
def _distribute(clock: Clock, final: bool, validator_share_bps: uint256):
    """
    @dev Of all votes cast, those that agreed on a miner are earned: not what was voted for the
         unspent column, and not what was clipped or found no consensus.
         Who has a rank, as `Treasury` wants it: owner (160 bits), uid (8), rank (64).
    """
    seats: DynArray[uint256, 64] = []
    revealed: uint256 = 0
    seats, revealed = self._seat_shares(clock.epoch + 1, final)
    miners: DynArray[uint256, 255] = []
    pages: uint256 = self._pages()
    # Unless `pay_miners` has been here.
    if clock.closing == pages + 1:
        for quad: uint256 in range(pages << 2, bound=64):
            ranks: uint256 = self.rank_lanes[quad]
            uid: uint256 = ((quad >> 2) << 4) | (quad & 3)
            if quad == 0:
                ranks = ranks >> 64  # the unspent column is nobody's
                uid = 4
            for lane: uint256 in range(4):
                if ranks == 0:
                    break
                if ranks & LANE != 0:
                    miners.append(
                        convert(self.miners[uid].owner, uint256)
                        | (uid << 160)
                        | ((ranks & LANE) << 168)
                    )
                ranks = ranks >> 64
                uid += 4
    extcall Treasury(treasury).distribute(
        clock.epoch,
        clock.winding and clock.epoch == self.last_epoch,
        revealed * ROW_SUM,
        clock.rank_total - (self.rank_lanes[0] & LANE),
        validator_share_bps,
        miners,
        seats,
        final,
    )


@internal
def _finish(steps: uint256, validator_share_bps: uint256):
    clock: Clock = self._load_settled()
    self._poke(steps)
    self._distribute(clock, True, validator_share_bps)
    log EpochClosed(epoch=clock.epoch)
    clock.epoch += 1
    clock.started_at = block.timestamp
    clock.closing = 0
    # Before anybody new takes a slot: the bonds that are stored are not for them.
    clock.closed_generation = clock.generation
    self._store_clock(clock)
    if clock.waiting and not (clock.winding and clock.epoch > self.last_epoch):
        self._admit(clock)
    if staticcall Rules(rules).due():
        extcall Rules(rules).take_effect()


@internal
@view
def _seat_shares(revealed: uint256, final: bool) -> (DynArray[uint256, 64], uint256):
    """
    @dev Who revealed and earned: pool (32 bits), weight x dividend (48 + 96, and so is the sum);
         nobody before the final payout. And the weight of all who revealed.
    """
    shares: DynArray[uint256, 64] = []
    total: uint256 = 0
    for vid: uint256 in range(self._bit_length(self.validator_slots), bound=64):
        voter: Voter = self._load_voter(vid)
        if voter.revealed != revealed:
            continue
        total += voter.weight
        if final:
            share: uint256 = voter.weight * self._dividend_of(vid)
            if share != 0:
                shares.append(voter.generation | (share << 32))
    return shares, total


@internal
def _admit(clock: Clock):
    """
    @dev Gives applicants free slots, else those of the weakest miners: least rank in the epoch
         just closed, of equals the oldest. Newcomers are immune, and so many as the floor says
         stay. An epoch without consensus judged nobody, so it evicts nobody.
    """
    terms: MinerTerms = self._miner_terms()
    keys: uint256[256] = empty(uint256[256])
    evictable: uint256 = 0
    for uid: uint256 in range(1, 256):
        born: uint256 = self._born(uid)
        keys[uid] = max_value(uint256)
        # `since` is at most the epoch just closed, which is one before the clock's.
        if (
            born != 0
            and clock.rank_total != 0
            and clock.epoch > (born >> 32) + terms.immunity_epochs
        ):
            keys[uid] = (self._rank(uid) << 32) | (born & 4_294_967_295)
            evictable += 1

    kept: DynArray[address, MAX_APPLICANTS] = []
    waiting: DynArray[address, MAX_APPLICANTS] = self.queue
    burned: uint256 = 0
    for operator: address in waiting:
        uid: uint256 = self._free_uid()
        if uid == 0 and evictable > terms.floor_miners:
            for other: uint256 in range(1, 256):
                if uid == 0 or keys[other] < keys[uid]:
                    uid = other
            keys[uid] = max_value(uint256)
            evictable -= 1
            miner: Miner = self._remove_miner(uid)
            self.deposit_owed[miner.owner] += miner.deposit
            log MinerEvicted(uid=uid, owner=miner.owner, deposit=miner.deposit)
        if uid == 0:
            kept.append(operator)
            continue
        application: Application = self.applications[operator]
        self.applications[operator] = empty(Application)
        burned += self._seat_miner(
            uid, application.owner, operator, application.endpoint, application.paid, clock.epoch
        )
    self.queue = kept
    if len(kept) == 0:
        self.clock &= ~WAITING
    self._burn(burned)


# --- Slots and the price ---


@internal
@view
def _free_uid() -> uint256:
    """
    @dev The lowest free uid; 0 when the market is full.
    """
    # Bit 0 counts as held: it is the unspent column.
    uid: uint256 = self._lowest_free(self.miner_slots | 1)
    if uid > self._miner_terms().max_miners:
        return 0
    return uid


@internal
def _seat_miner(
    uid: uint256,
    owner: address,
    operator: address,
    endpoint: String[128],
    paid: uint256,
    since: uint256,
) -> uint256:
    """
    @return What of the price is to be burned; the rest is the deposit.
    """
    deposit: uint256 = paid * self._miner_terms().refund_bps // 10_000
    generation: uint256 = self._next_generation()
    self.miner_slots |= 1 << uid
    self.miners[uid] = Miner(owner=owner, operator=operator, deposit=deposit)
    self.endpoints[uid] = endpoint
    self.uid_of[operator] = uid
    self._set_born(uid, generation | (since << 32))
    self.deposits -= paid - deposit
    log MinerRegistered(
        uid=uid,
        owner=owner,
        operator=operator,
        generation=generation,
        deposit=deposit,
        burned=paid - deposit,
        endpoint=endpoint,
    )
    return paid - deposit


@internal
def _remove_miner(uid: uint256) -> Miner:
    miner: Miner = self.miners[uid]
    self.miner_slots &= ~(1 << uid)
    self.miners[uid] = empty(Miner)
    self.endpoints[uid] = ""
    self.uid_of[miner.operator] = 0
    self._set_born(uid, 0)
    return miner


@internal
def _remove_validator(vid: uint256):
    seat: Seat = self.seats[vid]
    pool: uint256 = self._load_voter(vid).generation
    self.validator_slots &= ~(1 << vid)
    self.seats[vid] = empty(Seat)
    self.seat_of[seat.operator] = 0
    self.voters[vid] = 0
    log ValidatorLeft(vid=vid, owner=seat.owner, pool=pool)
    extcall Stakes(stakes).close_pool(pool)


@internal
@view
def _weakest_seat(amount: uint256) -> uint256:
    """
    @dev The seat with the least bonded stake, of equals the youngest; `amount` must be more.
         All bonded stake counts, also what came in this epoch: a seat that was just taken is
         no weaker than the stake that took it. A commit protects nobody, or whoever commits
         first would sit for ever.
    """
    vid: uint256 = 0
    least: uint256 = 0
    vid, least = staticcall Stakes(stakes).weakest(self._pools(64))
    assert (
        amount > least and self._phase(self._load_clock()) == 0
    ), "market: no free validator slot"
    return vid


@internal
@view
def _pools(count: uint256) -> DynArray[uint256, 64]:
    pools: DynArray[uint256, 64] = []
    for vid: uint256 in range(count, bound=64):
        pools.append(self.voters[vid] & 4_294_967_295)
    return pools


@internal
@view
def _price() -> (uint256, uint256):
    """
    @return What a slot costs now, and what the next one would cost at once.
    """
    return staticcall Rules(rules).price(self.last_price)


@internal
def _charge(max_price: uint256) -> uint256:
    """
    @dev Takes the price into the books and raises it; the caller of this pulls it.
    """
    price: uint256 = 0
    raised: uint256 = 0
    price, raised = self._price()
    assert price <= max_price, "market: price above the limit"
    self.last_price = raised | (block.timestamp << 112)
    self.deposits += price
    return price


# --- Small parts ---


@internal
@view
def _phase(clock: Clock) -> uint256:
    if clock.closing != 0:
        return 3
    if clock.winding and clock.epoch > self.last_epoch:
        return 4
    terms: PhaseTerms = self._phase_terms()
    commit_ends: uint256 = clock.started_at + terms.commit_seconds
    if block.timestamp < commit_ends:
        return 0
    if block.timestamp < commit_ends + terms.reveal_seconds:
        return 1
    return 2


@internal
@view
def _phase_terms() -> PhaseTerms:
    return staticcall Rules(rules).phase_terms()


@internal
@view
def _epoch_terms() -> EpochTerms:
    return staticcall Rules(rules).epoch_terms()


@internal
@view
def _miner_terms() -> MinerTerms:
    return staticcall Rules(rules).miner_terms()


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
def _require_owner(owner: address):
    assert msg.sender == owner, "market: caller is not the slot's owner"


@internal
@view
def _require_free_key(operator: address):
    self._require_free(
        operator, self.uid_of[operator] != 0 or self.applications[operator].owner != empty(address)
    )


@internal
@pure
def _require_free(operator: address, used: bool):
    assert operator != empty(address), "market: operator is the zero address"
    assert not used, "market: operator already in use"


@internal
@view
def _vid_of(operator: address) -> uint256:
    seat: uint256 = self.seat_of[operator]
    assert seat != 0, "market: caller is not a validator's operator"
    return unsafe_sub(seat, 1)


@internal
@view
def _validator(vid: uint256) -> ValidatorView:
    voter: Voter = self._load_voter(vid)
    seat: Seat = self.seats[vid]
    return ValidatorView(
        vid=vid,
        owner=seat.owner,
        operator=seat.operator,
        pool=voter.generation,
        weight=voter.weight,
        committed_epoch=voter.committed,
        revealed_epoch=voter.revealed,
        as_of=voter.as_of,
        words=voter.words,
        evidence=seat.evidence,
    )


@internal
@view
def _jury(count: uint256, revealed: uint256) -> uint256[64]:
    """
    @dev By vid: the packed Voter, without weight and row where nothing was revealed; 0 for an empty seat.
    """
    found: uint256[64] = empty(uint256[64])
    for vid: uint256 in range(count, bound=64):
        word: uint256 = self.voters[vid]
        if (word >> 96) & 4_294_967_295 != revealed:
            word &= LOW_128
        found[vid] = word
    return found


@internal
@view
def _epoch() -> uint256:
    return self.clock & 4_294_967_295


@internal
@view
def _load_clock() -> Clock:
    word: uint256 = self.clock
    return Clock(
        epoch=word & 4_294_967_295,
        started_at=(word >> 32) & 1_099_511_627_775,
        closing=(word >> 72) & 63,
        waiting=(word >> 78) & 1 == 1,
        winding=(word >> 79) & 1 == 1,
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
        | (convert(clock.waiting, uint256) << 78)
        | (convert(clock.winding, uint256) << 79)
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
        weight=word >> 136,
    )


@internal
def _store_voter(vid: uint256, voter: Voter):
    # Epochs and registrations are far below 2**32; weights are below 2**48.
    self.voters[vid] = (
        voter.generation
        | (voter.as_of << 32)
        | (voter.committed << 64)
        | (voter.revealed << 96)
        | (voter.words << 128)
        | (voter.weight << 136)
    )


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
    return ((uid >> 4) << 2) | (uid & 3)


@internal
@pure
def _place_of(uid: uint256) -> uint256:
    """
    @dev The first bit of its lane within its quad.
    """
    return ((uid >> 2) & 3) << 6


@internal
@pure
def _lane_of(lanes: uint256, uid: uint256) -> uint256:
    return (lanes >> self._place_of(uid)) & LANE


@internal
def _set_born(uid: uint256, born: uint256):
    quad: uint256 = self._quad_of(uid)
    at: uint256 = self._place_of(uid)
    self.generation_lanes[quad] = self.generation_lanes[quad] & ~(LANE << at) | (born << at)


@internal
@view
def _born(uid: uint256) -> uint256:
    """
    @dev A slot's generation, and above its 32 bits the epoch its holder came in.
    """
    return self._lane_of(self.generation_lanes[self._quad_of(uid)], uid)


@internal
@view
def _rank(uid: uint256) -> uint256:
    return self._lane_of(self.rank_lanes[self._quad_of(uid)], uid)


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
    """
    @dev Of 16 columns; at least 1.
    """
    return (self._columns() + 15) >> 4


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
@pure
def _ema(bond: uint256, weight: uint256, alpha: uint256) -> uint256:
    """
    @dev keep x bond + alpha x weight in each lane, rounded towards the weight.
         Lanes: keep + alpha = 2**32 and both values < 2**32, so the sum with the rounding
         term 2**32 - 1 is at most 2**64 - 1.
    """
    target: uint256 = weight << 16
    rising: uint256 = self._at_least_32(target, bond)
    mixed: uint256 = unsafe_add(
        unsafe_mul(alpha, target), unsafe_mul(unsafe_sub(2 ** 32, alpha), bond)
    )
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
def _pull(amount: uint256):
    if amount != 0:
        self._require_paid(
            extcall IERC20(stake_token).transferFrom(
                msg.sender, self, amount, default_return_value=True
            )
        )


@internal
def _push(amount: uint256):
    if amount != 0:
        self._require_paid(
            extcall IERC20(stake_token).transfer(msg.sender, amount, default_return_value=True)
        )


@internal
@pure
def _require_paid(paid: bool):
    assert paid, "market: token transfer failed"


@internal
def _burn(amount: uint256):
    if amount != 0:
        extcall Burnable(stake_token).burn(amount)
