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
    "token: caller is not the minter": (NotAllowedError, "New tokens come by emission only: tercet emission show."),
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
    "market: a miner slot is free": (WrongPhaseError, "Register instead of applying."),
    "market: already committed": (AlreadyDoneError, "One commit an epoch; reveal it in the reveal phase."),
    "market: already revealed": (AlreadyDoneError, "The row is in; wait for the next epoch."),
    "market: application is too young": (WrongPhaseError, "Withdraw it when this epoch is closed."),
    "market: as_of is later than the commit": (LimitError, "Give the registration counter read before the commit."),
    "market: caller is not a validator's operator": (NotRegisteredError, "Register with: tercet validate SUBNET"),
    "market: caller is not the owner": (NotAllowedError, "Send it from the owner of the market's rules."),
    "market: caller is not the slot's owner": (NotAllowedError, "Send it from the owner of the slot or application."),
    "market: consensus hint too high": (WrongHintError, "Read the revealed rows again and compute the hint anew."),
    "market: consensus hint too low": (WrongHintError, "Read the revealed rows again and compute the hint anew."),
    "market: epoch is closing": (WrongPhaseError, "Help with: tercet epoch close, then try again."),
    "market: epoch is not closing": (WrongPhaseError, "Somebody finished it, or nobody began."),
    "market: epoch is not over": (WrongPhaseError, "Wait for the end of the reveal phase."),
    "market: row can still be audited": (WrongPhaseError, "Let one epoch pass without a reveal, then leave."),
    "market: no free miner slot": (
        LimitError,
        "The market is full. Wait for the weakest miner's slot: tercet mine --queue SUBNET",
    ),
    "market: no free validator slot": (
        LimitError,
        "In the commit phase, stake more than the weakest validator has behind it.",
    ),
    "market: no such page": (LimitError, "Settle only the pages that the status tells."),
    "market: not in the commit phase": (WrongPhaseError, "Commit at the beginning of the next epoch."),
    "market: not in the reveal phase": (WrongPhaseError, "Reveal only after the commit phase and before its end."),
    "market: nothing committed": (WrongPhaseError, "Commit in the next epoch, then reveal."),
    "market: nothing to claim": (AlreadyDoneError, "No miner of this owner was evicted since the last claim."),
    "market: operator already in use": (AlreadyDoneError, "Use another operator key, or the slot that it holds."),
    "market: operator is the zero address": (LimitError, "Name the operator's key."),
    "market: page is not the next one": (
        WrongPhaseError,
        "Somebody else was faster, or pages are missing: go on with the next one due.",
    ),
    "market: pages are not settled": (WrongPhaseError, "Settle the remaining pages first."),
    "market: price above the limit": (
        LimitError,
        "Wait, it falls with time, or accept more: tercet mine --max-price TCT SUBNET",
    ),
    "market: reveal does not match the commit": (NotAllowedError, "Reveal the very row, salt and as_of of the commit."),
    "market: row sum is not 65535": (LimitError, "Build the row with tercet.market.build_row."),
    "market: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "market: too many applicants": (LimitError, "Try again after the epoch's end."),
    "market: too many registrations": (LimitError, "Open a new market."),
    "market: winding down": (WrongPhaseError, "The market ends; only withdrawals are left."),
    "market: wrong mechanism version": (LimitError, "Measure and reveal by the market's mechanism_version."),
}

_TREASURY: dict[str, _Row] = {
    "treasury: already attached": (AlreadyDoneError, "A treasury serves one market for ever."),
    "treasury: amount too large": (LimitError, "Pay in less: what waits for an epoch is limited."),
    "treasury: budget too large": (LimitError, "Sponsor a smaller amount for each epoch."),
    "treasury: budget too small": (LimitError, "Sponsor at least one base unit for each epoch."),
    "treasury: caller is not the creator": (NotAllowedError, "Only the registry attaches a market's treasury."),
    "treasury: caller is not the market": (NotAllowedError, "Only the market pays its epochs: tercet epoch close."),
    "treasury: caller is not the sponsor": (NotAllowedError, "Send it from the account that sponsored."),
    "treasury: epoch is closing": (WrongPhaseError, "Help with: tercet epoch close, then try again."),
    "treasury: epochs out of bounds": (LimitError, "Sponsor 1 to 1,000,000 epochs."),
    "treasury: market is not wound down": (WrongPhaseError, "Wait until the market's last epoch is closed."),
    "treasury: miners are paid": (AlreadyDoneError, "Somebody else was faster; finish the closing."),
    "treasury: nothing to claim": (AlreadyDoneError, "Nothing came back since the last claim."),
    "treasury: nothing to sweep": (AlreadyDoneError, "No carry was left, or somebody swept it before."),
    "treasury: nothing to withdraw": (AlreadyDoneError, "Everything earned so far was paid out."),
    "treasury: sponsorship ends with this epoch": (AlreadyDoneError, "It ends by itself."),
    "treasury: sponsorship is settled": (AlreadyDoneError, "Its last refund was paid."),
    "treasury: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "treasury: winding down": (WrongPhaseError, "The market ends; only withdrawals are left."),
}

