"""Why contracts refuse: one table from each reason string to its error class and the way out.

A test reads every reason out of the contracts' sources and finds it here.
"""

from __future__ import annotations

from tercet.errors import (
    AlreadyDoneError,
    InsufficientFundsError,
    LimitError,
    NotAllowedError,
    NotRegisteredError,
    RevertedError,
    VoucherRefusedError,
    WrongHintError,
    WrongPhaseError,
)

_Row = tuple[type[RevertedError], str]

_TOKENS: dict[str, _Row] = {
    "credit: caller is not the owner": (NotAllowedError, "Only the account that deployed the test credit mints it."),
    "eip2612: expired": (LimitError, "Sign a permit with a later deadline."),
    "eip2612: invalid signature": (NotAllowedError, "The permit must be signed by the owner of the tokens."),
    "eip3009: authorization already used": (AlreadyDoneError, "Sign a new authorization with a fresh nonce."),
    "eip3009: caller is not the receiver": (NotAllowedError, "Only the named receiver may submit it."),
    "eip3009: expired": (LimitError, "Sign an authorization that is valid for longer."),
    "eip3009: invalid signature": (NotAllowedError, "The authorization must be signed by the payer."),
    "eip3009: not yet valid": (LimitError, "Wait, or sign one that is valid from now on."),
    "erc20: allowance too small": (InsufficientFundsError, "Approve the amount first."),
    "erc20: approve the zero address": (LimitError, "Name a real spender."),
    "erc20: balance too small": (InsufficientFundsError, "Fund the account with: tercet wallet fund NAME"),
    "erc20: mint to the zero address": (LimitError, "Name a real receiver."),
    "erc20: transfer to the zero address": (LimitError, "Name a real receiver."),
    "token: caller is not the deployer": (
        NotAllowedError,
        "Only the account that deployed the token names its minter.",
    ),
    "token: caller is not the minter": (NotAllowedError, "New tokens come by emission only: tercet market show."),
    "token: minter already set": (AlreadyDoneError, "A token has one minter for ever."),
    "token: minter is not a contract": (LimitError, "Name the deployed emission contract."),
    "token: supply above the cap": (LimitError, "There can be at most 100 million TCT at a time."),
}

_ESCROW: dict[str, _Row] = {
    "escrow: amount is zero": (LimitError, "Deposit more than nothing."),
    "escrow: caller is not the payer": (NotAllowedError, "Send it from the channel's payer."),
    "escrow: caller is not the receiver": (NotAllowedError, "Send it from the channel's receiver."),
    "escrow: channel already open": (AlreadyDoneError, "Top it up, or open another one with a new salt."),
    "escrow: channel is closed": (VoucherRefusedError, "Open a new channel with a new salt."),
    "escrow: claim above the deposit": (VoucherRefusedError, "Claim at most the deposit, or ask for a top-up."),
    "escrow: claim above the voucher": (VoucherRefusedError, "Claim at most what the newest voucher allows."),
    "escrow: close already requested": (AlreadyDoneError, "Wait for the notice to end, then withdraw."),
    "escrow: close not requested": (WrongPhaseError, "Request the close first and wait for the notice."),
    "escrow: invalid signature": (
        VoucherRefusedError,
        "The channel's payer authorizer must sign the voucher, and still stand by it if it is a smart account.",
    ),
    "escrow: no such channel": (
        VoucherRefusedError,
        "Open the channel first; its config must be the same in every field.",
    ),
    "escrow: notice is running": (WrongPhaseError, "Wait until the notice is over."),
    "escrow: payer authorizer is the zero address": (LimitError, "Name the key that signs vouchers."),
    "escrow: payer is the zero address": (LimitError, "Name the payer."),
    "escrow: receiver is the zero address": (LimitError, "Name the receiver."),
    "escrow: token is not a contract": (LimitError, "Name a deployed token."),
    "escrow: token took a fee": (LimitError, "Use a token that transfers whole amounts."),
    "escrow: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "escrow: voucher already redeemed": (AlreadyDoneError, "Nothing is lost: this total was paid before."),
    "escrow: withdraw delay out of bounds": (LimitError, "Choose a notice that the Escrow allows."),
}

