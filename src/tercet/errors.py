"""Every error that Tercet raises on purpose.

Callers catch the base of what they did; people read the leaf.

    TercetError
    ├── UsageError               wrong words: an argument, a file or a setting      exit 2
    ├── RefusedError             a guard or a budget said no                        exit 3
    │   ├── BudgetError          the money reserved for this is spent
    │   │   └── OutOfBudgetError     a node of a run has too little left for a call
    │   ├── EndedError           an agent, a crew or a run was killed or stopped
    │   ├── ApprovalError        a person's yes does not cover this call
    │   ├── CapabilityError      an agent reached for what it was not given
    │   └── GuardError           an act rests on what nobody has checked
    ├── UnreachableError         no answer: network, chain or model server          exit 4
    ├── NotInstalledError        this machine lacks what the work needs; with it, the work goes on     exit 1
    ├── MarketError              a rule of the market was broken                    exit 1
    │   ├── WeightsError         scores that make no row of weights
    │   ├── RatingError          a rating of a machine that is malformed, or not signed by who it says
    │   └── ReplayError          a vectors file asks for what is out of scope
    ├── ChainError               the ledger refused or could not be read            exit 1
    ├── WireError                a request or an answer that cannot be trusted      exit 1
    │   ├── RefusalError         a server's typed no: code, retry_after
    │   └── MinerError           an exchange with a miner failed: one leaf for each reason
    ├── SwarmError               a run of agents cannot go on                       exit 1
    │   ├── PlanError            a plan that cannot be run
    │   ├── PackageMissingError  a Python package is not installed that the run needs
    │   ├── GoalError            the goal was not met: why, and what is left
    │   ├── ThinkingError        a model is down, slow or answers junk
    │   ├── CardError            an ask, an answer or a policy that says too little, or fits nothing     exit 2
    │   ├── ClaimError           a claim, or a check of one, that is none
    │   ├── ToolError            a tool of an agent could not do what it was asked
    │   ├── RecallError          the memory cannot be had, read or written
    │   ├── EnvelopeError        a message between agents that is not taken: code
    │   ├── AgentError           somebody else's agent failed
    │   │   ├── AgentUnreachableError   nobody answers at its address               exit 4
    │   │   └── AgentMissingError       it is not added, or cannot run here
    │   │       └── UnknownAgentError       no agent is called so                   exit 2
    │   ├── AttemptError         a try at a task came to nothing
    │   ├── WorkspaceError       files cannot be taken in, kept or merged
    │   └── JournalError         the journal cannot be read or written
    │       ├── DamagedJournalError     it was changed after it was written
    │       ├── BodyError               an event is too large for it, or no plain JSON
    │       ├── UnknownEventError       it has no such event, step or task          exit 2
    │       ├── DivergedError           a resumed scope asks for another step than it recorded
    │       ├── ReplayEndError          a replay came to a step that was never recorded
    │       └── RunLockedError          another process works on the run
    └── SubnetError              the work itself failed                             exit 1
        ├── TaskError            a task that no honest miner could answer
        ├── SubmissionError      what a miner sent is not what was asked for
        ├── SandboxError         work cannot be run in the sandbox
        │   └── SandboxMissingError     this machine cannot contain strangers' code
        ├── DamagedLogError      a judge's log was changed after it was written
        └── ModelError           a model file cannot be had, trusted or loaded
            └── ModelUnreachableError   not in the cache, and nowhere to fetch it from  exit 4

Each room adds its leaves below its base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class TercetError(Exception):
    """Base of all errors raised on purpose. The text says what, why and how to mend."""

    exit_code: ClassVar[int] = 1


class UsageError(TercetError):
    """An argument, a file or a setting is wrong."""

    exit_code = 2


class RefusedError(TercetError):
    """A guard or a budget refused."""

    exit_code = 3


class BudgetError(RefusedError):
    """The money set aside for this is spent."""


class CapabilityError(RefusedError):
    """An agent reached for what it was not given."""


class GuardError(RefusedError):
    """An act rests on what nobody has checked."""

    def __init__(self, message: str, claims: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.claims = tuple(claims)
        """Ids of the claims to check."""


class UnreachableError(TercetError):
    """Nobody answered in time."""

    exit_code = 4


class NotInstalledError(TercetError):
    """What the work needs is not on this machine. The work is not at fault, and goes on where that is installed."""


# market


class MarketError(TercetError):
    """A rule of the market was broken."""


class WeightsError(MarketError):
    """Scores that make no row of weights: a uid without a column, a number out of range."""


class RatingError(MarketError):
    """A rating of a machine is malformed, or not signed by the one that it names."""


class ReplayError(MarketError):
    """A vectors file is malformed or asks for something out of scope."""

    exit_code = 2


class LiquidAlphaError(ReplayError):
    """A vectors file asks for liquid alpha, which Tercet leaves out on purpose."""


# chain


class ChainError(TercetError):
    """The ledger refused, or cannot be read."""


class UnknownContractError(ChainError):
    """There is no compiled contract of this name."""


class UnknownJobError(ChainError):
    """No job of this id is held."""


class InvalidKeyError(ChainError):
    """A secret, a public key or an address is malformed."""

    exit_code = 2


class InvalidSignatureError(ChainError):
    """A signature is malformed, malleable, or belongs to no key."""


class KeystoreError(ChainError):
    """A keystore file is missing, malformed or in the way."""


class WrongPasswordError(KeystoreError):
    """The password does not open this keystore file."""


class ChainBusyError(ChainError):
    """Another process runs the development chain in this folder."""


class PortTakenError(ChainError):
    """The address to listen on is in use."""


class WrongChainError(ChainError):
    """The chain has another id, or another deployment, than expected."""


class ChainUnreachableError(ChainError, UnreachableError):
    """No answer from the chain's RPC endpoint in time."""

    exit_code = 4


