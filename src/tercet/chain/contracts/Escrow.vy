# pragma version ==0.4.3
"""
@title Tercet escrow
@license Apache-2.0
@author Tercet contributors
@notice Payment channels: one deposit, and signed cumulative vouchers that the receiver redeems.
@dev Shapes are those of x402's "batch-settlement" scheme: `ChannelConfig`, its EIP-712 hash as
     the channel's id, `Voucher(channelId, maxClaimableAmount)`, the domain's name and version,
     and the view functions with camelCase names. Here a redemption pays at once, a closed
     channel stays closed (so an old voucher can never bite a later deposit), and authorized
     deposits name this contract as receiver. The authorizer may be a smart account (EIP-1271).
     What the contract holds of a token is the sum of balance - totalClaimed over its channels.
     Of every redemption a small fee goes to the network; see network_fee.vy for its bounds.
@custom:kill There is no switch, and the fee's owner touches no deposit. A payer gets an unused deposit
             back after the channel's own notice, or at once when the receiver releases it.
"""
from ethereum.ercs import IERC20
import eip712
import eip1271
import fee_notice
import network_fee

initializes: eip712
initializes: network_fee

exports: (
    eip712.DOMAIN_SEPARATOR,
    eip712.eip712Domain,
    network_fee.MAX_FEE_BPS,
    network_fee.FEE_DELAY,
    network_fee.fee_sink,
    network_fee.fee_bps,
    network_fee.fee_owner,
    network_fee.pending_fee_owner,
    network_fee.proposed_fee,
    network_fee.market_of,
    network_fee.declare_market,
    network_fee.propose_fee,
    network_fee.cancel_fee,
    network_fee.apply_fee,
    network_fee.transfer_fee_ownership,
    network_fee.accept_fee_ownership,
)


struct ChannelConfig:
    payer: address  # whose money; gets back what is left
    payerAuthorizer: address  # signs vouchers
    receiver: address  # gets what is redeemed
    receiverAuthorizer: address  # may redeem and release beside the receiver; zero: nobody
    token: address
    withdrawDelay: uint40  # seconds of notice before the payer can take the rest
    salt: bytes32  # to have several channels between the same two


struct Channel:
    balance: uint128  # all deposits; less what was taken back at the end
    totalClaimed: uint128  # paid to the receiver so far
    withdrawableAt: uint40  # Unix seconds; 0 while no close was requested
    closed: bool


struct Claim:
    config: ChannelConfig
    total_claimed: uint128
    max_claimable: uint128
    signature: Bytes[eip1271.MAX_SIGNATURE]


interface IEIP3009:
    def receiveWithAuthorization(
        owner: address,
        receiver: address,
        amount: uint256,
        valid_after: uint256,
        valid_before: uint256,
        nonce: bytes32,
        v: uint8,
        r: bytes32,
        s: bytes32,
    ): nonpayable


interface ISignedTransfers:
    def receiveWithSignature(
        owner: address,
        receiver: address,
        amount: uint256,
        valid_after: uint256,
        valid_before: uint256,
        nonce: bytes32,
        signature: Bytes[1_024],
    ): nonpayable


event ChannelOpened:
    channel: indexed(bytes32)
    payer: indexed(address)
    receiver: indexed(address)
    config: ChannelConfig
    amount: uint256


event ToppedUp:
    channel: indexed(bytes32)
    payer: indexed(address)
    receiver: indexed(address)
    amount: uint256
    balance: uint256


event Redeemed:
    channel: indexed(bytes32)
    payer: indexed(address)
    receiver: indexed(address)
    amount: uint256  # taken from the channel now, the fee included
    total_claimed: uint256
    fee: uint256
    market: address  # that the receiver has declared; zero: none


event CloseRequested:
    channel: indexed(bytes32)
    payer: indexed(address)
    receiver: indexed(address)
    withdrawable_at: uint256


event ChannelClosed:
    channel: indexed(bytes32)
    payer: indexed(address)
    receiver: indexed(address)
    returned: uint256


CONFIG_TYPE: constant(bytes32) = keccak256(
    "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
)
VOUCHER_TYPE: constant(bytes32) = keccak256(
    "Voucher(bytes32 channelId,uint128 maxClaimableAmount)"
)
MAX_WITHDRAW_DELAY: public(constant(uint40)) = 30 * 24 * 3_600
MAX_CLAIMS: constant(uint256) = 32


