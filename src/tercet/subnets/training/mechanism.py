"""The `training` mechanism: ties the miner's and the validator's side to the roles. Light to import; torch comes at `open`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tercet.errors import SubnetError, UsageError
from tercet.market import Price, Task, Usage, Verdict
from tercet.subnets.mechanism import Contender, Piece, Recheck, Role, Submission
from tercet.subnets.training.rogues import BEHAVIOURS, Behaviour
from tercet.subnets.training.tasks import SIZES, Rules, parse_task

if TYPE_CHECKING:  # both load torch
    from tercet.subnets.training.miner import Trainer
    from tercet.subnets.training.outlet import StoreServer
    from tercet.subnets.training.panel import Panel

__all__ = ["Training"]


class Training:
    """A market that trains one model together: one DiLoCo round in each epoch.

    A task is `{"kind": "round", "round", "checkpoint", "seed", "rules"}`; the answer is one piece `{"update", "usage"}`:
    a compressed change of the checkpoint, in base64. The options of the rules (model to base) are the market's and the
    same for all its validators; miners must name the same model, rank and base, and learn the rest from the task.

    Args:
        model: a size (nano, tiny, small, medium, large) or `package.module:factory` of code that is installed here.
        corpus: `docs`, `builtin`, a text file or a folder. Miners get the market's text from the store if theirs differs.
        steps: inner steps of a round.
        batch: windows in a batch.
        context: tokens in a window; the model's own when absent.
        fraction: one value in so many travels.
        rate: of the outer step.
        momentum: of the outer step.
        rank: of low-rank adapters that are trained in place of the whole model; 0 trains the whole model.
        base: a safetensors file with the weights to begin with.
        store: folders or URLs of validators' stores, with commas between them; the first is asked first.
        peers: a validator's: stores of the other validators, `URL,URL=WEIGHT`.
        weight: a validator's own beside its peers'.
        sync_seconds: how long a validator waits for its peers to finish a round.
        serve: `HOST:PORT` where a validator serves its store; empty serves nothing.
        folder: where the role keeps its state. A validator needs one; a miner without one forgets Adam's state.
        inner_rate: a miner's learning rate.
        processes: of a miner's inner loop; more than 1 runs it with torchrun, on as many GPUs where there are.
        parallel: ddp, or fsdp for models that do not fit one GPU; either runs even one process with torchrun.
        device: where the model computes: auto (a GPU where there is one), cpu, or cuda:N. Several processes take a GPU
            each (nccl), or share the one that is named (gloo).
        threads: of the CPU.
        behaviour: honest, or one of `rogues`.

    """

    name: ClassVar[str] = "training"
    version: ClassVar[int] = 1

    def __init__(
        self,
        model: str = "small",
        *,
        corpus: str = "docs",
        steps: int = 20,
        batch: int = 16,
        context: int | None = None,
        fraction: int = 8,
        rate: float = 0.7,
        momentum: float = 0.5,
        rank: int = 0,
        base: str = "",
        store: str = "",
        peers: str = "",
        weight: float = 1.0,
        sync_seconds: float = 5.0,
        serve: str = "",
        folder: str | Path | None = None,
        inner_rate: float = 3e-3,
        processes: int = 1,
        parallel: str = "",
        device: str = "auto",
        threads: int = 1,
        behaviour: Behaviour = "honest",
    ) -> None:
        if behaviour not in BEHAVIOURS:
            raise UsageError(f"No behaviour is called {behaviour!r}. Known: {', '.join(BEHAVIOURS)}.")
        if parallel not in {"", "ddp", "fsdp"}:
            raise UsageError(f"The inner loop runs in parallel by ddp or fsdp, not {parallel!r}.")
        seen = context or (SIZES[model].context if model in SIZES else 64)
        rules = Rules(model, "0" * 64, steps, batch, seen, fraction, float(rate), float(momentum), rank)
        self._rules = parse_task(_task_of(rules)).rules  # the same bounds for our owner as for strangers
        self._corpus, self._base = corpus, base
        self._store, self._peers, self._weight, self._sync = store, peers, weight, sync_seconds
        self._serve, self._folder = serve, Path(folder).expanduser() if folder else None
        self._inner_rate, self._processes, self._parallel = inner_rate, processes, parallel
        self._device, self._threads, self._behaviour = device, threads, behaviour
        self._trainer: Trainer | None = None
        self._panel: Panel | None = None
        self._server: StoreServer | None = None

    @property
    def store_url(self) -> str:
        """Where a validator serves its store; empty when it serves none."""
        return self._server.url if self._server else ""

    async def open(self, role: Role) -> None:
        """Build the model, read the text, and go on where the state is. A gateway needs none of it."""
        if role == "gateway" or self._trainer is not None or self._panel is not None:
            return
        try:
            if role == "miner":
                self._trainer = await asyncio.to_thread(self._open_miner)
            else:
                self._panel = await asyncio.to_thread(self._open_validator)
        except ModuleNotFoundError as error:
            raise SubnetError(
                f"Training needs {error.name}, which is not installed. Run `pip install 'tercet[training]'`."
            ) from error
        if self._serve and self._panel is not None:
            from tercet.subnets.training.outlet import StoreServer  # noqa: PLC0415 - a web server that few need

            server = StoreServer(self._panel.keeper.store.folder)
            try:
                await server.start(self._serve)
            except BaseException:
                await self.close()
                raise
            self._server = server

    def _open_miner(self) -> Trainer:
        from tercet.subnets.training.inner import Inner, Learner  # noqa: PLC0415 - torch
        from tercet.subnets.training.miner import Trainer  # noqa: PLC0415
        from tercet.subnets.training.parallel import TorchrunLearner  # noqa: PLC0415
        from tercet.subnets.training.setting import build_setting  # noqa: PLC0415
        from tercet.subnets.training.store import open_store  # noqa: PLC0415

        apart = self._processes > 1 or bool(self._parallel)
        setting = build_setting(self._rules, self._base, self._threads, "cpu" if apart else self._device)
        inner = Inner(rate=self._inner_rate)
        learner = (
            TorchrunLearner.build(
                setting, inner, self._base, self._processes, self._parallel or "ddp", self._threads, self._device
            )
            if apart
            else Learner(setting.trainee, setting.codec, inner)
        )
        stores = [open_store(place.strip()) for place in self._store.split(",") if place.strip()]
        return Trainer(setting, learner, stores, self._corpus, self._behaviour, self._folder)

    def _open_validator(self) -> Panel:
        from tercet.subnets.training.opening import open_panel  # noqa: PLC0415 - torch

        if self._folder is None:
            raise UsageError("A validator of training keeps the model in a folder. Name it: -o folder=DIR.")
        return open_panel(
            self._rules,
            corpus=self._corpus,
            base=self._base,
            folder=self._folder,
            store=self._store,
            peers=self._peers,
            weight=self._weight,
            sync_seconds=self._sync,
            threads=self._threads,
            device=self._device,
        )

    async def close(self) -> None:
        """Give everything back."""
        server, panel = self._server, self._panel
        self._server, self._panel, self._trainer = None, None, None
        if server is not None:
            await server.stop()
        if panel is not None:
            panel.keeper.close()

    def price(self) -> Price:
        """What a miner asks unless its owner says otherwise: 0.05 credit per million tokens trained on."""
        return Price(completion_per_1k=50)

    def limit(self, task: Task) -> Usage:
        """The tokens that a round trains on. Raises `TaskError` for a malformed task."""
        return parse_task(task).limit

    def challenge(self, beacon: bytes) -> Task:
        """A share of the round that begins at this validator's checkpoint, drawn from 32 bytes."""
        return self._judging().assign(beacon, 0)

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        """Train.

        Raises:
            TaskError: the task is malformed, or of another market than this miner's options say.
            SubnetError: the role is not open, or the checkpoint cannot be had.

        """
        parsed = parse_task(task)
        if self._trainer is None:
            raise SubnetError("Only a miner trains. Open the mechanism in the role 'miner'.")
        update = await asyncio.to_thread(self._trainer.answer, parsed)
        yield {"update": update, "usage": {"prompt": 0, "completion": parsed.rules.tokens}}

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        """Single answers, each by itself: by gain and proof of this one round, without standing or step."""
        panel = self._judging()
        return [await asyncio.to_thread(panel.judge_one, task, submission) for submission in submissions]

    async def begin(self, epoch: int) -> None:
        """Publish the checkpoint of the next round, after a look at where the other validators stand."""
        del epoch  # a round follows the one before it, whatever the epoch is called
        await asyncio.to_thread(self._judging().begin)

    def assign(self, seed: bytes, uid: int) -> Task:
        """Windows of its own for every miner."""
        return self._judging().assign(seed, uid)

    async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:
        """Judge a round and take the outer step."""
        return await asyncio.to_thread(self._judging().judge_round, seed, contenders)

    async def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        """Measure an update again with this validator's own copy of the checkpoint."""
        return await asyncio.to_thread(self._judging().recheck, task, submission, claimed)

    def _judging(self) -> Panel:
        if self._panel is None:
            raise SubnetError("Only a validator judges. Open the mechanism in the role 'validator'.")
        return self._panel


def _task_of(rules: Rules) -> Task:
    from dataclasses import asdict  # noqa: PLC0415

    return {"kind": "round", "round": 0, "checkpoint": "0" * 64, "seed": "0" * 64, "rules": asdict(rules)}