_FEE: dict[str, _Row] = {
    "fee: above the maximum": (LimitError, "The network takes at most 500 basis points."),
    "fee: caller is not the owner": (NotAllowedError, "Send it from the fee's owner."),
    "fee: caller is not the pending owner": (NotAllowedError, "Only who was offered the fee's ownership accepts it."),
    "fee: not due yet": (WrongPhaseError, "A new fee counts a week after it was announced."),
    "fee: not enough gas for the sink": (LimitError, "Leave 520,000 gas more; what is not used comes back."),
    "fee: nothing proposed": (WrongPhaseError, "Announce a fee first."),
    "fee: owner is the zero address": (LimitError, "Name who may announce another fee."),
    "fee: sink is the zero address": (LimitError, "Name where fees go."),
}

_JOBS: dict[str, _Row] = {
    "jobs: already funded": (AlreadyDoneError, "Its money is there; for another one like it, take a new salt."),
    "jobs: already voted": (AlreadyDoneError, "A validator gives one verdict on a job."),
    "jobs: amount is zero": (LimitError, "Hold more than nothing."),
    "jobs: caller is not the buyer": (NotAllowedError, "Send it from the job's buyer."),
    "jobs: caller is not the worker": (NotAllowedError, "Send it from the job's worker."),
    "jobs: deliver_by out of bounds": (LimitError, "Give the worker until some time within the next 365 days."),
    "jobs: escrow or registry is not a contract": (LimitError, "Deploy the Escrow and the Registry first."),
    "jobs: more than the amount": (LimitError, "Release at most what is held."),
    "jobs: no such offer": (LimitError, "Accept the very amount that the buyer offers now: tercet job show ID."),
    "jobs: no weight in the market": (NotRegisteredError, "Only validators that voted in the last closed epoch judge."),
    "jobs: not in this state": (WrongPhaseError, "See where the job stands: tercet job show ID."),
    "jobs: nothing to withdraw": (AlreadyDoneError, "Everything was sent."),
    "jobs: period out of bounds": (
        LimitError,
        "Choose a review and a dispute that the contract allows, up to 30 days.",
    ),
    "jobs: token is not a contract": (LimitError, "Name a deployed token."),
    "jobs: token took a fee": (LimitError, "Use a token that transfers whole amounts."),
    "jobs: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "jobs: too early": (WrongPhaseError, "Wait for the deadline: tercet job show ID."),
    "jobs: too late": (WrongPhaseError, "The deadline has passed; end the job with: tercet job settle ID."),
    "jobs: too many verdicts": (LimitError, "Sixty-four validators have spoken."),
    "jobs: unknown market": (LimitError, "Name a market of this deployment's registry."),
    "jobs: verdict out of bounds": (LimitError, "Give 0 to 10,000 basis points."),
    "jobs: worker is the zero address": (LimitError, "Name the worker."),
}

