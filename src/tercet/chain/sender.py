"""An account that sends transactions: nonces, fees, gas, receipts.

Safe for many tasks at once and for several processes with one key: nonces are taken under a lock,
and a nonce that somebody else used is taken anew.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass

from tercet.chain.keys import Key
from tercet.chain.reasons import decode_reason
from tercet.chain.reverts import build_revert
from tercet.chain.rpc import Receipt, Rpc, poll_delays
from tercet.chain.transaction import SignedTransaction, Transaction, sign_transaction
from tercet.errors import RevertedError, RpcError, TransactionLostError

log = logging.getLogger(__name__)

MAX_GAS = 2**24
"""EIP-7825's cap on one transaction."""
_RESEND_SECONDS = 1.0
_NONCE_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class _Intent:
    to: str | None
    data: bytes
    value: int
    gas: int


class Sender:
    """One key on one chain."""

    def __init__(self, rpc: Rpc, key: Key, *, deadline: float = 60.0, gas_margin: float = 0.25) -> None:
        """Nothing is sent yet.

        Args:
            rpc: the chain.
            key: who pays and signs.
            deadline: seconds to wait for a receipt.
            gas_margin: part added to the estimate, because state moves between estimate and block.
        """
        self.rpc, self.key = rpc, key
        self._deadline, self._margin = deadline, gas_margin
        self._lock = asyncio.Lock()
        self._next: int | None = None

    @property
    def address(self) -> str:
        """Who sends."""
        return self.key.address

    async def send(self, to: str | None, data: bytes = b"", *, value: int = 0, gas: int | None = None) -> Receipt:
        """Send a transaction and wait until it is mined. Without `to` it creates a contract.

        Raises:
            RevertedError: a contract refused, before sending (the estimate) or in the block.
            RpcError: the node refused, for instance for lack of funds.
            TransactionLostError: no receipt within the deadline; it may still be mined.
            ChainUnreachableError: no answer from the node.
        """
        if gas is None:
            needed = await self.rpc.estimate(self.address, to, data, value)
            gas = max(needed, min(int(needed * (1 + self._margin)) + 5_000, MAX_GAS))
        intent = _Intent(to, data, value, gas)
        deadline = asyncio.get_running_loop().time() + self._deadline
        while (receipt := await self._wait(signed := await self._submit(intent), deadline)) is None:
            log.info("chain.replaced transaction=0x%s sender=%s", signed.hash.hex(), self.address)
        if receipt.status == 0:
            raise await self._why(receipt, intent)
        return receipt

    async def _submit(self, intent: _Intent) -> SignedTransaction:
        async with self._lock:
            for _ in range(_NONCE_ATTEMPTS):
                signed = await self._sign(intent)
                try:
                    await self.rpc.send_raw(signed.raw)
                except RpcError as error:
                    if not await self._is_in(error, signed):
                        if not _nonce_was_taken(error):
                            raise
                        self._next = None
                        continue
                assert self._next is not None
                self._next += 1
                return signed
        raise TransactionLostError(
            f"{self.address} could not get a nonce in {_NONCE_ATTEMPTS} attempts, because others send with the same key. "
            "Give each process its own key."
        )

    async def _sign(self, intent: _Intent) -> SignedTransaction:
        chain_id, head, nonce = await asyncio.gather(self.rpc.chain_id(), self.rpc.head(), self.rpc.nonce(self.address))
        self._next = max(nonce, self._next or 0)
        # A few random wei keep two processes with one key from making the same bytes, and taking one for both.
        tip = await self._tip() + secrets.randbelow(2**16)
        # Twice the base fee holds for six full blocks in a row.
        fee = 2 * head.base_fee + tip
        transaction = Transaction(chain_id, self._next, tip, fee, intent.gas, intent.to, intent.value, intent.data)
        return sign_transaction(transaction, self.key)

    async def _tip(self) -> int:
        try:
            return await self.rpc.tip()
        except RpcError:  # a node without EIP-1559's suggestion
            return 10**9

    async def _is_in(self, error: RpcError, signed: SignedTransaction) -> bool:
        """Whether the refusal only says that the node has these very bytes already."""
        text = str(error).lower()
        if "already known" in text or "already imported" in text:
            return True
        return _nonce_was_taken(error) and await self.rpc.receipt(signed.hash) is not None

    async def _wait(self, signed: SignedTransaction, deadline: float) -> Receipt | None:
        """The receipt; None when another transaction took the nonce, so that this one can never be mined."""
        loop = asyncio.get_running_loop()
        resend = loop.time() + _RESEND_SECONDS
        async for _ in poll_delays(deadline):
            receipt = await self.rpc.receipt(signed.hash)
            if receipt is not None:
                return receipt
            if loop.time() > resend:
                resend = loop.time() + _RESEND_SECONDS
                if await self._was_replaced(signed):
                    self._next = None
                    return await self.rpc.receipt(signed.hash)
        self._next = None
        raise TransactionLostError(
            f"Transaction 0x{signed.hash.hex()} of {self.address} has no receipt after {self._deadline:g} s. "
            "It may still be mined: look for its effect before sending again."
        )

    async def _was_replaced(self, signed: SignedTransaction) -> bool:
        """Send the same bytes again, in case the node dropped them; whether their nonce is spent by now."""
        try:
            await self.rpc.send_raw(signed.raw)
        except RpcError as error:
            return "nonce too low" in str(error).lower()
        return False

    async def _why(self, receipt: Receipt, intent: _Intent) -> RevertedError:
        if receipt.revert:
            return build_revert(decode_reason(receipt.revert))
        if intent.to is not None:
            try:  # not exact: other transactions of the block are missing or added
                await self.rpc.view(intent.to, intent.data, sender=self.address, block=receipt.block - 1)
            except RevertedError as error:
                return error
            except RpcError:
                pass
        used_up = receipt.gas_used >= intent.gas
        return build_revert("out of gas" if used_up else "")


def _nonce_was_taken(error: RpcError) -> bool:
    text = str(error).lower()
    return "nonce too low" in text or "replacement transaction" in text
