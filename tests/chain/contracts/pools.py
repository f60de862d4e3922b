"""Stakes with people in them, beside a market that says only what a test tells it to say."""

from __future__ import annotations

from typing import Any

from tests.chain.contracts.evm import Contract, Ledger, Receipt

TCT = 10**18
SUPPLY = 10**26
ALL = 2**256 - 1
NOBODY = "0x" + "00" * 20


class Pools:
    """The stakes of one market. The stub market is its own treasury; pools are numbered from 1."""

    def __init__(
        self,
        *,
        min_stake: int = 100 * TCT,
        unbonding_epochs: int = 3,
        audit_share_bps: int = 0,
        audited: bool = True,
        one_token: bool = False,
        reward_stub: str = "",
    ) -> None:
        self.ledger = Ledger()
        self.bank = self.ledger.account("bank")
        self.registry = self.ledger.account("registry")
        self.audits = self.ledger.account("audits")
        self.token = self.ledger.deploy("Token", self.bank, SUPPLY)
        if reward_stub:
            self.credit = self.ledger.deploy_source(reward_stub)
        else:
            self.credit = self.token if one_token else self.ledger.deploy("Credit", self.bank)
        self.terms = (min_stake, unbonding_epochs, audit_share_bps)
        self.market = self.ledger.deploy_source("stub_market", self.credit.address, self.terms)
        audits = self.audits if audited else NOBODY
        self.stakes = self.ledger.deploy(
            "Stakes", self.token.address, self.credit.address, audits, sender=self.registry
        )
        self.stakes.send(self.registry, "attach", self.market.address, self.market.address)
        self.count = 0

    @property
    def epoch(self) -> int:
        return int(self.market.call("epoch"))

    def account(self, role: str, amount: int = 0) -> str:
        """Somebody new with so much stake token, all of it approved."""
        who = self.ledger.account(role)
        self.give(who, amount)
        return who

    def give(self, who: str, amount: int) -> None:
        self.token.send(self.bank, "transfer", who, amount)
        self.token.send(who, "approve", self.stakes.address, ALL)

    def open(self, owner: str, amount: int, take_bps: int = 0) -> int:
        """A new pool of this owner, who has the amount already."""
        self.count += 1
        self.stakes.send(self.market.address, "open_pool", self.count, owner, amount, take_bps)
        return self.count

    def close(self, pool: int) -> None:
        self.stakes.send(self.market.address, "close_pool", pool)

    def set_terms(self, **changed: int) -> None:
        minimum, epochs, share = self.terms
        self.terms = (
            changed.get("min_stake", minimum),
            changed.get("unbonding_epochs", epochs),
            changed.get("audit_share_bps", share),
        )
        self.market.send(self.bank, "set_terms", self.terms)

    def next_epoch(self, times: int = 1) -> None:
        for _ in range(times):
            self.market.send(self.bank, "next_epoch")

    def wind_down(self) -> None:
        self.market.send(self.bank, "wind_down")

    def reward(self, amounts: dict[int, int] | list[tuple[int, int]], token: Contract | None = None) -> Receipt:
        """Pay pools for the running epoch, as the treasury does; a pool may stand there more than once."""
        token = token or self.credit
        seats = list(amounts.items() if isinstance(amounts, dict) else amounts)
        pools, paid = [pool for pool, _ in seats], [amount for _, amount in seats]
        if token is self.token:
            token.send(self.bank, "transfer", self.stakes.address, sum(paid))
        else:
            token.send(self.bank, "mint", self.stakes.address, sum(paid))
        return self.stakes.send(self.market.address, "reward", self.epoch, token.address, pools, paid)

    def effective(self, pool: int, min_own: int | None = None) -> int:
        needed = self.terms[0] if min_own is None else min_own
        return int(self.stakes.call("effective", [pool], needed)[0])

    def position(self, pool: int, who: str) -> dict[str, int]:
        return dict(self.stakes.call("get_position", pool, who))

    def pool(self, pool: int) -> dict[str, Any]:
        return dict(self.stakes.call("get_pool", pool))

    def leftover(self) -> tuple[int, int]:
        """What lies in the contract beside what the books say, by token; the second is 0 with one token."""
        books = self.stakes.call("books")
        of_stake = books["bonded"] + books["unbonding"] + books["stake_reward"]
        here = self.token.call("balanceOf", self.stakes.address)
        if self.credit is self.token:
            return here - of_stake - books["reward"], 0
        return self.credit.call("balanceOf", self.stakes.address) - books["reward"], here - of_stake
