"""One pool of stake in integers: who holds how much of it, what it weighs, what it earns, what a slash leaves.

The exact twin of `Stakes.vy`, pool by pool, told the plain way: at each epoch every position is rolled, at each reward
every position is credited. The contract does the same lazily, with an index, and must come to equal integers.

Knows nothing of chains, files or clocks. Quotients are floored where the text does not say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tercet.errors import UsageError

PRECISION = 10**27
"""Rewards per share are counted over this."""

MAX_TAKE_BPS = 2_000
"""The most that a pool's owner may take of what delegators' shares earn."""

MAX_DEPTH = 24
"""A pool takes no new stake once slashing has left less than 2**-24 of what a share was worth at first."""

MAX_REWARDS = 2**112
"""Unclaimed rewards of one token stay below this in all pools of a market together."""

AUDITED_UP_TO_BPS = 3_000
"""A seat that earned more of an epoch's pot than this, ten-thousandths, is paid without an audit: its others would weigh
so little that any stranger with a few seats could withhold its pay by not vouching."""

REWARD, STAKE = 0, 1
"""The two tokens of a reward, as indexes."""


@dataclass(slots=True)
class Position:
    """What one account has in a pool."""

    active: int = 0
    """Shares held since before the epoch."""
    pending: int = 0
    """Shares that came in the epoch."""
    unbonding: int = 0
    """Shares of the unbonding tokens."""
    release_epoch: int = 0
    """First epoch in which the unbonding tokens can be withdrawn."""
    earned: list[int] = field(default_factory=lambda: [0, 0])
    """By token, times `PRECISION`: since the position was settled."""
    settled: list[int] = field(default_factory=lambda: [0, 0])
    """By token: settled and not claimed yet."""

    @property
    def shares(self) -> int:
        """All bonded shares."""
        return self.active + self.pending


@dataclass(slots=True)
class Pool:
    """One validator's pool. Amounts are base units; `UsageError` carries the reason that the contract gives."""

    owner: str
    take_bps: int = 0
    epoch: int = 0
    """The running epoch; `roll` moves it."""
    bonded: int = 0
    unbonding: int = 0
    closed: bool = False
    next_take: tuple[int, int] | None = None
    """An announced raise of the take: (bps, first epoch)."""
    positions: dict[str, Position] = field(default_factory=dict)
    pot: list[int] = field(default_factory=lambda: [0, 0])
    """By token: what the shares have earned and no position has settled yet."""
    dust: list[int] = field(default_factory=lambda: [0, 0])
    """By token: the part of the pot that could not be expressed for each share yet; joins the next reward."""
    take: list[int] = field(default_factory=lambda: [0, 0])
    """By token: what the owner can claim beside what its shares earn."""
    held: dict[int, list[int]] = field(default_factory=dict)
    """By epoch, by token: the part of the rewards that waits for an audit."""

    @property
    def active(self) -> int:
        """All shares that count in this epoch."""
        return sum(position.active for position in self.positions.values())

    @property
    def shares(self) -> int:
        """All shares behind the bonded tokens."""
        return sum(position.shares for position in self.positions.values())

    @property
    def unbonding_shares(self) -> int:
        """All shares behind the unbonding tokens."""
        return sum(position.unbonding for position in self.positions.values())

    def worth(self, shares: int) -> int:
        """The bonded tokens behind so many shares."""
        return shares * self.bonded // self.shares if self.shares else 0

    def position(self, who: str) -> Position:
        """What an account has; an empty position when it has nothing."""
        return self.positions.setdefault(who, Position())

    # --- Stake ---

    def roll(self, epoch: int) -> None:
        """A new epoch: what was pending is active, and an announced take that is due counts."""
        if epoch == self.epoch:
            return
        self.epoch = epoch
        for position in self.positions.values():
            position.active += position.pending
            position.pending = 0
        if self.next_take is not None and epoch >= self.next_take[1]:
            self.take_bps, self.next_take = self.next_take[0], None

    def stake(self, who: str, amount: int) -> int:
        """Add pending shares; returns how many."""
        _require(amount > 0, "amount is zero")
        _require(not self.closed, "pool is closed")
        shallow = self.shares <= self.bonded << MAX_DEPTH and self.unbonding_shares <= self.unbonding << MAX_DEPTH
        _require(shallow, "pool was slashed away")
        shares = amount * self.shares // self.bonded if self.shares else amount
        self.settle(who)
        self.position(who).pending += shares
        self.bonded += amount
        return shares

    def unstake(self, who: str, amount: int | None, *, min_stake: int, unbonding_epochs: int) -> int:
        """Take shares, rounded up and newest first, and let their tokens unbond; `None` means all. Returns the tokens."""
        mine = self.position(who)
        worth = self.worth(mine.shares)
        tokens = worth if amount is None else amount
        _require(tokens <= worth, "more than the stake")
        gone = mine.shares if tokens == worth else -(-tokens * self.shares // self.bonded)
        _require(gone > 0, "amount is zero")
        if who == self.owner and not self.closed:
            left = self.shares - gone
            rest = (mine.shares - gone) * (self.bonded - tokens) // left if left else 0
            _require(rest >= min_stake, "own stake below the minimum")
        self.settle(who)
        if tokens:
            behind = self.unbonding_shares
            mine.unbonding += tokens * behind // self.unbonding if behind else tokens
            mine.release_epoch = self.epoch + unbonding_epochs
        newest = min(gone, mine.pending)
        mine.pending -= newest
        mine.active -= gone - newest
        self.bonded -= tokens
        self.unbonding += tokens
        if not self.shares:
            self._give_dust()
        return tokens

    def withdraw(self, who: str, *, wound_down: bool = False) -> int:
        """Pay what has unbonded; returns the tokens."""
        mine = self.position(who)
        _require(mine.unbonding > 0, "nothing to withdraw")
        _require(self.epoch >= mine.release_epoch or wound_down, "still unbonding")
        amount = mine.unbonding * self.unbonding // self.unbonding_shares
        mine.unbonding = mine.release_epoch = 0
        self.unbonding -= amount
        return amount

    def effective(self, min_own: int) -> int:
        """What the pool weighs: the least stake held over the running epoch so far."""
        if self.closed or self.worth(self.position(self.owner).active) < min_own:
            return 0
        return self.worth(self.active)

    def slash(self, bps: int) -> int:
        """Cut bonded and unbonding tokens alike; returns the sum of both cuts."""
        _require(0 < bps <= 10_000, "slash out of bounds")
        bonded, unbonding = self.bonded * bps // 10_000, self.unbonding * bps // 10_000
        self.bonded -= bonded
        self.unbonding -= unbonding
        return bonded + unbonding

    # --- Rewards ---

    def set_take(self, take_bps: int, *, unbonding_epochs: int) -> int:
        """Lower the take at once, or announce a raise; returns the first epoch in which it counts."""
        _require(not self.closed, "pool is closed")
        _require(take_bps <= MAX_TAKE_BPS, "take above the maximum")
        if take_bps > self.take_bps:
            self.next_take = take_bps, self.epoch + unbonding_epochs + 1
            return self.next_take[1]
        self.take_bps, self.next_take = take_bps, None
        return self.epoch

    def reward(self, token: int, amount: int, audit_share_bps: int) -> None:
        """Hold this share (see `audit_share`) of a reward of the running epoch, and share out the rest."""
        kept = amount * audit_share_bps // 10_000
        if kept:
            self.held.setdefault(self.epoch, [0, 0])[token] += kept
        self._share_out(token, amount - kept)

    def release(self, epoch: int) -> tuple[int, int]:
        """Share out what was held of an epoch's rewards; returns it by token."""
        held = self.forfeit(epoch)
        for token in (REWARD, STAKE):
            if held[token]:
                self._share_out(token, held[token])
        return held

    def forfeit(self, epoch: int) -> tuple[int, int]:
        """Take away what was held of an epoch's rewards; returns it by token."""
        _require(epoch in self.held, "nothing is held")
        reward, stake = self.held.pop(epoch)
        return reward, stake

    def claim(self, who: str) -> tuple[int, int]:
        """Pay what a position has earned, to the owner with the take; returns it by token."""
        paid = self.claimable(who)
        _require(sum(paid) > 0, "nothing to claim")
        self.settle(who)
        self.position(who).settled = [0, 0]
        if who == self.owner:
            self.take = [0, 0]
        return paid

    def claimable(self, who: str) -> tuple[int, int]:
        """What `claim` would pay now, by token."""
        mine = self.position(who)
        take = self.take if who == self.owner else [0, 0]
        reward, stake = (mine.settled[t] + mine.earned[t] // PRECISION + take[t] for t in (REWARD, STAKE))
        return reward, stake

    def settle(self, who: str) -> None:
        """Turn what a position has earned into whole base units; the fraction stays in the pot."""
        mine = self.position(who)
        for token in (REWARD, STAKE):
            whole = mine.earned[token] // PRECISION
            mine.earned[token] = 0
            mine.settled[token] += whole
            self.pot[token] -= whole

    def _share_out(self, token: int, amount: int) -> None:
        active = self.active
        if not active:
            self.take[token] += amount
            return
        take = amount * self.take_bps // 10_000
        spread = (amount - take + self.dust[token]) * PRECISION
        for position in self.positions.values():
            position.earned[token] += position.active * (spread // active)
        self.take[token] += take
        self.pot[token] += amount - take
        self.dust[token] = spread % active // PRECISION

    def _give_dust(self) -> None:
        """Nobody is left whose pot it could be."""
        for token in (REWARD, STAKE):
            self.take[token] += self.pot[token]
            self.pot[token] = self.dust[token] = 0


def audit_share(amount: int, earned: int, audit_share_bps: int) -> int:
    """What is held of a seat's amount, ten-thousandths: nothing if it is too large a part of what all seats earned."""
    return audit_share_bps if amount * 10_000 <= earned * AUDITED_UP_TO_BPS else 0


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise UsageError(f"stakes: {reason}")
