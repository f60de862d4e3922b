# pragma version ==0.4.3
"""
@title Tercet audits
@license Apache-2.0
@author Tercet contributors
@notice Checks what validators claim to have measured. One contract for all markets of a registry.
@dev With its weights a validator reveals `evidence`: keccak256(abi.encode(count, root)) of the log
     of its evaluations, fixed by its commit. The epoch's beacon, known only after the reveals, picks
     a few entries of each log. In the next epoch the other validators fetch those entries from their
     author, run them again and say here whose are in order; a validator's held rewards are released
     when more than half of the others' weight says so. Whoever finds an entry that does not reproduce
     accuses, under a bond; the validators vote by weight, and a conviction slashes.

     A round is the audit of one closed epoch of one market. Its stages go by the market's own clock:
     0 (the epoch after): attest, accuse, vote. 1 (the one after that): vote. 2: over.
     Once a market is wound down its clock stands; then a stage lasts as long as an epoch did.
     What must not move (pools, weights, evidence, beacon) is copied when the round is opened.

     Majorities are counted in all weight of the closing: the accuser's own weight says guilty, the
     accused's says innocent. So no coalition of half the weight or less can have anybody slashed,
     and a seat is slashed at most once for an epoch.
@custom:kill There is no owner and no switch. To retire it, wind its markets down: every round can
             still be settled by anybody, and no bond stays here.
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


struct Round:
    head: uint256  # seconds opened (40) | total weight (64) | who has evidence (64) | open accusations (16) | words of seats (8)
    masks: uint256  # by vid, 64 bits each: attested | accused somebody | convicted | settled
    beacon: bytes32
    evidence: bytes32  # keccak256 of the abi-encoded list of all evidence, in order of vid
    seats: uint256[22]  # three seats to a word: pool (32) | weight (48)
    marks: uint256[16]  # four seats to a word, 64 bits each: whom that seat found in order


struct Accusation:
    head: uint256  # accuser (160) | its vid (8) | state (8) | slash_bps (16)
    tally: uint256  # guilty (64) | innocent (64) | who has voted (64)
    bond: uint256


struct RoundView:
    opened_at: uint256  # Unix seconds; 0: the round was never opened
    stage: uint256  # 0: attest, accuse, vote; 1: vote; 2: over
    beacon: bytes32
    weight: uint256  # of all seats together, stake units
    evidence: uint256  # bitmap of vids that published evidence
    attested: uint256  # bitmap of vids that attested
    convicted: uint256
    settled: uint256
    accusations: uint256  # how many are open


struct SeatView:
    vid: uint256
    pool: uint256
    weight: uint256
    marks: uint256  # bitmap of those that this seat found in order
    support: uint256  # weight of the others that found this seat in order


struct AccusationView:
    state: uint256  # 0: none, 1: open, 2: confirmed, 3: rejected, 4: moot
    accuser: address
    accuser_vid: uint256
    slash_bps: uint256
    guilty: uint256  # weight, the accuser's included
    innocent: uint256  # weight, the accused's included
    voters: uint256  # bitmap of vids
    bond: uint256


interface Registry:
    def is_market(market: address) -> bool: view


interface Market:
    def epoch() -> uint256: view
    def is_closing() -> bool: view
    def is_wound_down() -> bool: view
    def stakes() -> address: view
    def rules() -> address: view
    def beacon(epoch: uint256) -> bytes32: view
    def vid_of(operator: address) -> uint256: view
    def get_validator(vid: uint256) -> ValidatorView: view
    def get_validators() -> DynArray[ValidatorView, 64]: view


interface Rules:
    def params() -> market_params.MarketParams: view


interface Stakes:
    def slash(pool: uint256, bps: uint256, receiver: address) -> uint256: nonpayable
    def release(pool: uint256, epoch: uint256) -> (uint256, uint256): nonpayable
    def forfeit(pool: uint256, epoch: uint256) -> (uint256, uint256): nonpayable
    def get_held(pool: uint256, epoch: uint256) -> (uint256, uint256): view


interface Burnable:
    def burn(amount: uint256): nonpayable


event RegistrySet:
    registry: indexed(address)


event EndpointSet:
    market: indexed(address)
    pool: indexed(uint256)
    endpoint: String[128]


event RoundOpened:
    market: indexed(address)
    epoch: indexed(uint256)
    beacon: bytes32
    weight: uint256
    pools: DynArray[uint256, 64]
    evidence: DynArray[bytes32, 64]


event Attested:
    market: indexed(address)
    epoch: indexed(uint256)
    vid: indexed(uint256)
    marks: uint256


event Accused:
    market: indexed(address)
    epoch: indexed(uint256)
    vid: indexed(uint256)
    sample: uint256
    index: uint256
    leaf: bytes32
    accuser: address
    bond: uint256


event Voted:
    market: indexed(address)
    epoch: indexed(uint256)
    vid: indexed(uint256)
    sample: uint256
    voter_vid: uint256
    guilty: bool


event Judged:
    market: indexed(address)
    epoch: indexed(uint256)
    vid: indexed(uint256)
    sample: uint256
    state: uint256
    accuser: address
    slashed: uint256
    bond: uint256


event Settled:
    market: indexed(address)
    epoch: indexed(uint256)
    pool: indexed(uint256)
    released: bool
    reward: uint256
    stake_reward: uint256


MAX_SAMPLES: constant(uint256) = 16
MAX_DEPTH: constant(uint256) = 20
BOND_BPS: public(constant(uint256)) = 1_000  # of the market's least stake

OPEN: constant(uint256) = 1
CONFIRMED: constant(uint256) = 2
REJECTED: constant(uint256) = 3
MOOT: constant(uint256) = 4

U8: constant(uint256) = 2 ** 8 - 1
U16: constant(uint256) = 2 ** 16 - 1
U32: constant(uint256) = 2 ** 32 - 1
U40: constant(uint256) = 2 ** 40 - 1
U48: constant(uint256) = 2 ** 48 - 1
U64: constant(uint256) = 2 ** 64 - 1
U160: constant(uint256) = 2 ** 160 - 1


stake_token: public(immutable(address))
samples: public(immutable(uint256))

_DEPLOYER: immutable(address)

registry: public(address)
_rounds: HashMap[address, HashMap[uint256, Round]]
_accusations: HashMap[address, HashMap[uint256, HashMap[uint256, Accusation]]]  # last key: vid * 16 + sample
_endpoints: HashMap[address, HashMap[uint256, String[128]]]


@deploy
def __init__(_stake_token: address, _samples: uint256):
    """
    @notice Fixes how much is checked.
    @param _stake_token Token of stakes and bonds; has `burn(amount)`.
    @param _samples Entries of each log that are checked, 1 to 16.
    """
    assert _stake_token.is_contract, "audits: stake token is not a contract"
    assert 0 < _samples and _samples <= MAX_SAMPLES, "audits: samples out of bounds"
    stake_token = _stake_token
    samples = _samples
    _DEPLOYER = msg.sender


@external
def attach(registry: address):
    """
    @notice Names the registry whose markets are audited here. Only the deployer may, and only once.
    @param registry The registry, which names this contract to the markets it opens.
    """
    assert msg.sender == _DEPLOYER, "audits: caller is not the deployer"
    assert self.registry == empty(address), "audits: already attached"
    assert registry.is_contract, "audits: registry is not a contract"
    self.registry = registry
    log RegistrySet(registry=registry)


@external
def set_endpoint(market: address, endpoint: String[128]):
    """
    @notice Says where a validator hands out its entries to the other validators.
    @param market The market.
    @param endpoint An http address; empty for none. The caller is the validator's operator.
    """
    self._require_market(market)
    vid: uint256 = staticcall Market(market).vid_of(msg.sender)
    pool: uint256 = (staticcall Market(market).get_validator(vid)).pool
    self._endpoints[market][pool] = endpoint
    log EndpointSet(market=market, pool=pool, endpoint=endpoint)


# --- A round ---


@external
@nonreentrant
def open_round(market: address) -> uint256:
    """
    @notice Copies what the audit of the newest closed epoch needs. Anyone may; `attest` does it too.
    @dev Do it before the next reveal phase: whoever reveals again has overwritten its evidence.
    @param market The market.
    @return uint256 The epoch that is audited.
    """
    self._require_market(market)
    now: uint256 = staticcall Market(market).epoch()
    assert now > 0, "audits: no epoch was closed"
    assert self._rounds[market][now - 1].head == 0, "audits: round is already open"
    self._open(market, now - 1)
    return now - 1


@external
@nonreentrant
def attest(market: address, epoch: uint256, marks: uint256):
    """
    @notice Says whose entries were fetched, run again and found in order. Once in a round; also owed by
            whoever wants its own held rewards. Opens the round when nobody has.
    @param market The market.
    @param epoch The closed epoch.
    @param marks Bitmap of vids in order. The caller's own bit and those without evidence count for nothing.
    """
    head: uint256 = self._opened(market, epoch)
    assert self._stage(market, epoch, head) == 0, "audits: attestations are over"
    vid: uint256 = 0
    weight: uint256 = 0
    vid, weight = self._voter(market, epoch)
    masks: uint256 = self._rounds[market][epoch].masks
    assert (masks >> vid) & 1 == 0, "audits: already attested"
    kept: uint256 = marks & self._evident(head) & ~(1 << vid)
    self._rounds[market][epoch].masks = masks | (1 << vid)
    self._rounds[market][epoch].marks[vid // 4] |= kept << (64 * (vid % 4))
    log Attested(market=market, epoch=epoch, vid=vid, marks=kept)


@external
@nonreentrant
def accuse(
    market: address,
    epoch: uint256,
    vid: uint256,
    sample: uint256,
    count: uint256,
    root: bytes32,
    leaf: bytes32,
    proof: DynArray[bytes32, MAX_DEPTH],
    evidence: DynArray[bytes32, 64],
):
    """
    @notice Claims that an entry which the beacon picked does not reproduce. Takes a bond; see `bond_of`.
    @dev One accusation an accuser and round, one for each sample. The accuser is the operator of a
         seat with weight in the round.
    @param market The market.
    @param epoch The closed epoch.
    @param vid The accused.
    @param sample Which sample, below `samples`.
    @param count Entries in the accused's log.
    @param root Root of the accused's log.
    @param leaf Hash of the entry.
    @param proof From the leaf to the root.
    @param evidence All evidence of the round in order of vid, as in `RoundOpened`.
    """
    head: uint256 = self._opened(market, epoch)
    assert self._stage(market, epoch, head) == 0, "audits: accusations are over"
    assert vid < 64 and (self._evident(head) >> vid) & 1 == 1, "audits: no evidence of this validator"
    assert sample < samples, "audits: no such sample"
    index: uint256 = self._check_leaf(market, epoch, vid, sample, count, root, leaf, proof, evidence)
    self._file(market, epoch, vid, sample, index, leaf)


@external
@nonreentrant
def vote(market: address, epoch: uint256, vid: uint256, sample: uint256, guilty: bool):
    """
    @notice Says whether an accusation is right. Decides it as soon as a majority stands.
    @dev More than half of all weight says guilty: the accused is slashed, half of that and the bond go
         to the accuser. Half or more says innocent: the bond is burned. It is burned, and not paid
         to anybody who could want an accusation to fail.
    @param market The market.
    @param epoch The closed epoch.
    @param vid The accused.
    @param sample Which sample.
    @param guilty Whether the entry does not reproduce.
    """
    record: Accusation = self._accusations[market][epoch][vid * MAX_SAMPLES + sample]
    assert self._state(record.head) == OPEN, "audits: no open accusation"
    head: uint256 = self._rounds[market][epoch].head
    assert self._stage(market, epoch, head) < 2, "audits: votes are over"
    masks: uint256 = self._rounds[market][epoch].masks
    assert (masks >> (128 + vid)) & 1 == 0, "audits: already convicted"
    voter: uint256 = 0
    weight: uint256 = 0
    voter, weight = self._voter(market, epoch)
    assert voter != vid, "audits: caller is the accused"
    assert (record.tally >> (128 + voter)) & 1 == 0, "audits: already voted"
    tally: uint256 = record.tally | (1 << (128 + voter))
    tally += weight if guilty else weight << 64
    self._accusations[market][epoch][vid * MAX_SAMPLES + sample].tally = tally
    log Voted(
        market=market, epoch=epoch, vid=vid, sample=sample, voter_vid=voter, guilty=guilty
    )
    total: uint256 = self._weight(head)
    if 2 * (tally & U64) > total:
        self._convict(market, epoch, vid, sample, record)
    elif 2 * ((tally >> 64) & U64) >= total:
        self._end(market, epoch, vid, sample, record, REJECTED, 0)


@external
@nonreentrant
def resolve(market: address, epoch: uint256, vid: uint256, sample: uint256):
    """
    @notice Ends an accusation that nobody needs to vote on any more. Anyone may.
    @dev The accused was convicted of another entry: the bond comes back. The votes are over without a
         majority: rejected.
    @param market The market.
    @param epoch The closed epoch.
    @param vid The accused.
    @param sample Which sample.
    """
    record: Accusation = self._accusations[market][epoch][vid * MAX_SAMPLES + sample]
    assert self._state(record.head) == OPEN, "audits: no open accusation"
    if (self._rounds[market][epoch].masks >> (128 + vid)) & 1 == 1:
        self._end(market, epoch, vid, sample, record, MOOT, 0)
        return
    head: uint256 = self._rounds[market][epoch].head
    assert self._stage(market, epoch, head) == 2, "audits: votes are running"
    self._end(market, epoch, vid, sample, record, REJECTED, 0)


@external
@nonreentrant
def settle(market: address, epoch: uint256, vids: uint256) -> uint256:
    """
    @notice Pays held rewards out, or takes them away. Anyone may, as often as they like: each seat
            is settled once. Only when no accusation of the round is open.
    @dev Released when the seat published evidence, attested itself, was not convicted, vouched for
         nobody who was, and was found in order by more than half of the others' weight. Otherwise forfeited:
         it goes into the market's next reward. A validator without others is never released.
    @param market The market.
    @param epoch The closed epoch.
    @param vids Bitmap of the seats to settle; those without weight, or settled before, are skipped.
    @return uint256 Bitmap of the seats settled now.
    """
    head: uint256 = self._rounds[market][epoch].head
    assert head != 0, "audits: round was never opened"
    assert self._stage(market, epoch, head) > 0, "audits: round is running"
    assert (head >> 168) & U16 == 0, "audits: an accusation is open"
    masks: uint256 = self._rounds[market][epoch].masks
    pools: uint256[64] = empty(uint256[64])
    weights: uint256[64] = empty(uint256[64])
    seats: uint256 = 0
    pools, weights, seats = self._seats(market, epoch, head)
    todo: uint256 = vids & seats & ~(masks >> 192)
    if todo == 0:
        return 0
    marks: uint256[64] = self._marks(market, epoch, head)
    self._rounds[market][epoch].masks = masks | (todo << 192)
    stakes: address = staticcall Market(market).stakes()
    convicted: uint256 = (masks >> 128) & U64
    for vid: uint256 in range(64):
        if (todo >> vid) & 1 == 0:
            continue
        others: uint256 = self._weight(head) - weights[vid]
        good: bool = (
            (self._evident(head) & masks & ~convicted) >> vid
        ) & 1 == 1 and marks[vid] & convicted == 0
        good = good and 2 * self._support(vid, marks, weights) > others
        self._pay(market, epoch, stakes, pools[vid], good)
    return todo


@external
@nonreentrant
def forfeit(market: address, epoch: uint256, pool: uint256):
    """
    @notice Takes away the held rewards of a pool that no round can release: its round was never opened, or
            its seat was gone by then. Anyone may.
    @param market The market.
    @param epoch The closed epoch.
    @param pool The pool.
    """
    self._require_market(market)
    head: uint256 = self._rounds[market][epoch].head
    if head == 0:
        assert staticcall Market(market).epoch() > epoch + 1, "audits: round can still be opened"
    else:
        assert self._stage(market, epoch, head) > 0, "audits: round is running"
        pools: uint256[64] = empty(uint256[64])
        weights: uint256[64] = empty(uint256[64])
        seats: uint256 = 0
        pools, weights, seats = self._seats(market, epoch, head)
        for vid: uint256 in range(64):
            assert (seats >> vid) & 1 == 0 or pools[vid] != pool, "audits: pool is in the round"
    self._pay(market, epoch, staticcall Market(market).stakes(), pool, False)


# --- Views ---


@external
@view
def bond_of(market: address) -> uint256:
    """
    @notice What accusing takes in a market now.
    @param market The market.
    @return uint256 Stake token base units.
    """
    return self._bond(self._params(market).min_stake)


@external
@view
def endpoint_of(market: address, pool: uint256) -> String[128]:
    """
    @notice Where a validator hands out its entries.
    @param market The market.
    @param pool The validator's pool.
    @return String[128] Empty when it never said.
    """
    return self._endpoints[market][pool]


@external
@view
def get_round(market: address, epoch: uint256) -> RoundView:
    """
    @notice A round's state.
    @param market The market.
    @param epoch The closed epoch.
    @return RoundView All zero when it was never opened.
    """
    head: uint256 = self._rounds[market][epoch].head
    if head == 0:
        return empty(RoundView)
    masks: uint256 = self._rounds[market][epoch].masks
    return RoundView(
        opened_at=head & U40,
        stage=self._stage(market, epoch, head),
        beacon=self._rounds[market][epoch].beacon,
        weight=self._weight(head),
        evidence=self._evident(head),
        attested=masks & U64,
        convicted=(masks >> 128) & U64,
        settled=masks >> 192,
        accusations=(head >> 168) & U16,
    )


@external
@view
def get_seats(market: address, epoch: uint256) -> DynArray[SeatView, 64]:
    """
    @notice The seats of a round.
    @param market The market.
    @param epoch The closed epoch.
    @return DynArray[SeatView, 64] In order of vid, those with weight.
    """
    head: uint256 = self._rounds[market][epoch].head
    pools: uint256[64] = empty(uint256[64])
    weights: uint256[64] = empty(uint256[64])
    seats: uint256 = 0
    pools, weights, seats = self._seats(market, epoch, head)
    marks: uint256[64] = self._marks(market, epoch, head)
    found: DynArray[SeatView, 64] = []
    for vid: uint256 in range(64):
        if (seats >> vid) & 1 == 1:
            support: uint256 = self._support(vid, marks, weights)
            found.append(
                SeatView(
                    vid=vid,
                    pool=pools[vid],
                    weight=weights[vid],
                    marks=marks[vid],
                    support=support,
                )
            )
    return found


@external
@view
def get_accusation(market: address, epoch: uint256, vid: uint256, sample: uint256) -> AccusationView:
    """
    @notice An accusation.
    @param market The market.
    @param epoch The closed epoch.
    @param vid The accused.
    @param sample Which sample.
    @return AccusationView All zero when there is none.
    """
    record: Accusation = self._accusations[market][epoch][vid * MAX_SAMPLES + sample]
    return AccusationView(
        state=self._state(record.head),
        accuser=self._accuser(record.head),
        accuser_vid=(record.head >> 160) & U8,
        slash_bps=record.head >> 176,
        guilty=record.tally & U64,
        innocent=(record.tally >> 64) & U64,
        voters=record.tally >> 128,
        bond=record.bond,
    )


@external
@pure
def sample_index(beacon: bytes32, pool: uint256, sample: uint256, count: uint256) -> uint256:
    """
    @notice Which entry of a log a beacon picks.
    @param beacon Of the epoch.
    @param pool The validator's pool.
    @param sample Which sample.
    @param count Entries in the log, above zero.
    @return uint256 The entry's index.
    """
    return self._sample_index(beacon, pool, sample, count)


# --- Small parts ---


@internal
@view
def _require_market(market: address):
    # A stranger's contract could name the stakes of a true market as its own.
    assert self.registry != empty(address), "audits: no registry attached"
    assert staticcall Registry(self.registry).is_market(market), "audits: unknown market"


@internal
def _opened(market: address, epoch: uint256) -> uint256:
    """
    @dev The round's head; opens the round of the newest closed epoch when nobody has.
    """
    if self._rounds[market][epoch].head == 0:
        self._require_market(market)
        assert staticcall Market(market).epoch() == epoch + 1, "audits: epoch is not the last closed one"
        self._open(market, epoch)
    return self._rounds[market][epoch].head


@internal
def _open(market: address, epoch: uint256):
    # While the next epoch closes, weights are already those of that closing.
    assert not staticcall Market(market).is_closing(), "audits: epoch is closing"
    views: DynArray[ValidatorView, 64] = staticcall Market(market).get_validators()
    words: uint256[22] = empty(uint256[22])
    pools: DynArray[uint256, 64] = []
    evidence: DynArray[bytes32, 64] = []
    total: uint256 = 0
    evident: uint256 = 0
    used: uint256 = 0
    for seat: ValidatorView in views:
        if seat.weight == 0:
            continue
        words[seat.vid // 3] |= ((seat.weight << 32) | seat.pool) << (80 * (seat.vid % 3))
        used = seat.vid // 3 + 1
        total += seat.weight
        if seat.revealed_epoch == epoch + 1 and seat.evidence != empty(bytes32):
            evident |= 1 << seat.vid
            pools.append(seat.pool)
            evidence.append(seat.evidence)
    for k: uint256 in range(22):
        if words[k] != 0:
            self._rounds[market][epoch].seats[k] = words[k]
    beacon: bytes32 = staticcall Market(market).beacon(epoch)
    self._rounds[market][epoch].head = (
        block.timestamp | (total << 40) | (evident << 104) | (used << 184)
    )
    self._rounds[market][epoch].beacon = beacon
    self._rounds[market][epoch].evidence = keccak256(abi_encode(evidence))
    log RoundOpened(
        market=market, epoch=epoch, beacon=beacon, weight=total, pools=pools, evidence=evidence
    )


@internal
@view
def _stage(market: address, epoch: uint256, head: uint256) -> uint256:
    """
    @dev Only for a round that was opened, so the market's epoch is beyond `epoch`.
    """
    stage: uint256 = min(staticcall Market(market).epoch() - epoch - 1, 2)
    if stage < 2 and staticcall Market(market).is_wound_down():
        params: market_params.MarketParams = self._params(market)
        passed: uint256 = (block.timestamp - (head & U40)) // (
            params.commit_seconds + params.reveal_seconds
        )
        stage = max(stage, min(passed, 2))
    return stage


@internal
@view
def _params(market: address) -> market_params.MarketParams:
    return staticcall Rules(staticcall Market(market).rules()).params()


@internal
@view
def _voter(market: address, epoch: uint256) -> (uint256, uint256):
    """
    @dev (vid, weight) of the caller. A seat that changed hands since the closing has no voice.
    """
    vid: uint256 = staticcall Market(market).vid_of(msg.sender)
    seat: uint256 = self._rounds[market][epoch].seats[vid // 3] >> (80 * (vid % 3))
    weight: uint256 = (seat >> 32) & U48
    assert weight != 0, "audits: caller has no weight in this round"
    view: ValidatorView = staticcall Market(market).get_validator(vid)
    assert view.pool == seat & U32, "audits: seat changed hands"
    return vid, weight


@internal
@view
def _check_leaf(
    market: address,
    epoch: uint256,
    vid: uint256,
    sample: uint256,
    count: uint256,
    root: bytes32,
    leaf: bytes32,
    proof: DynArray[bytes32, MAX_DEPTH],
    evidence: DynArray[bytes32, 64],
) -> uint256:
    """
    @dev The index of the entry, which is the one that the beacon picks from the accused's log.
    """
    evident: uint256 = self._evident(self._rounds[market][epoch].head)
    place: uint256 = 0
    for other: uint256 in range(64):
        if other == vid:
            break
        place += (evident >> other) & 1
    assert (
        keccak256(abi_encode(evidence)) == self._rounds[market][epoch].evidence
    ), "audits: not the round's evidence"
    assert keccak256(abi_encode(count, root)) == evidence[place], "audits: not the validator's log"
    assert count > 0, "audits: log is empty"
    pool: uint256 = (self._rounds[market][epoch].seats[vid // 3] >> (80 * (vid % 3))) & U32
    index: uint256 = self._sample_index(self._rounds[market][epoch].beacon, pool, sample, count)
    assert self._climb(leaf, index, count, proof) == root, "audits: entry is not in the log"
    return index


@internal
@pure
def _climb(
    leaf: bytes32, index: uint256, count: uint256, proof: DynArray[bytes32, MAX_DEPTH]
) -> bytes32:
    """
    @dev A level's last node moves up alone when their number is odd. All of the proof must be used.
    """
    node: bytes32 = leaf
    place: uint256 = index
    width: uint256 = count
    used: uint256 = 0
    for level: uint256 in range(MAX_DEPTH):
        if width == 1:
            break
        if place % 2 == 1:
            assert used < len(proof), "audits: proof has another length"
            node = keccak256(concat(proof[used], node))
            used += 1
        elif place + 1 < width:
            assert used < len(proof), "audits: proof has another length"
            node = keccak256(concat(node, proof[used]))
            used += 1
        place = place // 2
        width = (width + 1) // 2
    assert width == 1, "audits: log is too long"
    assert used == len(proof), "audits: proof has another length"
    return node


@internal
def _file(
    market: address, epoch: uint256, vid: uint256, sample: uint256, index: uint256, leaf: bytes32
):
    accuser: uint256 = 0
    weight: uint256 = 0
    accuser, weight = self._voter(market, epoch)
    assert accuser != vid, "audits: caller is the accused"
    head: uint256 = self._rounds[market][epoch].head
    masks: uint256 = self._rounds[market][epoch].masks
    assert (masks >> (64 + accuser)) & 1 == 0, "audits: one accusation a round"
    assert (masks >> (128 + vid)) & 1 == 0, "audits: already convicted"
    key: uint256 = vid * MAX_SAMPLES + sample
    assert self._accusations[market][epoch][key].head == 0, "audits: already accused"
    accused: uint256 = (
        self._rounds[market][epoch].seats[vid // 3] >> (80 * (vid % 3) + 32)
    ) & U48
    # It could only lose its bond.
    assert 2 * accused < self._weight(head), "audits: accused holds half of the weight"
    params: market_params.MarketParams = self._params(market)
    bond: uint256 = self._bond(params.min_stake)
    self._rounds[market][epoch].masks = masks | (1 << (64 + accuser))
    self._rounds[market][epoch].head = head + (1 << 168)
    self._accusations[market][epoch][key] = Accusation(
        head=convert(msg.sender, uint256)
        | (accuser << 160)
        | (OPEN << 168)
        | (params.slash_bps << 176),
        tally=weight | (accused << 64) | (1 << (128 + accuser)),
        bond=bond,
    )
    log Accused(
        market=market,
        epoch=epoch,
        vid=vid,
        sample=sample,
        index=index,
        leaf=leaf,
        accuser=msg.sender,
        bond=bond,
    )
    assert extcall IERC20(stake_token).transferFrom(
        msg.sender, self, bond, default_return_value=True
    ), "audits: token transfer failed"


@internal
def _convict(market: address, epoch: uint256, vid: uint256, sample: uint256, record: Accusation):
    self._rounds[market][epoch].masks |= 1 << (128 + vid)
    pool: uint256 = (self._rounds[market][epoch].seats[vid // 3] >> (80 * (vid % 3))) & U32
    bps: uint256 = record.head >> 176
    slashed: uint256 = 0
    if bps != 0:
        stakes: address = staticcall Market(market).stakes()
        slashed = extcall Stakes(stakes).slash(pool, bps, self._accuser(record.head))
    self._end(market, epoch, vid, sample, record, CONFIRMED, slashed)


@internal
def _end(
    market: address,
    epoch: uint256,
    vid: uint256,
    sample: uint256,
    record: Accusation,
    state: uint256,
    slashed: uint256,
):
    self._rounds[market][epoch].head -= 1 << 168
    self._accusations[market][epoch][vid * MAX_SAMPLES + sample].head = (
        record.head - (OPEN << 168) + (state << 168)
    )
    accuser: address = self._accuser(record.head)
    log Judged(
        market=market,
        epoch=epoch,
        vid=vid,
        sample=sample,
        state=state,
        accuser=accuser,
        slashed=slashed,
        bond=record.bond,
    )
    if state == REJECTED:
        extcall Burnable(stake_token).burn(record.bond)
    else:
        assert extcall IERC20(stake_token).transfer(
            accuser, record.bond, default_return_value=True
        ), "audits: token transfer failed"


@internal
def _pay(market: address, epoch: uint256, stakes: address, pool: uint256, good: bool):
    reward: uint256 = 0
    stake_reward: uint256 = 0
    reward, stake_reward = staticcall Stakes(stakes).get_held(pool, epoch)
    if reward != 0 or stake_reward != 0:
        if good:
            extcall Stakes(stakes).release(pool, epoch)
        else:
            extcall Stakes(stakes).forfeit(pool, epoch)
    log Settled(
        market=market,
        epoch=epoch,
        pool=pool,
        released=good,
        reward=reward,
        stake_reward=stake_reward,
    )


@internal
@view
def _seats(
    market: address, epoch: uint256, head: uint256
) -> (uint256[64], uint256[64], uint256):
    """
    @dev (pool by vid, weight by vid, bitmap of those with weight).
    """
    pools: uint256[64] = empty(uint256[64])
    weights: uint256[64] = empty(uint256[64])
    seats: uint256 = 0
    for k: uint256 in range((head >> 184) & U8, bound=22):
        word: uint256 = self._rounds[market][epoch].seats[k]
        for lane: uint256 in range(3):
            vid: uint256 = 3 * k + lane
            weight: uint256 = (word >> 32) & U48
            if weight != 0:
                pools[vid] = word & U32
                weights[vid] = weight
                seats |= 1 << vid
            word = word >> 80
    return pools, weights, seats


@internal
@view
def _marks(market: address, epoch: uint256, head: uint256) -> uint256[64]:
    marks: uint256[64] = empty(uint256[64])
    words: uint256 = (3 * ((head >> 184) & U8) + 3) // 4
    for k: uint256 in range(min(words, 16), bound=16):
        word: uint256 = self._rounds[market][epoch].marks[k]
        for lane: uint256 in range(4):
            marks[4 * k + lane] = word & U64
            word = word >> 64
    return marks


@internal
@pure
def _support(vid: uint256, marks: uint256[64], weights: uint256[64]) -> uint256:
    """
    @dev Nobody's marks hold its own bit, so these are the others.
    """
    support: uint256 = 0
    for other: uint256 in range(64):
        if (marks[other] >> vid) & 1 == 1:
            support += weights[other]
    return support


@internal
@pure
def _sample_index(beacon: bytes32, pool: uint256, sample: uint256, count: uint256) -> uint256:
    return convert(keccak256(abi_encode(beacon, pool, sample)), uint256) % count


@internal
@pure
def _bond(min_stake: uint256) -> uint256:
    return min_stake * BOND_BPS // 10_000


@internal
@pure
def _weight(head: uint256) -> uint256:
    return (head >> 40) & U64


@internal
@pure
def _evident(head: uint256) -> uint256:
    return (head >> 104) & U64


@internal
@pure
def _state(head: uint256) -> uint256:
    return (head >> 168) & U8


@internal
@pure
def _accuser(head: uint256) -> address:
    return convert(head & U160, address)
