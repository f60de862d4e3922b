# pragma version ==0.4.3
"""
@title Tercet held jobs
@license Apache-2.0
@author Tercet contributors
@notice A price is held while the work is done, and paid when the buyer agrees, when it stays silent,
        or when the validators of a market say so.
@dev Every state has a deadline after which anyone can move the job on, so each one ends:
       funded     until deliver_by          then back to the buyer
       delivered  for review_seconds        then to the worker
       disputed   for dispute_seconds       then by the verdicts, or half to each without a quorum
     The buyer alone can only pay everything; less than that takes the worker's consent.
     Money that a token refuses to move is kept for its owner and holds up nobody else's.
     What the contract holds of a token is the sum of its open jobs' amounts and bonds, and of
     what is owed in it.
@custom:kill There is no owner and no switch. Jobs end by their own deadlines.
"""
from ethereum.ercs import IERC20
import eip712
import fee_notice

initializes: eip712

exports: (eip712.DOMAIN_SEPARATOR, eip712.eip712Domain)


interface IEscrow:
    def fee_bps() -> uint256: view
    def fee_sink() -> address: view


interface IRegistry:
    def is_market(market: address) -> bool: view


interface IMarket:
    def vid_of(operator: address) -> uint256: view
    def weight_of(vid: uint256) -> uint256: view
    def closing_weight() -> uint256: view


struct Job:
    buyer: address  # whose money; gets back what is not paid
    worker: address  # gets what is paid
    market: address  # whose validators judge a dispute, and which the fee counts for
    token: address
    amount: uint128  # token base units
    work_hash: bytes32  # of what was agreed on
    deliver_by: uint40  # Unix seconds: the last one to deliver in
    review_seconds: uint40  # after delivery, for the buyer to dispute
    dispute_seconds: uint40  # after a dispute, for validators to judge
    salt: bytes32  # to have several equal jobs


struct JobRecord:
    state: uint8  # 0 none, 1 funded, 2 delivered, 3 disputed, 4 ended
    deadline: uint40  # Unix seconds: the last one of this state
    verdicts: uint8  # how many there are
    offered: bool
    offer: uint128  # what the buyer offers to end it at; means nothing unless offered
    bond: uint128  # of the dispute
    result_hash: bytes32
    voted: uint256  # weight of all verdicts
    electorate: uint256  # the largest weight of all voters since the dispute began


struct Verdict:
    vid: uint256
    weight: uint256
    bps: uint256  # the part of the amount that the worker deserves, ten-thousandths


event JobFunded:
    job: indexed(bytes32)
    buyer: indexed(address)
    worker: indexed(address)
    terms: Job


event JobDelivered:
    job: indexed(bytes32)
    buyer: indexed(address)
    worker: indexed(address)
    result_hash: bytes32
    review_until: uint256


event ReleaseOffered:
    job: indexed(bytes32)
    buyer: indexed(address)
    worker: indexed(address)
    amount: uint256


event JobDisputed:
    job: indexed(bytes32)
    buyer: indexed(address)
    worker: indexed(address)
    bond: uint256
    vote_until: uint256


event VerdictGiven:
    job: indexed(bytes32)
    operator: indexed(address)
    vid: indexed(uint256)
    weight: uint256
    bps: uint256


event JobEnded:
    job: indexed(bytes32)
    buyer: indexed(address)
    worker: indexed(address)
    cause: uint256  # 1 released, 2 agreed, 3 silence, 4 refunded, 5 verdict, 6 no quorum
    paid: uint256  # of the amount, for the worker; the fee included
    fee: uint256
    returned: uint256  # of the amount, to the buyer
    bond_lost: uint256  # of the bond, to the worker
    bond_returned: uint256  # of the bond, to the buyer


event PaymentKept:
    token: indexed(address)
    owner: indexed(address)
    amount: uint256


event Withdrawn:
    token: indexed(address)
    owner: indexed(address)
    amount: uint256