_MARKET: dict[str, _Row] = {
    "market: already committed": (AlreadyDoneError, "One commit an epoch; reveal it in the reveal phase."),
    "market: already revealed": (AlreadyDoneError, "The row is in; wait for the next epoch."),
    "market: as_of is later than the commit": (LimitError, "Give the registration counter read before the commit."),
    "market: budget too large": (LimitError, "Sponsor a smaller amount for each epoch."),
    "market: budget too small": (LimitError, "Sponsor at least one base unit for each epoch."),
    "market: caller is not a validator's operator": (NotRegisteredError, "Register with: tercet validate SUBNET"),
    "market: caller is not the miner": (NotAllowedError, "Send it from the miner's owner or operator."),
    "market: caller is not the miner's owner": (NotAllowedError, "Send it from the miner's owner."),
    "market: caller is not the owner": (NotAllowedError, "Send it from the account that opened the market."),
    "market: caller is not the sponsor": (NotAllowedError, "Send it from the account that sponsored."),
    "market: caller is not the validator's owner": (NotAllowedError, "Send it from the validator's owner."),
    "market: consensus hint too high": (WrongHintError, "Read the revealed rows again and compute the hint anew."),
    "market: consensus hint too low": (WrongHintError, "Read the revealed rows again and compute the hint anew."),
    "market: epoch is closing": (WrongPhaseError, "Help with: tercet epoch close, then try again."),
    "market: epoch is not closing": (WrongPhaseError, "Somebody finished it, or nobody began."),
    "market: epoch is not over": (WrongPhaseError, "Wait for the end of the reveal phase."),
    "market: epochs out of bounds": (LimitError, "Sponsor 1 to 1,000,000 epochs."),
    "market: more than the stake": (InsufficientFundsError, "Take back at most what is staked."),
    "market: no free miner slot": (LimitError, "The market is full; try again when a miner has left."),
    "market: no free validator slot": (LimitError, "The market is full; try again when a validator has left."),
    "market: no such page": (LimitError, "Settle only the pages that the status tells."),
    "market: not in the commit phase": (WrongPhaseError, "Commit at the beginning of the next epoch."),
    "market: not in the reveal phase": (WrongPhaseError, "Reveal only after the commit phase and before its end."),
    "market: nothing committed": (WrongPhaseError, "Commit in the next epoch, then reveal."),
    "market: nothing to claim": (AlreadyDoneError, "Nothing came back since the last claim."),
    "market: nothing to withdraw": (AlreadyDoneError, "Everything earned so far was paid out."),
    "market: operator already in use": (AlreadyDoneError, "Use another operator key, or the slot that it holds."),
    "market: operator is the zero address": (LimitError, "Name the operator's key."),
    "market: page already settled": (AlreadyDoneError, "Somebody else was faster; go on with the next page."),
    "market: page is not the next one": (WrongPhaseError, "Settle the pages in order."),
    "market: pages are not all settled": (WrongPhaseError, "Settle the remaining pages first."),
    "market: reveal does not match the commit": (NotAllowedError, "Reveal the very row, salt and as_of of the commit."),
    "market: row sum is not 65535": (LimitError, "Build the row with tercet.market.build_row."),
    "market: sponsorship ends with this epoch": (AlreadyDoneError, "It ends by itself."),
    "market: sponsorship is settled": (AlreadyDoneError, "Its last refund was paid."),
    "market: stake below the minimum": (InsufficientFundsError, "Stake at least the market's minimum."),
    "market: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "market: too many registrations": (LimitError, "Open a new market."),
    "market: total stake too large": (LimitError, "Stake less."),
    "market: winding down": (WrongPhaseError, "The market ends; only withdrawals are left."),
}

_REGISTRY: dict[str, _Row] = {
    "registry: blueprint is not a contract": (LimitError, "Deploy the market's blueprint first."),
    "registry: market is not wound down": (WrongPhaseError, "Wind the market down and close its last epoch."),
    "registry: name is empty": (LimitError, "Give the market a name."),
    "registry: no bond held": (AlreadyDoneError, "The bond was returned before."),
    "registry: reward token is not a contract": (LimitError, "Name a deployed token."),
    "registry: stake token is not a contract": (LimitError, "Name a deployed token."),
    "registry: subnet is empty": (LimitError, "Name the subnet."),
    "registry: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "registry: unknown market": (LimitError, "Name a market that this registry opened."),
    **{
        f"registry: {name} out of bounds": (LimitError, f"Allowed for {name}: {bounds}.")
        for name, bounds in {
            "activity_epochs": "0 to 1,000",
            "bond": "less than 2**112 base units",
            "bond_alpha": "0.001 to 1 (times 10**18)",
            "commit_seconds": "1 second to 30 days",
            "kappa": "above 0.5 and up to 1 (times 10**18)",
            "max_miners": "1 to 255",
            "max_validators": "1 to 64",
            "min_stake": "10**12 to 10**26 base units",
            "miner_deposit": "less than 2**112 base units",
            "reveal_seconds": "1 second to 30 days",
            "validator_share_bps": "0 to 10,000",
        }.items()
    },
}

REASONS: dict[str, _Row] = {**_TOKENS, **_ESCROW, **_FEE, **_JOBS, **_MARKET, **_REGISTRY}
"""Every reason of our contracts."""


def build_revert(reason: str) -> RevertedError:
    """The typed error for a reason; one that is not ours keeps the base class."""
    kind, mend = REASONS.get(reason, (RevertedError, ""))
    shown = reason or "without a reason (wrong contract, wrong arguments or not enough gas)"
    return kind(f"The contract refused: {shown}. {mend}".rstrip(), reason=reason)