_RULES: dict[str, _Row] = {
    "rules: already attached": (AlreadyDoneError, "Rules are for one market for ever."),
    "rules: caller is not the creator": (NotAllowedError, "Only the registry attaches a market's rules."),
    "rules: caller is not the market": (NotAllowedError, "The market takes due rules at the end of its epoch."),
    "rules: caller is not the owner": (NotAllowedError, "Send it from the market's owner."),
    "rules: caller is not the pending owner": (NotAllowedError, "Send it from the account that was offered the place."),
    "rules: no proposal": (AlreadyDoneError, "No change of the rules is proposed."),
    "rules: nothing is due": (WrongPhaseError, "Wait until the proposal's timelock is over."),
    "rules: subnet cannot change": (LimitError, "Propose rules for the same subnet, or open another market."),
    "rules: subnet is empty": (LimitError, "Name the subnet."),
    **{
        f"rules: {name} out of bounds": (LimitError, f"Allowed for {name}: {bounds}.")
        for name, bounds in {
            "activity_epochs": "0 to 1,000",
            "audit_share_bps": "0 to 5,000",
            "bond_alpha": "0.001 to 1 (times 10**18)",
            "commit_seconds": "1 second to 30 days",
            "floor_miners": "0 to 255",
            "immunity_epochs": "2 to 1,000",
            "kappa": "above 0.5 and up to 1 (times 10**18)",
            "max_miners": "1 to 255",
            "max_price": "min_price to less than 2**112 base units",
            "max_validators": "1 to 64",
            "mechanism_version": "less than 2**64",
            "min_price": "less than 2**112 base units",
            "min_stake": "10**12 to 10**26 base units",
            "price_half_life": "60 seconds to 365 days",
            "refund_bps": "0 to 10,000",
            "reveal_seconds": "1 second to 30 days",
            "slash_bps": "0 to 10,000",
            "timelock_seconds": "0 to 365 days",
            "unbonding_epochs": "3 to 1,000",
            "validator_share_bps": "0 to 10,000",
            "weight_cap_bps": "100 to 10,000",
        }.items()
    },
}

_STAKES: dict[str, _Row] = {
    "stakes: already attached": (AlreadyDoneError, "The registry attached the market when it opened it."),
    "stakes: amount is zero": (LimitError, "Name an amount above zero."),
    "stakes: caller is not the audits contract": (
        NotAllowedError,
        "Only the audits contract slashes and decides over held rewards.",
    ),
    "stakes: caller is not the creator": (NotAllowedError, "Only the registry attaches a market."),
    "stakes: caller is not the market": (
        NotAllowedError,
        "Pools open and close with a validator's seat: tercet validate SUBNET",
    ),
    "stakes: caller is not the pool's owner": (NotAllowedError, "Send it from the validator's owner."),
    "stakes: caller is not the treasury": (NotAllowedError, "Rewards come from the market's treasury only."),
    "stakes: lists differ in length": (LimitError, "Give one amount for each pool."),
    "stakes: market is winding down": (WrongPhaseError, "The market ends; only withdrawals are left."),
    "stakes: more than the stake": (InsufficientFundsError, "Unstake at most what is staked."),
    "stakes: no such pool": (LimitError, "Name the pool of a validator that this market had."),
    "stakes: nothing is held": (AlreadyDoneError, "That epoch's held rewards were decided before, or there were none."),
    "stakes: nothing to claim": (AlreadyDoneError, "Nothing was earned since the last claim."),
    "stakes: nothing to withdraw": (AlreadyDoneError, "Unstake first."),
    "stakes: own stake below the minimum": (
        InsufficientFundsError,
        "A validator keeps the market's minimum of own stake; to take all of it, leave the seat.",
    ),
    "stakes: pool already open": (AlreadyDoneError, "Each seat has one pool for its life."),
    "stakes: pool is closed": (WrongPhaseError, "The validator has left; delegate to another one."),
    "stakes: pool was slashed away": (
        LimitError,
        "Too little is left behind its shares; stake with another validator.",
    ),
    "stakes: slash out of bounds": (LimitError, "Slash 1 to 10,000 basis points."),
    "stakes: still unbonding": (WrongPhaseError, "Wait until the release epoch of the position."),
    "stakes: take above the maximum": (LimitError, "Take at most 2,000 basis points."),
    "stakes: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "stakes: total stake too large": (LimitError, "Stake less."),
    "stakes: unknown token": (LimitError, "Rewards are paid in the market's reward token or in the stake token."),
}