JOB_TYPE: constant(bytes32) = keccak256(
    "Job(address buyer,address worker,address market,address token,uint128 amount,bytes32 work_hash,uint40 deliver_by,uint40 review_seconds,uint40 dispute_seconds,bytes32 salt)"
)
UNKNOWN: constant(uint8) = 0
FUNDED: constant(uint8) = 1
DELIVERED: constant(uint8) = 2
DISPUTED: constant(uint8) = 3
ENDED: constant(uint8) = 4
RELEASED: constant(uint256) = 1
AGREED: constant(uint256) = 2
SILENCE: constant(uint256) = 3
REFUNDED: constant(uint256) = 4
JUDGED: constant(uint256) = 5
NO_QUORUM: constant(uint256) = 6
FULL: constant(uint256) = 10_000
BOND_BPS: public(constant(uint256)) = 1_000
MAX_VERDICTS: constant(uint256) = 64
MAX_PERIOD: constant(uint256) = 30 * 24 * 3_600
MAX_WORK: constant(uint256) = 365 * 24 * 3_600
# A verdict is one word: vid << 144 | weight << 16 | bps.
_WEIGHT_MASK: constant(uint256) = 2**128 - 1
_BPS_MASK: constant(uint256) = 2**16 - 1


escrow: public(immutable(address))
registry: public(immutable(address))
MIN_SECONDS: public(immutable(uint40))

owed: public(HashMap[address, HashMap[address, uint256]])
_jobs: HashMap[bytes32, JobRecord]
_verdicts: HashMap[bytes32, DynArray[uint256, MAX_VERDICTS]]
_has_voted: HashMap[bytes32, HashMap[uint256, bool]]


@deploy
def __init__(_escrow: address, _registry: address, min_seconds: uint40):
    """
    @notice Fixes where the fee's rate and sink are read, and which markets can judge.
    @param _escrow The deployment's Escrow.
    @param _registry The deployment's Registry.
    @param min_seconds Shortest review and shortest dispute; 60 or more where money is real.
    """
    assert _escrow.is_contract and _registry.is_contract, "jobs: escrow or registry is not a contract"
    assert convert(min_seconds, uint256) <= MAX_PERIOD, "jobs: period out of bounds"
    escrow = _escrow
    registry = _registry
    MIN_SECONDS = min_seconds
    eip712.__init__("Tercet Jobs", "1")


# --- Work ---


@external
@nonreentrant
def fund(job: Job) -> bytes32:
    """
    @notice Puts the price aside, for the worker to see. The buyer calls it, and has approved the amount.
    @param job The terms.
    @return bytes32 The job's id: the EIP-712 digest of its terms.
    """
    id: bytes32 = self._id(job)
    assert self._jobs[id].state == UNKNOWN, "jobs: already funded"
    assert msg.sender == job.buyer, "jobs: caller is not the buyer"
    assert job.worker != empty(address), "jobs: worker is the zero address"
    assert job.amount != 0, "jobs: amount is zero"
    assert job.token.is_contract, "jobs: token is not a contract"
    by: uint256 = convert(job.deliver_by, uint256)
    assert (
        block.timestamp <= by and by <= block.timestamp + MAX_WORK
    ), "jobs: deliver_by out of bounds"
    self._require_period(job.review_seconds)
    self._require_period(job.dispute_seconds)
    assert staticcall IRegistry(registry).is_market(job.market), "jobs: unknown market"
    self._jobs[id].state = FUNDED
    self._jobs[id].deadline = job.deliver_by
    log JobFunded(job=id, buyer=job.buyer, worker=job.worker, terms=job)
    self._pull(job.token, convert(job.amount, uint256))
    return id


@external
@nonreentrant
def deliver(job: Job, result_hash: bytes32):
    """
    @notice Says that the work is done; the buyer's review begins. The worker calls it.
    @param job The terms.
    @param result_hash Hash of what was handed over.
    """
    id: bytes32 = self._id(job)
    assert msg.sender == job.worker, "jobs: caller is not the worker"
    self._require_state(id, FUNDED)
    self._require_in_time(id)
    until: uint256 = block.timestamp + convert(job.review_seconds, uint256)
    self._jobs[id].state = DELIVERED
    self._jobs[id].deadline = convert(until, uint40)
    self._jobs[id].result_hash = result_hash
    log JobDelivered(
        job=id, buyer=job.buyer, worker=job.worker, result_hash=result_hash, review_until=until
    )


