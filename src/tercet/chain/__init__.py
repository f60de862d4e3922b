"""The ledger: contracts, the client that calls them, wallets, logs, the embedded development chain.

Names are imported from here. Each is loaded when it is first used, so that `import tercet` stays fast;
only `serve` brings py-evm in, which takes a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tercet.chain.closing import Closing, close_epoch, read_state
    from tercet.chain.devnet.server import Server, serve
    from tercet.chain.emission import Award, EmissionContract, FeesContract, Sale, live_awards
    from tercet.chain.escrow import Authorization, Channel, Claim, EscrowContract
    from tercet.chain.history import History, PastEpoch, find_epoch_start, recompute_epochs
    from tercet.chain.holdings import Holdings, bring_home, read_holdings
    from tercet.chain.jobs import HeldJob, JobEnd, JobRecord, JobsContract, job_id
    from tercet.chain.keys import Key, address_from_public, keccak, recover, text_digest
    from tercet.chain.keystore import Entry, Keystore
    from tercet.chain.ledger import Deployment, Ledger, deploy
    from tercet.chain.logs import Batch, Event, read_events
    from tercet.chain.market import (
        Applicant,
        MarketContract,
        MarketStatus,
        MinerSlot,
        Phase,
        ValidatorSlot,
        build_commit_digest,
    )
    from tercet.chain.registry import Listing, MarketParams, RegistryContract
    from tercet.chain.rpc import Head, Receipt, Rpc
    from tercet.chain.rules import Proposal, RulesContract
    from tercet.chain.sender import Sender
    from tercet.chain.stakes import Pool, Position, StakesBooks, StakesContract
    from tercet.chain.tokens import CreditContract, TokenContract
    from tercet.chain.treasury import Sponsorship, TreasuryBooks, TreasuryContract
    from tercet.chain.voucher import EscrowDomain, channel_id, recover_voucher, sign_voucher, voucher_digest

_HOMES = {
    "closing": ("Closing", "close_epoch", "read_state"),
    "devnet.server": ("Server", "serve"),
    "emission": ("Award", "EmissionContract", "FeesContract", "Sale", "live_awards"),
    "escrow": ("Authorization", "Channel", "Claim", "EscrowContract"),
    "history": ("History", "PastEpoch", "find_epoch_start", "recompute_epochs"),
    "holdings": ("Holdings", "bring_home", "read_holdings"),
    "jobs": ("HeldJob", "JobEnd", "JobRecord", "JobsContract", "job_id"),
    "keys": ("Key", "address_from_public", "keccak", "recover", "text_digest"),
    "keystore": ("Entry", "Keystore"),
    "ledger": ("Deployment", "Ledger", "deploy"),
    "logs": ("Batch", "Event", "read_events"),
    "market": (
        "Applicant",
        "MarketContract",
        "MarketStatus",
        "MinerSlot",
        "Phase",
        "ValidatorSlot",
        "build_commit_digest",
    ),
    "registry": ("Listing", "MarketParams", "RegistryContract"),
    "rpc": ("Head", "Receipt", "Rpc"),
    "rules": ("Proposal", "RulesContract"),
    "sender": ("Sender",),
    "stakes": ("Pool", "Position", "StakesBooks", "StakesContract"),
    "tokens": ("CreditContract", "TokenContract"),
    "treasury": ("Sponsorship", "TreasuryBooks", "TreasuryContract"),
    "voucher": ("EscrowDomain", "channel_id", "recover_voucher", "sign_voucher", "voucher_digest"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Applicant",
    "Authorization",
    "Award",
    "Batch",
    "Channel",
    "Claim",
    "Closing",
    "CreditContract",
    "Deployment",
    "EmissionContract",
    "Entry",
    "EscrowContract",
    "EscrowDomain",
    "Event",
    "FeesContract",
    "Head",
    "HeldJob",
    "History",
    "Holdings",
    "JobEnd",
    "JobRecord",
    "JobsContract",
    "Key",
    "Keystore",
    "Ledger",
    "Listing",
    "MarketContract",
    "MarketParams",
    "MarketStatus",
    "MinerSlot",
    "PastEpoch",
    "Phase",
    "Pool",
    "Position",
    "Proposal",
    "Receipt",
    "RegistryContract",
    "Rpc",
    "RulesContract",
    "Sale",
    "Sender",
    "Server",
    "Sponsorship",
    "StakesBooks",
    "StakesContract",
    "TokenContract",
    "TreasuryBooks",
    "TreasuryContract",
    "ValidatorSlot",
    "address_from_public",
    "bring_home",
    "build_commit_digest",
    "channel_id",
    "close_epoch",
    "deploy",
    "find_epoch_start",
    "job_id",
    "keccak",
    "live_awards",
    "read_events",
    "read_holdings",
    "read_state",
    "recompute_epochs",
    "recover",
    "recover_voucher",
    "serve",
    "sign_voucher",
    "text_digest",
    "voucher_digest",
]


def __getattr__(name: str) -> Any:
    """Load a public name's module when it is first used."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
