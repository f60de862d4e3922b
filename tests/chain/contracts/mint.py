"""A town with the contracts that bring money into markets: fees, emission, an allocator, and stubs round them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.chain.contracts.evm import Contract, Ledger

from tercet.market.emission import AuctionRules, EmissionRules

TCT = 10**18
CREDIT = 10**6
CAP = 100_000_000 * TCT
DAY = 86_400
HOUR = 3_600


@dataclass(slots=True)
class Setup:
    """What the contracts are deployed with."""

    forward_bps: int = 5_000
    half_life: int = HOUR
    min_reference: int = TCT
    period_seconds: int = DAY
    supply: int = CAP // 2
    reserve: int = CAP // 2
    rate: int = 10**16
    beta_bps: int = 5_000
    expiry: int = 4


@dataclass(slots=True)
class Mint:
    """Deployed contracts, a bank that has all the stake token, and markets that pay a group whatever they get."""

    setup: Setup = field(default_factory=Setup)
    ledger: Ledger = field(default_factory=Ledger)
    bank: str = ""
    owner: str = ""
    group: str = ""
    source: str = ""
    token: Contract = field(init=False)
    credit: Contract = field(init=False)
    town: Contract = field(init=False)
    fees: Contract = field(init=False)
    allocator: Contract = field(init=False)
    emission: Contract = field(init=False)

    def __post_init__(self) -> None:
        ledger, setup = self.ledger, self.setup
        self.bank, self.owner, self.group = (ledger.account(role) for role in ("bank", "owner", "group"))
        self.source = ledger.deploy_code(b"\0")  # fees come from a contract
        self.token = ledger.deploy("Token", self.bank, setup.supply, sender=self.owner)
        self.credit = ledger.deploy("Credit", self.bank)
        self.town = ledger.deploy_source("Town")
        rules = setup.forward_bps, setup.half_life, setup.min_reference, setup.period_seconds
        self.fees = ledger.deploy("Fees", self.token.address, self.town.address, *rules, sender=self.owner)
        self.allocator = ledger.deploy("Allocator", self.fees.address, setup.beta_bps)
        schedule = setup.reserve, setup.rate, setup.beta_bps, setup.expiry
        self.emission = ledger.deploy(
            "Emission", self.fees.address, self.allocator.address, self.owner, *schedule, sender=self.owner
        )
        self.fees.send(self.owner, "set_sources", self.source, self.source)
        self.token.send(self.owner, "set_minter", self.emission.address)

    @property
    def auction(self) -> AuctionRules:
        return AuctionRules(self.setup.half_life, self.setup.min_reference)

    @property
    def schedule(self) -> EmissionRules:
        setup, start = self.setup, self.fees.call("start")
        return EmissionRules(setup.reserve, setup.rate, setup.beta_bps, setup.expiry, start, setup.period_seconds)

    @property
    def period(self) -> int:
        return int(self.fees.call("period"))

    def open_market(self, reward_token: Contract | None = None) -> Contract:
        """A listed market; it is its own treasury and passes everything on to the group."""
        reward = reward_token or self.credit
        market = self.ledger.deploy_source("Place", reward.address, self.token.address, self.group)
        self.town.send(self.bank, "add", market.address)
        return market

    def rich(self, role: str = "bidder", stake: int = 1_000_000 * TCT) -> str:
        """An account with stake token, which the fees may take."""
        account = self.ledger.account(role)
        self.token.send(self.bank, "transfer", account, stake)
        self.token.send(account, "approve", self.fees.address, 2**256 - 1)
        return account

    def pay(self, market: str, amount: int, payer: str | None = None, token: Contract | None = None) -> None:
        """A fee from a payer's purse (else from nowhere), as the escrow brings it."""
        token = token or self.credit
        if payer is None:
            self.credit.send(self.bank, "mint", self.fees.address, amount)
        else:
            token.send(payer, "transfer", self.fees.address, amount)
        self.fees.send(self.source, "take", token.address, market, amount)

    def ask(self, market: Contract) -> tuple[int, int]:
        """Amount and price of a market's lot of credit."""
        amount, price = self.fees.call("ask", self.credit.address, market.address)
        return amount, price

    def buy(self, bidder: str, market: Contract) -> tuple[int, int]:
        """Buy a market's lot of credit at any price."""
        bought = self.fees.send(bidder, "buy", self.credit.address, market.address, 0, 2**256 - 1)
        amount, burned = bought.value
        return amount, burned

    def wait_for_period(self, period: int) -> None:
        """Let time pass until a period begins."""
        self.ledger.now = self.schedule.opens(period)