# --- Ends that both sides can live with ---


@external
@nonreentrant
def release(job: Job, amount: uint256):
    """
    @notice Pays the worker. The buyer calls it. Everything is paid at once; less is an offer, which the
            worker accepts or not, and which a later call replaces.
    @dev Paying everything during a dispute admits that it was without reason: the bond goes to the worker.
    @param job The terms.
    @param amount Token base units, at most the job's amount.
    """
    id: bytes32 = self._id(job)
    assert msg.sender == job.buyer, "jobs: caller is not the buyer"
    self._require_running(id)
    whole: uint256 = convert(job.amount, uint256)
    assert amount <= whole, "jobs: more than the amount"
    if amount == whole:
        self._end(id, job, RELEASED, whole, convert(self._jobs[id].bond, uint256))
    else:
        self._jobs[id].offered = True
        self._jobs[id].offer = convert(amount, uint128)
        log ReleaseOffered(job=id, buyer=job.buyer, worker=job.worker, amount=amount)


@external
@nonreentrant
def accept(job: Job, amount: uint256):
    """
    @notice Ends the job at the part that the buyer offers; the rest and any bond go back. The worker calls it.
    @param job The terms.
    @param amount The offer as the worker has seen it.
    """
    id: bytes32 = self._id(job)
    assert msg.sender == job.worker, "jobs: caller is not the worker"
    self._require_running(id)
    record: JobRecord = self._jobs[id]
    assert record.offered and convert(record.offer, uint256) == amount, "jobs: no such offer"
    self._end(id, job, AGREED, amount, 0)


@external
@nonreentrant
def claim(job: Job):
    """
    @notice Pays the worker everything, after the buyer let the review pass in silence. Anyone may.
    @param job The terms.
    """
    id: bytes32 = self._id(job)
    self._require_state(id, DELIVERED)
    self._require_over(id)
    self._end(id, job, SILENCE, convert(job.amount, uint256), 0)


@external
@nonreentrant
def refund(job: Job):
    """
    @notice Returns everything to the buyer: after the deadline when nothing was delivered, by anyone;
            or at any time by the worker, who gives the job back.
    @param job The terms.
    """
    id: bytes32 = self._id(job)
    if msg.sender == job.worker:
        self._require_running(id)
    else:
        self._require_state(id, FUNDED)
        self._require_over(id)
    self._end(id, job, REFUNDED, 0, 0)


# --- Disputes ---


@external
@nonreentrant
def dispute(job: Job):
    """
    @notice Asks the market's validators, against a bond of a tenth of the amount. The buyer calls it during
            the review, and has approved the bond.
    @param job The terms.
    """
    id: bytes32 = self._id(job)
    assert msg.sender == job.buyer, "jobs: caller is not the buyer"
    self._require_state(id, DELIVERED)
    self._require_in_time(id)
    bond: uint256 = self._bond_of(convert(job.amount, uint256))
    until: uint256 = block.timestamp + convert(job.dispute_seconds, uint256)
    self._jobs[id].state = DISPUTED
    self._jobs[id].deadline = convert(until, uint40)
    self._jobs[id].bond = convert(bond, uint128)
    self._jobs[id].electorate = staticcall IMarket(job.market).closing_weight()
    log JobDisputed(job=id, buyer=job.buyer, worker=job.worker, bond=bond, vote_until=until)
    self._pull(job.token, bond)