class RpcError(ChainError):
    """The endpoint answered with a JSON-RPC error."""

    def __init__(self, message: str, *, code: int = 0, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class TransactionLostError(ChainError):
    """A transaction was sent and no receipt came in time; it may still be mined."""


class DeploymentError(ChainError):
    """A deployment file is missing, malformed, or names contracts that are not there."""


class RevertedError(ChainError):
    """A contract refused. The leaf says why; an unknown reason keeps this class."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class NotRegisteredError(RevertedError):
    """The caller is no miner or validator of this market."""


class NotAllowedError(RevertedError):
    """The caller is not the one who may do this."""


class WrongPhaseError(RevertedError):
    """The epoch is not in the phase that this needs; try again later."""


class AlreadyDoneError(RevertedError):
    """Somebody, perhaps we, did this before; nothing is left to do."""


class InsufficientFundsError(RevertedError):
    """A balance, an allowance, a stake or a deposit is too small."""


class VoucherRefusedError(RevertedError):
    """The Escrow does not take this voucher or channel."""


class WrongHintError(RevertedError):
    """A consensus hint does not fit the revealed weights."""


class LimitError(RevertedError):
    """An argument is out of the contract's bounds."""


# wire


class WireError(TercetError):
    """A request or an answer that cannot be trusted or served."""


class RefusalError(WireError):
    """What a server answers instead of work. `code` is one of `tercet.nodes.wire.CODES`."""

    def __init__(self, code: str, *, retry_after: float = 0.0, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after
        """Seconds; 0 means that waiting does not help."""
        self.facts: Mapping[str, Any] = facts or {}
        """What the caller needs to mend it, such as the server's time; never a part of the request."""


class MinerError(WireError):
    """An exchange with a miner failed; the leaf says whose fault it is."""


class MinerUnreachable(MinerError):  # noqa: N818 - reads as the sentence it is where it is caught
    """Nobody answered in time, or the connection broke."""

    exit_code = 4
    sent = True
    """False when there was no connection at all, so that the miner cannot have seen the request."""


class MinerRefused(MinerError):  # noqa: N818
    """The miner said no, in words it signed where it knew who asked."""

    exit_code = 3

    def __init__(
        self, message: str, *, code: str, retry_after: float = 0.0, facts: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        """Seconds; 0 means that waiting does not help."""
        self.facts: Mapping[str, Any] = facts or {}


class MinerMisbehaved(MinerError):  # noqa: N818
    """What came back is altered, unsigned, junk or overcharged."""

    def __init__(self, message: str, *, evidence: bytes = b"") -> None:
        super().__init__(message)
        self.evidence = evidence
        """The signed bytes that show it, where there are any."""


# gateway


class UnknownKeyError(RefusedError):
    """An API key opens nothing here."""

    def __init__(self, why: str) -> None:
        super().__init__(f"This API key is {why}. Ask the gateway's owner for one: tercet key new.")
        self.why = why
        """`missing`, `unknown`, `expired` or `revoked`."""


class BudgetSpentError(BudgetError):
    """An API key's budget cannot pay for the call."""

    def __init__(self, message: str, *, needed: int, left: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.left = left


class CallError(UsageError):
    """A call that the gateway understands but cannot serve as it was asked."""

    def __init__(
        self, message: str, *, status: int = 422, code: str = "invalid_value", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status to answer with."""
        self.code = code
        self.param = param


class NoMinerError(UnreachableError):
    """No miner gave an answer."""

    def __init__(self, message: str, *, retry_after: float = 2.0, refusals: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which trying again makes sense."""
        self.refusals = refusals
        """Codes with which miners said no."""


class BusyError(UnreachableError):
    """The gateway has too many calls in flight already."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


# validator


class StateLockedError(RefusedError):
    """Another process works with this state folder."""


class StateMismatchError(UsageError):
    """A state folder belongs to another chain, market or key."""


class RulesMismatchError(RefusedError):
    """The market asks for another mechanism, or another version of it, than is installed."""


# subnets


class SubnetError(TercetError):
    """The work itself failed: no model, bad task, broken tool."""


class TaskError(SubnetError):
    """A task that no honest miner could answer: wrong shape, or past a limit."""


class SubmissionError(SubnetError):
    """What a miner sent is not what was asked for: wrong shape, wrong type, too large. The text is for the miner."""


class SandboxError(SubnetError):
    """Work cannot be run in the sandbox as it was asked to."""


class SandboxMissingError(SandboxError, NotInstalledError):
    """The machine cannot contain strangers' code."""


class DamagedLogError(SubnetError):
    """A judge's log was changed after it was written."""

    def __init__(self, message: str, *, line: int) -> None:
        super().__init__(message)
        self.line = line
        """The first line that is wrong, counted from 1; 0 when it is the end that is missing."""


class ModelError(SubnetError):
    """A model file cannot be had, trusted or loaded."""


class ModelUnreachableError(ModelError):
    """A model is not in the cache, and there is nowhere to fetch it from."""

    exit_code = 4


# swarm


class SwarmError(TercetError):
    """A run of agents cannot go on."""


class PlanError(SwarmError):
    """A plan that cannot be run: a cycle, an unknown need, more money than there is."""


class PackageMissingError(SwarmError, NotInstalledError):
    """A Python package is not installed that the run needs."""


class GoalError(SwarmError):
    """The goal was not met."""


class CardError(SwarmError):
    """An ask, an answer or a policy says too little, or fits nothing that waits."""

    exit_code = 2


class ApprovalError(RefusedError):
    """A person's yes does not cover this call: it was for another, is over, or was used."""


class ClaimError(SwarmError):
    """A claim, or a check of one, that is none."""


class ToolError(SwarmError):
    """A tool of an agent could not do what it was asked."""


class RecallError(SwarmError):
    """The memory cannot be had, read or written."""


class JournalError(SwarmError):
    """The journal cannot be read or written."""


class DamagedJournalError(JournalError):
    """The journal was changed after it was written."""

    def __init__(self, message: str, seq: int) -> None:
        super().__init__(message)
        self.seq = seq
        """The first event that does not follow."""


class BodyError(JournalError):
    """An event is too large for the journal, or no plain JSON; the journal is sound, and takes others."""


class UnknownEventError(JournalError):
    """A journal has no event, step or task that is called so."""

    exit_code = 2


class RunLockedError(JournalError):
    """Another process works on the run."""


class DivergedError(JournalError):
    """A resumed scope asks for another step than it recorded at this number."""

    def __init__(self, message: str, *, scope: str, number: int) -> None:
        super().__init__(message)
        self.scope = scope
        self.number = number


class ReplayEndError(JournalError):
    """A replay came to a step that was never recorded."""

    def __init__(self, message: str, *, scope: str, number: int) -> None:
        super().__init__(message)
        self.scope = scope
        self.number = number


class ThinkingError(SwarmError):
    """A model is down, slow, refuses the question or answers junk."""

    def __init__(
        self,
        message: str,
        *,
        again: bool = True,
        unsure: bool = False,
        charged: int = 0,
        prompt: int = 0,
        completion: int = 0,
    ) -> None:
        super().__init__(message)
        self.again = again
        """False when the same question would be refused again."""
        self.unsure = unsure
        """A request went out whose answer did not come: its seller may have charged for it, over what is said below."""
        self.charged = charged
        """Credit units that it cost all the same, for answers that were paid and no use."""
        self.prompt = prompt
        self.completion = completion
        """Tokens of those answers."""


class OutOfBudgetError(BudgetError):
    """A node of a run has too little left for a call."""

    def __init__(
        self, message: str, *, node: str, needed: float, left: float, resource: str = "credit", pending: float = 0
    ) -> None:
        super().__init__(message)
        self.node = node
        self.needed = needed
        self.left = left
        self.resource = resource
        """`credit`, `tokens` or `seconds`."""
        self.pending = pending
        """What calls in flight hold of it, and may give back."""


class EndedError(RefusedError):
    """An agent, a crew or a run was killed or stopped."""

    def __init__(self, node: str, why: str) -> None:
        super().__init__(f"{node!r} thinks no more: {why}. tercet resume goes on with a run that was stopped.")
        self.node = node
        self.why = why


class EnvelopeError(SwarmError):
    """A message between agents is not taken."""

    def __init__(self, message: str, *, code: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        """One of `tercet.swarm.envelope.CODES`."""
        self.retry_after = retry_after
        """Seconds; 0 means that waiting does not help."""


class AgentError(SwarmError):
    """Somebody else's agent failed: it died, said nonsense, took too long, or refused."""


class AgentUnreachableError(AgentError, UnreachableError):
    """Nobody answers at an agent's address."""

    exit_code = 4


class AgentMissingError(AgentError):
    """An agent is not added here, or this machine cannot run it."""


class UnknownAgentError(AgentMissingError):
    """No agent of this name is added here."""

    exit_code = 2


class WorkspaceError(SwarmError):
    """A run's files cannot be taken in, kept or merged."""


class AttemptError(SwarmError):
    """A try at a task came to nothing; another one may do better."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final
        """Trying again cannot help."""