MIN_WITHDRAW_DELAY: public(immutable(uint40))

_channels: HashMap[bytes32, Channel]


@deploy
def __init__(min_withdraw_delay: uint40, fee_bps: uint256, sink: address, fee_owner: address):
    """
    @notice Fixes the shortest notice a channel may have, and where fees go.
    @param min_withdraw_delay Seconds; 60 or more where money is real, less on a development chain.
    @param fee_bps The first fee on redemptions, in ten-thousandths; at most 500.
    @param sink Who gets the fees, for ever.
    @param fee_owner Who may announce another fee.
    """
    assert min_withdraw_delay <= MAX_WITHDRAW_DELAY, "escrow: withdraw delay out of bounds"
    MIN_WITHDRAW_DELAY = min_withdraw_delay
    eip712.__init__("x402 Batch Settlement", "1")
    network_fee.__init__(fee_bps, sink, fee_owner)


# --- Money in ---


@external
@nonreentrant
def open(config: ChannelConfig, amount: uint128) -> bytes32:
    """
    @notice Opens a channel with a deposit that the caller has approved. Anyone may pay it in.
    @param config The channel's identity.
    @param amount Token base units, above zero.
    @return bytes32 The channel's id.
    """
    channel: bytes32 = self._open(config, amount)
    self._pull(config.token, amount)
    return channel


@external
@nonreentrant
def open_with_authorization(
    config: ChannelConfig,
    amount: uint128,
    valid_after: uint256,
    valid_before: uint256,
    salt: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
) -> bytes32:
    """
    @notice Opens a channel with a deposit that the payer has authorized (EIP-3009). Anyone may submit.
    @dev The authorization is ReceiveWithAuthorization(payer, this contract, amount, validAfter,
         validBefore, nonce) with nonce = keccak256(abi.encode(channel id, salt)), so it fits one channel only.
    @param config The channel's identity.
    @param amount Token base units, above zero.
    @param valid_after The authorization counts strictly after this second (Unix time).
    @param valid_before The authorization counts strictly before this second.
    @param salt Makes the nonce unique.
    @param v Recovery byte of the payer's signature.
    @param r First half of the signature.
    @param s Second half of the signature.
    @return bytes32 The channel's id.
    """
    channel: bytes32 = self._open(config, amount)
    self._pull_authorized(config, channel, amount, valid_after, valid_before, salt, v, r, s)
    return channel


@external
@nonreentrant
def open_with_signature(
    config: ChannelConfig,
    amount: uint128,
    valid_after: uint256,
    valid_before: uint256,
    salt: bytes32,
    signature: Bytes[eip1271.MAX_SIGNATURE],
) -> bytes32:
    """
    @notice Opens a channel with a deposit that the payer, key or smart account, has authorized.
    @param config The channel's identity.
    @param amount Token base units, above zero.
    @param valid_after The authorization counts strictly after this second (Unix time).
    @param valid_before The authorization counts strictly before this second.
    @param salt Makes the nonce unique; see `open_with_authorization`.
    @param signature The payer's signature.
    @return bytes32 The channel's id.
    """
    channel: bytes32 = self._open(config, amount)
    self._pull_signed(config, channel, amount, valid_after, valid_before, salt, signature)
    return channel


@external
@nonreentrant
def top_up(config: ChannelConfig, amount: uint128):
    """
    @notice Adds to an open channel's deposit; the caller has approved it. Anyone may pay it in.
    @param config The channel's identity.
    @param amount Token base units, above zero.
    """
    self._top_up(config, amount)
    self._pull(config.token, amount)


