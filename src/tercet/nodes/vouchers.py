"""The rules of paying by cumulative voucher, without I/O: what each side may do next.

A miner works only under cover: its best voucher is at least what it charged, plus what its running
work may cost. A buyer promises what was charged, plus what may still be charged. Everything else
follows from these two sentences; docs/explanation/payments.md tells the story.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tercet.errors import BudgetError, MinerMisbehaved, RefusalError
from tercet.market import CREDIT, Amount

MAX_UNITS = 2**63 - 1
"""Largest amount the books hold: nine billion billion units, where the contract's limit is 2**128."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A channel as its miner sees it, in credit units."""

    deposit: int
    """What the payer has put in so far; redeemed or not."""
    best: int = 0
    """The highest promise seen."""
    charged: int = 0
    """All charges so far."""
    reserved: int = 0
    """The most that running work may still cost."""

    def accept(self, promised: int, reserve: int) -> Standing:
        """Take on work of at most `reserve` under a genuine voucher of `promised`.

        Raises:
            RefusalError: `voucher_overspent`, or `voucher_stale` when the best voucher, this one
                included, does not cover what is owed and reserved.
        """
        if promised > self.deposit:
            raise RefusalError("voucher_overspent")
        best = max(self.best, promised)
        if best < self.charged + self.reserved + reserve:
            raise RefusalError("voucher_stale")
        return Standing(self.deposit, best, self.charged, self.reserved + reserve)

    def settle(self, reserve: int, charge: int) -> Standing:
        """The work is done for `charge`, at most its reserve."""
        assert 0 <= charge <= reserve <= self.reserved
        return Standing(self.deposit, self.best, self.charged + charge, self.reserved - reserve)


@dataclass(frozen=True, slots=True)
class Debt:
    """A channel as its payer sees it, in credit units."""

    signed: int = 0
    """The highest promise ever signed: the most that can be taken."""
    charged: int = 0
    """What the miner's signed answers add up to, as far as they came."""
    lost: int = 0
    """Reserves of requests whose answers never came: charged or not, nobody told us yet."""
    in_flight: int = 0
    """Reserves of requests that are under way."""
    doubt: int = 0
    """Reserves once lost and then not found in the miner's total: it may still charge them."""

    def promise(self, reserve: int, deposit: int) -> tuple[Debt, int]:
        """Send one more request of at most `reserve`.

        Returns:
            The debt, and the amount that the voucher must carry.

        Raises:
            BudgetError: the deposit does not allow for it.
        """
        amount = self.charged + self.lost + self.in_flight + reserve
        if amount > deposit:
            raise BudgetError(
                f"The channel's deposit of {_credit(deposit)} does not cover {_credit(amount)}: {_credit(self.charged)}"
                f" charged, {_credit(self.lost + self.in_flight)} unanswered, {_credit(reserve)} for this request. Top it up."
            )
        signed, in_flight = max(self.signed, amount), self.in_flight + reserve
        return Debt(signed, self.charged, self.lost, in_flight, self.doubt), amount

    def acknowledge(self, reserve: int, charge: int, total: int, *, alone: bool) -> Debt:
        """A verified answer came, for `charge`; by it the miner has charged `total` in all.

        Args:
            reserve: what was reserved for the request.
            charge: what the answer costs.
            total: the miner's running total, this answer included.
            alone: nothing else is in flight, and nothing was lost since the request was sent; so the
                total says what became of everything that was lost before.

        Raises:
            MinerMisbehaved: more than was allowed for.
        """
        if charge > reserve:
            raise MinerMisbehaved(f"The miner charged {_credit(charge)}, {_credit(reserve)} was agreed at most.")
        rest = Debt(self.signed, self.charged + charge, self.lost, self.in_flight - reserve, self.doubt)
        rest.validate_total(total)
        if not alone or (rest.lost == 0 and rest.charged == total):
            return rest
        missing = max(0, rest.charged + rest.lost - total) if rest.lost else 0
        return replace(rest, charged=total, lost=0, doubt=min(rest.doubt + missing, MAX_UNITS))

    def validate_total(self, total: int) -> None:
        """Raise `MinerMisbehaved` when a total is above all that was charged or may have been."""
        most = self.charged + self.lost + self.in_flight + self.doubt
        if total > most:
            raise MinerMisbehaved(
                f"The miner states {_credit(total)} in all; at most {_credit(most)} can have been charged."
            )

    def lose(self, reserve: int) -> Debt:
        """No answer came: the miner may have charged, up to the reserve."""
        return replace(self, in_flight=self.in_flight - reserve, lost=self.lost + reserve)

    def release(self, reserve: int) -> Debt:
        """The miner signed that it did not do the work: nothing was charged."""
        return replace(self, in_flight=self.in_flight - reserve)

    def catch_up(self, total: int, best: int) -> Debt:
        """A refusal tells the miner's total and the best of our own vouchers that it holds.

        `best` must be proven to be ours. When it is above what our book has, the book is an old copy:
        believe the voucher, and count as lost what the total leaves open.

        Raises:
            MinerMisbehaved: a total that we never signed, or that cannot have come about.
        """
        if total > max(best, self.signed):
            signed = max(best, self.signed)
            raise MinerMisbehaved(f"The miner states {_credit(total)} in all; we signed {_credit(signed)} at most.")
        if best > self.signed:
            return replace(self, signed=best, charged=total, lost=best - total, doubt=0)
        self.validate_total(total)
        return replace(self, charged=max(self.charged, total))


def restore_debt(signed: int, charged: int) -> Debt:
    """The debt after a restart: all that was signed and not acknowledged may have been charged."""
    return Debt(signed=signed, charged=charged, lost=max(0, signed - charged))


def _credit(units: int) -> str:
    return str(Amount(units, CREDIT))