_REGISTRY: dict[str, _Row] = {
    "registry: blueprint is not a contract": (LimitError, "Deploy the four blueprints first."),
    "registry: bond out of bounds": (LimitError, "Allowed for bond: less than 2**112 base units."),
    "registry: market is not wound down": (WrongPhaseError, "Wind the market down and close its last epoch."),
    "registry: name is empty": (LimitError, "Give the market a name."),
    "registry: no bond held": (AlreadyDoneError, "The bond was returned before."),
    "registry: reward token is not a contract": (LimitError, "Name a deployed token."),
    "registry: stake token is not a contract": (LimitError, "Name a deployed token."),
    "registry: timelock_seconds out of bounds": (LimitError, "Allowed for timelock_seconds: 0 to 365 days."),
    "registry: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "registry: unknown market": (LimitError, "Name a market that this registry opened."),
}

_AUDITS: dict[str, _Row] = {
    "audits: accusations are over": (WrongPhaseError, "Accuse in the epoch after the audited one."),
    "audits: accused holds half of the weight": (LimitError, "No majority could confirm it; do not attest instead."),
    "audits: already accused": (AlreadyDoneError, "Vote on the accusation that is open."),
    "audits: already attached": (AlreadyDoneError, "The registry is named once and for ever."),
    "audits: already attested": (AlreadyDoneError, "One attestation a round."),
    "audits: already convicted": (AlreadyDoneError, "Resolve what is still open with: tercet audit settle."),
    "audits: already voted": (AlreadyDoneError, "One vote for each accusation."),
    "audits: an accusation is open": (WrongPhaseError, "Wait for its votes, or resolve it when they are over."),
    "audits: attestations are over": (WrongPhaseError, "Attest in the epoch after the audited one."),
    "audits: caller has no weight in this round": (NotAllowedError, "Only validators that the closing counted speak."),
    "audits: caller is not the deployer": (NotAllowedError, "Only the account that deployed it names the registry."),
    "audits: caller is the accused": (NotAllowedError, "The accused's weight counts as innocent already."),
    "audits: entry is not in the log": (LimitError, "Accuse the entry that the beacon picks, with its proof."),
    "audits: epoch is closing": (WrongPhaseError, "Help with: tercet epoch close, then try again."),
    "audits: epoch is not the last closed one": (WrongPhaseError, "A round is opened in the epoch after its own."),
    "audits: log is empty": (LimitError, "There is nothing to accuse in a log without entries."),
    "audits: log is too long": (LimitError, "A log has 1 to 2**20 entries."),
    "audits: no epoch was closed": (WrongPhaseError, "Wait until the first epoch is closed."),
    "audits: no evidence of this validator": (LimitError, "It published none; its held rewards are lost anyway."),
    "audits: no open accusation": (AlreadyDoneError, "It was decided, or there was none: tercet audit show."),
    "audits: no registry attached": (WrongPhaseError, "The deployer has to attach the registry first."),
    "audits: no such sample": (LimitError, "Name a sample below the number of samples."),
    "audits: not the round's evidence": (LimitError, "Give the list of the round's RoundOpened event."),
    "audits: not the validator's log": (LimitError, "Give the count and root that its evidence hashes."),
    "audits: one accusation a round": (AlreadyDoneError, "Another validator has to accuse, or the next round."),
    "audits: pool is in the round": (LimitError, "Settle its seat with: tercet audit settle."),
    "audits: proof has another length": (LimitError, "Give the nodes beside the way to the root, and no more."),
    "audits: registry is not a contract": (LimitError, "Name the deployed registry."),
    "audits: round can still be opened": (WrongPhaseError, "Open it, or wait for the end of this epoch."),
    "audits: round is already open": (AlreadyDoneError, "Somebody else was faster."),
    "audits: round is running": (WrongPhaseError, "Settle it in the epoch after."),
    "audits: round was never opened": (WrongPhaseError, "Take its held rewards away pool by pool with `forfeit`."),
    "audits: samples out of bounds": (LimitError, "Check 1 to 16 entries of a log."),
    "audits: seat changed hands": (NotAllowedError, "The seat's new validator speaks in the next round."),
    "audits: stake token is not a contract": (LimitError, "Name a deployed token."),
    "audits: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "audits: unknown market": (LimitError, "Name a market that the registry opened."),
    "audits: votes are over": (WrongPhaseError, "Resolve it: it is rejected."),
    "audits: votes are running": (WrongPhaseError, "Vote, or wait for the end of the votes."),
}