@external
@nonreentrant
def top_up_with_authorization(
    config: ChannelConfig,
    amount: uint128,
    valid_after: uint256,
    valid_before: uint256,
    salt: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice Adds to an open channel's deposit as the payer has authorized (EIP-3009). Anyone may submit.
    @param config The channel's identity.
    @param amount Token base units, above zero.
    @param valid_after The authorization counts strictly after this second (Unix time).
    @param valid_before The authorization counts strictly before this second.
    @param salt Makes the nonce unique; see `open_with_authorization`.
    @param v Recovery byte of the payer's signature.
    @param r First half of the signature.
    @param s Second half of the signature.
    """
    channel: bytes32 = self._top_up(config, amount)
    self._pull_authorized(config, channel, amount, valid_after, valid_before, salt, v, r, s)


@external
@nonreentrant
def top_up_with_signature(
    config: ChannelConfig,
    amount: uint128,
    valid_after: uint256,
    valid_before: uint256,
    salt: bytes32,
    signature: Bytes[eip1271.MAX_SIGNATURE],
):
    """
    @notice Adds to an open channel's deposit as the payer, key or smart account, has authorized.
    @param config The channel's identity.
    @param amount Token base units, above zero.
    @param valid_after The authorization counts strictly after this second (Unix time).
    @param valid_before The authorization counts strictly before this second.
    @param salt Makes the nonce unique; see `open_with_authorization`.
    @param signature The payer's signature.
    """
    channel: bytes32 = self._top_up(config, amount)
    self._pull_signed(config, channel, amount, valid_after, valid_before, salt, signature)


# --- Money out ---


@external
@nonreentrant
def redeem(
    config: ChannelConfig,
    total_claimed: uint128,
    max_claimable: uint128,
    signature: Bytes[eip1271.MAX_SIGNATURE],
) -> uint256:
    """
    @notice Pays the receiver up to a total that the payer's voucher allows, less the network's fee.
    @dev Only the receiver or its authorizer may: a voucher is a limit, the receiver says the price.
    @param config The channel's identity.
    @param total_claimed The new total of all payments from this channel, fees included.
    @param max_claimable The voucher's limit; at least the total.
    @param signature The voucher's signature by the payer's authorizer.
    @return uint256 Token base units taken from the channel now, the fee included.
    """
    return self._claim(config, total_claimed, max_claimable, signature)


@external
@nonreentrant
def redeem_many(claims: DynArray[Claim, MAX_CLAIMS]):
    """
    @notice Redeems vouchers of several channels; all or nothing.
    @param claims One redemption each, up to 32.
    """
    for claim: Claim in claims:
        self._claim(claim.config, claim.total_claimed, claim.max_claimable, claim.signature)


@external
def request_close(config: ChannelConfig):
    """
    @notice Starts the payer's notice. The receiver can still redeem until the payer withdraws.
    @param config The channel's identity; the caller must be the payer.
    """
    channel: bytes32 = self._channel_id(config)
    assert msg.sender == config.payer, "escrow: caller is not the payer"
    self._require_open(channel)
    assert self._channels[channel].withdrawableAt == 0, "escrow: close already requested"
    at: uint256 = block.timestamp + convert(config.withdrawDelay, uint256)
    self._channels[channel].withdrawableAt = convert(at, uint40)
    log CloseRequested(
        channel=channel, payer=config.payer, receiver=config.receiver, withdrawable_at=at
    )


@external
@nonreentrant
def withdraw(config: ChannelConfig) -> uint256:
    """
    @notice Returns what is left to the payer after the notice, and closes the channel for good.
    @param config The channel's identity; the caller must be the payer.
    @return uint256 Token base units returned.
    """
    channel: bytes32 = self._channel_id(config)
    assert msg.sender == config.payer, "escrow: caller is not the payer"
    self._require_open(channel)
    at: uint40 = self._channels[channel].withdrawableAt
    assert at != 0, "escrow: close not requested"
    assert block.timestamp >= convert(at, uint256), "escrow: notice is running"
    return self._close(config, channel)


@external
@nonreentrant
def release(config: ChannelConfig) -> uint256:
    """
    @notice Returns what is left to the payer at once, and closes the channel for good.
    @param config The channel's identity; the caller must be the receiver or its authorizer.
    @return uint256 Token base units returned.
    """
    channel: bytes32 = self._channel_id(config)
    self._require_receiver(config)
    self._require_open(channel)
    return self._close(config, channel)


# --- Views ---


@external
@view
def getChannelId(config: ChannelConfig) -> bytes32:
    """
    @notice A channel's id: the EIP-712 digest of its config in this contract's domain.
    @param config The channel's identity.
    @return bytes32 The id.
    """
    return self._channel_id(config)


@external
@view
def channels(channel: bytes32) -> (uint128, uint128):
    """
    @notice A channel's deposit and what was paid of it.
    @param channel The channel's id.
    @return (balance, totalClaimed) Token base units.
    """
    return self._channels[channel].balance, self._channels[channel].totalClaimed


@external
@view
def get_channel(channel: bytes32) -> Channel:
    """
    @notice The whole record of a channel.
    @param channel The channel's id.
    @return Channel All zero when it was never opened.
    """
    return self._channels[channel]


@external
@view
def pendingWithdrawals(channel: bytes32) -> (uint128, uint40):
    """
    @notice What the payer has asked back, and from when it can be taken.
    @param channel The channel's id.
    @return (amount, withdrawableAt) Zero when no close was requested.
    """
    record: Channel = self._channels[channel]
    if record.withdrawableAt == 0 or record.closed:
        return 0, 0
    return record.balance - record.totalClaimed, record.withdrawableAt


@external
@view
def getVoucherDigest(channel: bytes32, max_claimable: uint128) -> bytes32:
    """
    @notice What the payer's authorizer signs.
    @param channel The channel's id.
    @param max_claimable The voucher's cumulative limit.
    @return bytes32 The EIP-712 digest.
    """
    return self._voucher_digest(channel, max_claimable)


@external
@view
def is_voucher_valid(
    signer: address,
    channel: bytes32,
    max_claimable: uint128,
    signature: Bytes[eip1271.MAX_SIGNATURE],
) -> bool:
    """
    @notice Whether `redeem` would take a voucher's signature now: a smart account may change its mind.
    @param signer The channel's payer authorizer.
    @param channel The channel's id.
    @param max_claimable The voucher's cumulative limit.
    @param signature The voucher's signature.
    @return bool True if so.
    """
    return eip1271._is_valid(signer, self._voucher_digest(channel, max_claimable), signature)


# --- Small parts ---


@internal
def _open(config: ChannelConfig, amount: uint128) -> bytes32:
    channel: bytes32 = self._channel_id(config)
    record: Channel = self._channels[channel]
    assert not record.closed, "escrow: channel is closed"
    assert record.balance == 0, "escrow: channel already open"
    assert amount > 0, "escrow: amount is zero"
    assert config.payer != empty(address), "escrow: payer is the zero address"
    assert config.payerAuthorizer != empty(address), "escrow: payer authorizer is the zero address"
    assert config.receiver != empty(address), "escrow: receiver is the zero address"
    assert config.token.is_contract, "escrow: token is not a contract"
    assert (
        MIN_WITHDRAW_DELAY <= config.withdrawDelay and config.withdrawDelay <= MAX_WITHDRAW_DELAY
    ), "escrow: withdraw delay out of bounds"
    self._channels[channel].balance = amount
    log ChannelOpened(
        channel=channel,
        payer=config.payer,
        receiver=config.receiver,
        config=config,
        amount=convert(amount, uint256),
    )
    return channel


@internal
def _top_up(config: ChannelConfig, amount: uint128) -> bytes32:
    channel: bytes32 = self._channel_id(config)
    self._require_open(channel)
    record: Channel = self._channels[channel]
    assert record.withdrawableAt == 0, "escrow: close already requested"
    assert amount > 0, "escrow: amount is zero"
    balance: uint128 = record.balance + amount
    self._channels[channel].balance = balance
    log ToppedUp(
        channel=channel,
        payer=config.payer,
        receiver=config.receiver,
        amount=convert(amount, uint256),
        balance=convert(balance, uint256),
    )
    return channel


@internal
def _claim(
    config: ChannelConfig,
    total_claimed: uint128,
    max_claimable: uint128,
    signature: Bytes[eip1271.MAX_SIGNATURE],
) -> uint256:
    channel: bytes32 = self._channel_id(config)
    self._require_receiver(config)
    self._require_open(channel)
    record: Channel = self._channels[channel]
    assert total_claimed > record.totalClaimed, "escrow: voucher already redeemed"
    assert total_claimed <= max_claimable, "escrow: claim above the voucher"
    assert total_claimed <= record.balance, "escrow: claim above the deposit"
    digest: bytes32 = self._voucher_digest(channel, max_claimable)
    assert eip1271._is_valid(
        config.payerAuthorizer, digest, signature
    ), "escrow: invalid signature"
    amount: uint256 = convert(total_claimed - record.totalClaimed, uint256)
    fee: uint256 = network_fee._fee_of(amount)
    market: address = network_fee.market_of[config.receiver]
    self._channels[channel].totalClaimed = total_claimed
    log Redeemed(
        channel=channel,
        payer=config.payer,
        receiver=config.receiver,
        amount=amount,
        total_claimed=convert(total_claimed, uint256),
        fee=fee,
        market=market,
    )
    self._push(config.token, config.receiver, amount - fee)
    if fee != 0:
        self._push(config.token, network_fee.fee_sink, fee)
        fee_notice._tell(network_fee.fee_sink, config.token, market, fee)
    return amount


@internal
def _close(config: ChannelConfig, channel: bytes32) -> uint256:
    record: Channel = self._channels[channel]
    rest: uint256 = convert(record.balance - record.totalClaimed, uint256)
    self._channels[channel].balance = record.totalClaimed
    self._channels[channel].closed = True
    log ChannelClosed(
        channel=channel, payer=config.payer, receiver=config.receiver, returned=rest
    )
    self._push(config.token, config.payer, rest)
    return rest


@internal
@view
def _channel_id(config: ChannelConfig) -> bytes32:
    return eip712._digest(keccak256(abi_encode(CONFIG_TYPE, config)))


@internal
@view
def _voucher_digest(channel: bytes32, max_claimable: uint128) -> bytes32:
    return eip712._digest(keccak256(abi_encode(VOUCHER_TYPE, channel, max_claimable)))


@internal
@view
def _require_open(channel: bytes32):
    assert not self._channels[channel].closed, "escrow: channel is closed"
    assert self._channels[channel].balance != 0, "escrow: no such channel"


@internal
@view
def _require_receiver(config: ChannelConfig):
    assert (
        msg.sender == config.receiver or msg.sender == config.receiverAuthorizer
    ), "escrow: caller is not the receiver"


@internal
def _pull(token: address, amount: uint128):
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        msg.sender, self, convert(amount, uint256), default_return_value=True
    ), "escrow: token transfer failed"
    self._require_received(token, before, amount)


@internal
def _pull_authorized(
    config: ChannelConfig,
    channel: bytes32,
    amount: uint128,
    valid_after: uint256,
    valid_before: uint256,
    salt: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    before: uint256 = staticcall IERC20(config.token).balanceOf(self)
    extcall IEIP3009(config.token).receiveWithAuthorization(
        config.payer,
        self,
        convert(amount, uint256),
        valid_after,
        valid_before,
        keccak256(abi_encode(channel, salt)),
        v,
        r,
        s,
    )
    self._require_received(config.token, before, amount)


@internal
def _pull_signed(
    config: ChannelConfig,
    channel: bytes32,
    amount: uint128,
    valid_after: uint256,
    valid_before: uint256,
    salt: bytes32,
    signature: Bytes[eip1271.MAX_SIGNATURE],
):
    """
    @dev Vyper cannot overload a name, so our own token calls it otherwise than USDC does. A token
         knows one of the two; the other fails without effect.
    """
    before: uint256 = staticcall IERC20(config.token).balanceOf(self)
    nonce: bytes32 = keccak256(abi_encode(channel, salt))
    if not raw_call(
        config.token,
        abi_encode(
            config.payer,
            self,
            convert(amount, uint256),
            valid_after,
            valid_before,
            nonce,
            signature,
            method_id=method_id(
                "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"
            ),
        ),
        revert_on_failure=False,
    ):
        extcall ISignedTransfers(config.token).receiveWithSignature(
            config.payer,
            self,
            convert(amount, uint256),
            valid_after,
            valid_before,
            nonce,
            signature,
        )
    self._require_received(config.token, before, amount)


@internal
@view
def _require_received(token: address, before: uint256, amount: uint128):
    """
    @dev Tokens that keep a fee on transfers would let one channel eat another's deposit.
    """
    received: uint256 = staticcall IERC20(token).balanceOf(self) - before
    assert received == convert(amount, uint256), "escrow: token took a fee"


@internal
def _push(token: address, receiver: address, amount: uint256):
    if amount != 0:
        assert extcall IERC20(token).transfer(
            receiver, amount, default_return_value=True
        ), "escrow: token transfer failed"