@external
@nonreentrant
def vote(job: Job, bps: uint256):
    """
    @notice A validator's verdict, by its operator: once, with the weight of the market's newest closed epoch.
    @param job The terms.
    @param bps The part of the amount that the worker deserves, 0 to 10,000.
    """
    id: bytes32 = self._id(job)
    self._require_state(id, DISPUTED)
    self._require_in_time(id)
    assert bps <= FULL, "jobs: verdict out of bounds"
    vid: uint256 = staticcall IMarket(job.market).vid_of(msg.sender)
    weight: uint256 = staticcall IMarket(job.market).weight_of(vid)
    assert 0 < weight and weight <= _WEIGHT_MASK, "jobs: no weight in the market"
    assert not self._has_voted[id][vid], "jobs: already voted"
    assert len(self._verdicts[id]) < MAX_VERDICTS, "jobs: too many verdicts"
    self._has_voted[id][vid] = True
    self._verdicts[id].append((vid << 144) | (weight << 16) | bps)
    self._jobs[id].verdicts += 1
    self._jobs[id].voted += weight
    # Weights change from epoch to epoch. Half of the largest electorate is half of any of them.
    self._jobs[id].electorate = max(
        self._jobs[id].electorate, staticcall IMarket(job.market).closing_weight()
    )
    log VerdictGiven(job=id, operator=msg.sender, vid=vid, weight=weight, bps=bps)