_EMISSION: dict[str, _Row] = {
    "allocator: beta_bps out of bounds": (LimitError, "Allowed for beta_bps: 1 to 9,000."),
    "allocator: fees is not a contract": (LimitError, "Deploy the fees contract first."),
    "emission: allocator is not a contract": (LimitError, "Name a deployed allocator."),
    "emission: approval failed": (LimitError, "The emission works with our own stake token only."),
    "emission: caller is not the owner": (NotAllowedError, "Only the emission's owner names another allocator."),
    "emission: fees is not a contract": (LimitError, "Deploy the fees contract first."),
    "emission: nothing proposed": (AlreadyDoneError, "The last proposal counts already, or was taken back."),
    "emission: nothing to collect": (
        AlreadyDoneError,
        "Nothing is due now; see what comes with: tercet emission show --market NAME",
    ),
    "emission: owner is the zero address": (LimitError, "Name an owner."),
    "emission: ownership was not offered to the caller": (NotAllowedError, "Let the owner offer it first."),
    "emission: period has expired": (WrongPhaseError, "Its claims are lost; what was left stays in the reserve."),
    "emission: period has not begun": (WrongPhaseError, "Ask for the running period or an earlier one."),
    "emission: period is not over": (WrongPhaseError, "Wait for the end of the period."),
    "emission: reserve above the cap": (LimitError, "Supply and reserve together may reach the token's cap."),
    "fees: amount is zero": (LimitError, "Burn more than nothing."),
    "fees: caller is not a source": (NotAllowedError, "Only the escrow and the held jobs bring fees."),
    "fees: caller is not the deployer": (
        NotAllowedError,
        "Only the account that deployed the fees names their sources.",
    ),
    "fees: lot below the minimum": (WrongPhaseError, "Somebody bought the lot first; look again."),
    "fees: lot is empty": (AlreadyDoneError, "Somebody bought it; wait for new fees."),
    "fees: nothing to forward": (AlreadyDoneError, "All of it was forwarded before."),
    "fees: price above the limit": (LimitError, "Wait until the price has fallen, or allow more."),
    "fees: registry is not a contract": (LimitError, "Deploy the registry first."),
    "fees: source is not a contract": (LimitError, "Name the deployed escrow."),
    "fees: sources already set": (AlreadyDoneError, "The sources are fixed for ever."),
    "fees: stake token is not a contract": (LimitError, "Deploy the stake token first."),
    "fees: token transfer failed": (InsufficientFundsError, "Check the balance and the allowance."),
    "fees: unknown market": (LimitError, "Name a market of this registry: tercet market list."),
    **{
        f"{who}: {name} out of bounds": (LimitError, f"Allowed for {name}: {bounds}.")
        for who, name, bounds in (
            ("emission", "beta_bps", "1 to 9,000"),
            ("emission", "expiry", "2 to 52 periods"),
            ("emission", "rate", "above 0, and 3 * rate * (expiry + 1) up to 10**18"),
            ("fees", "amount", "less than 2**128 base units"),
            ("fees", "forward_bps", "0 to 10,000"),
            ("fees", "half_life", "1 minute to 7 days"),
            ("fees", "min_reference", "above 0, less than 2**112 base units"),
            ("fees", "period_seconds", "1 minute to 365 days"),
        )
    },
}

REASONS: dict[str, _Row] = {
    **_TOKENS,
    **_ESCROW,
    **_FEE,
    **_JOBS,
    **_MARKET,
    **_TREASURY,
    **_RULES,
    **_STAKES,
    **_REGISTRY,
    **_AUDITS,
    **_EMISSION,
}
"""Every reason of our contracts."""


def build_revert(reason: str) -> RevertedError:
    """The typed error for a reason; one that is not ours keeps the base class."""
    kind, mend = REASONS.get(reason, (RevertedError, ""))
    shown = reason or "without a reason (wrong contract, wrong arguments or not enough gas)"
    return kind(f"The contract refused: {shown}. {mend}".rstrip(), reason=reason)
