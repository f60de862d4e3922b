"""Channel configs and vouchers as JSON: on the wire, and in both books."""

from __future__ import annotations

import json
import re
from typing import Any

from tercet.chain.keys import SIGNATURE_BYTES, checksum_address, parse_address
from tercet.chain.voucher import MAX_CLAIMABLE, MAX_SIGNATURE_BYTES
from tercet.errors import InvalidKeyError, WireError
from tercet.market import ChannelConfig, Voucher
from tercet.nodes.wire import parse_hex

_AMOUNT = re.compile(r"0|[1-9][0-9]{0,38}")
_ADDRESSES = ("payer", "payer_authorizer", "receiver", "receiver_authorizer", "token")


def config_object(config: ChannelConfig) -> dict[str, Any]:
    """A config as a JSON object."""
    named = {name: getattr(config, name) for name in _ADDRESSES}
    return {**named, "withdraw_delay": config.withdraw_delay, "salt": "0x" + config.salt.hex()}


def parse_config(value: object) -> ChannelConfig:
    """Read a config; `WireError` for anything malformed."""
    if not isinstance(value, dict) or type(value.get("withdraw_delay")) is not int:
        raise WireError("A channel config is malformed.")
    try:
        named = {name: checksum_address(parse_address(str(value.get(name)))) for name in _ADDRESSES}
    except InvalidKeyError as error:
        raise WireError(f"A channel config is malformed: {error}") from error
    if not 0 <= value["withdraw_delay"] < 2**40:
        raise WireError("A channel's notice is out of range.")
    return ChannelConfig(**named, withdraw_delay=value["withdraw_delay"], salt=parse_hex(value.get("salt"), 32))


def encode_config(config: ChannelConfig) -> str:
    """A config as JSON text."""
    return json.dumps(config_object(config))


def decode_config(text: str) -> ChannelConfig:
    """A config from our own JSON text."""
    return parse_config(json.loads(text))


def voucher_object(voucher: Voucher) -> dict[str, str]:
    """A voucher as a JSON object."""
    return {
        "channel": "0x" + voucher.channel.hex(),
        "max_claimable": str(voucher.max_claimable),
        "signature": "0x" + voucher.signature.hex(),
    }


def parse_voucher(value: object) -> Voucher:
    """Read a voucher; `WireError` for anything malformed."""
    amount = value.get("max_claimable") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(amount, str):
        raise WireError("A voucher is malformed.")
    if not (_AMOUNT.fullmatch(amount) and int(amount) <= MAX_CLAIMABLE):
        raise WireError("A voucher's amount is not a decimal number below 2**128.")
    return Voucher(parse_hex(value.get("channel"), 32), int(amount), _parse_signature(value.get("signature")))


def _parse_signature(text: object) -> bytes:
    size = (len(text) - 2) // 2 if isinstance(text, str) else 0
    return parse_hex(text, min(max(size, SIGNATURE_BYTES), MAX_SIGNATURE_BYTES))