@external
@nonreentrant
def settle(job: Job):
    """
    @notice Ends a dispute when its time is over: at the stake-weighted median of the verdicts if more than
            half of the weight has voted, half to each otherwise. Anyone may.
    @dev A verdict v pays the worker v of the amount, rounded down, and v of the bond, rounded down: the
         buyer loses the bond as far as it was wrong. Without a quorum the bond goes back.
    @param job The terms.
    """
    id: bytes32 = self._id(job)
    self._require_state(id, DISPUTED)
    self._require_over(id)
    record: JobRecord = self._jobs[id]
    amount: uint256 = convert(job.amount, uint256)
    if record.voted * 2 > record.electorate:
        verdict: uint256 = self._median(id, record.voted)
        bond: uint256 = convert(record.bond, uint256)
        self._end(id, job, JUDGED, amount * verdict // FULL, bond * verdict // FULL)
    else:
        self._end(id, job, NO_QUORUM, amount // 2, 0)


@external
@nonreentrant
def withdraw(token: address, owner: address) -> uint256:
    """
    @notice Sends what a token once refused to move to its owner. Anyone may.
    @param token The token.
    @param owner Whose money.
    @return uint256 Token base units.
    """
    amount: uint256 = self.owed[token][owner]
    assert amount != 0, "jobs: nothing to withdraw"
    self.owed[token][owner] = 0
    log Withdrawn(token=token, owner=owner, amount=amount)
    assert extcall IERC20(token).transfer(
        owner, amount, default_return_value=True
    ), "jobs: token transfer failed"
    return amount


# --- Views ---


@external
@view
def job_id(job: Job) -> bytes32:
    """
    @notice A job's id: the EIP-712 digest of its terms in this contract's domain.
    @param job The terms.
    @return bytes32 The id.
    """
    return self._id(job)


@external
@view
def get_job(id: bytes32) -> JobRecord:
    """
    @notice Where a job stands.
    @param id The job's id.
    @return JobRecord All zero when it was never funded.
    """
    return self._jobs[id]


@external
@view
def get_verdicts(id: bytes32) -> DynArray[Verdict, MAX_VERDICTS]:
    """
    @notice The verdicts on a disputed job, in order.
    @param id The job's id.
    @return DynArray[Verdict, 64] Who said what, with which weight.
    """
    found: DynArray[Verdict, MAX_VERDICTS] = []
    for word: uint256 in self._verdicts[id]:
        found.append(
            Verdict(vid=word >> 144, weight=(word >> 16) & _WEIGHT_MASK, bps=word & _BPS_MASK)
        )
    return found


@external
@view
def bond_of(amount: uint256) -> uint256:
    """
    @notice What a dispute takes: a tenth of the amount, rounded up.
    @param amount Of the job, token base units.
    @return uint256 Token base units.
    """
    return self._bond_of(amount)


# --- Small parts ---


@internal
@view
def _id(job: Job) -> bytes32:
    return eip712._digest(keccak256(abi_encode(JOB_TYPE, job)))


@internal
@pure
def _bond_of(amount: uint256) -> uint256:
    return (amount * BOND_BPS + FULL - 1) // FULL


@internal
@view
def _require_period(seconds: uint40):
    assert (
        MIN_SECONDS <= seconds and convert(seconds, uint256) <= MAX_PERIOD
    ), "jobs: period out of bounds"


@internal
@view
def _require_state(id: bytes32, state: uint8):
    assert self._jobs[id].state == state, "jobs: not in this state"


@internal
@view
def _require_running(id: bytes32):
    state: uint8 = self._jobs[id].state
    assert state != UNKNOWN and state != ENDED, "jobs: not in this state"


@internal
@view
def _require_in_time(id: bytes32):
    assert block.timestamp <= convert(self._jobs[id].deadline, uint256), "jobs: too late"


@internal
@view
def _require_over(id: bytes32):
    assert block.timestamp > convert(self._jobs[id].deadline, uint256), "jobs: too early"


@internal
@view
def _median(id: bytes32, voted: uint256) -> uint256:
    """
    @notice The lower weighted median: the smallest verdict that at least half of the weight does not exceed.
    @dev By halving 0..10,000 in 14 steps: that is cheaper than sorting, and ends at one of the verdicts.
    """
    words: DynArray[uint256, MAX_VERDICTS] = self._verdicts[id]
    low: uint256 = 0
    high: uint256 = FULL
    for step: uint256 in range(14):
        if low == high:
            break
        middle: uint256 = (low + high) // 2
        below: uint256 = 0
        for word: uint256 in words:
            if word & _BPS_MASK <= middle:
                below += (word >> 16) & _WEIGHT_MASK
        if below * 2 >= voted:
            high = middle
        else:
            low = middle + 1
    return low


@internal
def _end(id: bytes32, job: Job, cause: uint256, paid: uint256, bond_lost: uint256):
    """
    @dev The fee is of what the worker is paid, rounded down; a lost bond is no income and pays none.
    """
    bond_returned: uint256 = convert(self._jobs[id].bond, uint256) - bond_lost
    returned: uint256 = convert(job.amount, uint256) - paid
    fee: uint256 = paid * staticcall IEscrow(escrow).fee_bps() // FULL
    self._jobs[id].state = ENDED
    self._jobs[id].deadline = convert(block.timestamp, uint40)
    log JobEnded(
        job=id,
        buyer=job.buyer,
        worker=job.worker,
        cause=cause,
        paid=paid,
        fee=fee,
        returned=returned,
        bond_lost=bond_lost,
        bond_returned=bond_returned,
    )
    self._push(job.token, job.worker, paid - fee + bond_lost)
    self._push(job.token, job.buyer, returned + bond_returned)
    if fee != 0:
        sink: address = staticcall IEscrow(escrow).fee_sink()
        if self._push(job.token, sink, fee):
            fee_notice._tell(sink, job.token, job.market, fee)


@internal
def _pull(token: address, amount: uint256):
    """
    @dev Tokens that keep a fee on transfers would let one job eat another's price.
    """
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        msg.sender, self, amount, default_return_value=True
    ), "jobs: token transfer failed"
    assert (
        staticcall IERC20(token).balanceOf(self) - before == amount
    ), "jobs: token took a fee"


@internal
def _push(token: address, owner: address, amount: uint256) -> bool:
    """
    @dev A token may refuse an address; that must not hold up the other side's money.
    @return bool Whether it was sent; else it is kept for `withdraw`.
    """
    if amount == 0:
        return True
    success: bool = False
    answer: Bytes[32] = b""
    success, answer = raw_call(
        token,
        abi_encode(owner, amount, method_id=method_id("transfer(address,uint256)")),
        max_outsize=32,
        revert_on_failure=False,
    )
    if success and (len(answer) == 0 or (len(answer) == 32 and convert(answer, uint256) == 1)):
        return True
    self.owed[token][owner] += amount
    log PaymentKept(token=token, owner=owner, amount=amount)
    return False
