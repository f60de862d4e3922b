"""The miner's side: catch up with the market's checkpoint, train on what is assigned, remember."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tercet.errors import SubnetError, TaskError
from tercet.subnets.kit.files import write_atomically
from tercet.subnets.training.data import Corpus, Encode, read_corpus
from tercet.subnets.training.inner import Learner, Memory
from tercet.subnets.training.outer import Checkpoint
from tercet.subnets.training.rogues import Behaviour, Work, behave
from tercet.subnets.training.setting import Setting
from tercet.subnets.training.store import Library, Step, Store, StoreError
from tercet.subnets.training.tasks import RoundTask, Rules

__all__ = ["Trainer"]

ANSWERS_KEPT = 16
STATE = "learner.safetensors"


@dataclass(slots=True)
class Trainer:
    """Answers one task at a time, in a thread of its caller's."""

    setting: Setting
    learner: Learner
    stores: list[Store]
    corpus_name: str
    behaviour: Behaviour = "honest"
    folder: Path | None = None
    """Where the learner's memory outlives a restart; None forgets it."""
    _own: Corpus = field(init=False)
    _corpus: Corpus = field(init=False)
    """The market's, which is ours unless its validators publish another."""
    _held: OrderedDict[str, Checkpoint] = field(init=False, default_factory=OrderedDict)
    _answers: OrderedDict[tuple[str, bytes], str] = field(init=False, default_factory=OrderedDict)
    _before: tuple[int, Memory] | None = field(init=False, default=None)
    """What the learner remembered before its last round. Whoever asks twice in a round gets work from the same."""
    _turn: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Read the text and what was learned before, so that the first answer need not."""
        self._own = self._corpus = Corpus.build(read_corpus(self.corpus_name), self._encode)
        if self.folder is not None and (path := self.folder / STATE).exists():
            try:
                self.learner.restore(Memory.from_bytes(path.read_bytes(), self.setting.trainee.size))
            except (SafetensorError, ValueError, KeyError) as error:
                raise SubnetError(f"{str(path)!r} is no state of this model: {error}. Move it away.") from error

    def answer(self, task: RoundTask) -> str:
        """The update as text; the same for the same task, however many validators ask. Blocks.

        Raises:
            TaskError: the market trains something else.
            SubnetError: the checkpoint or the text cannot be had.

        """
        with self._turn:
            key = task.checkpoint, task.seed
            if key not in self._answers:
                self._answers[key] = self._work(task)
                while len(self._answers) > ANSWERS_KEPT:
                    self._answers.popitem(last=False)
            return self._answers[key]

    def _work(self, task: RoundTask) -> str:
        self._require_same(task.rules)
        corpus, rules = self._find_corpus(task.rules.corpus), task.rules
        library = Library(self.stores, self.setting.codec, rules.digest, self.setting.outer(rules))
        here = self._catch_up(task, library)
        if self._before is None or self._before[0] != task.round:
            self._before = task.round, self.learner.remember()
        else:
            self.learner.restore(self._before[1])
        windows = corpus.draw(task.seed, "assigned", rules.steps * rules.batch, rules.context)
        batches = windows.reshape(rules.steps, rules.batch, rules.context + 1)
        work = Work(here.theta, batches, corpus, **self._seen(task, library))
        update = behave(self.behaviour)(self.learner, work)
        if self.folder is not None:
            write_atomically(self.folder / STATE, self.learner.remember().to_bytes())
        return self.setting.codec.encode(update)

    def _require_same(self, rules: Rules) -> None:
        """Only code and weights that our owner installed are run, never what a task brings or names."""
        mine = replace(self.setting.rules, corpus=rules.corpus)
        for name in ("model", "rank", "base", "fraction"):
            theirs, ours = getattr(rules, name), getattr(mine, name)
            if theirs != ours:
                raise TaskError(
                    f"The market's {name} is {theirs!r}, this miner's {ours!r}. Restart it with -o {name}=…."
                )

    def _find_corpus(self, digest: str) -> Corpus:
        """Our own text where it is the market's, else the one that the market's validators publish."""
        if self._corpus.digest != digest and self._own.digest == digest:
            self._corpus = self._own
        elif self._corpus.digest != digest:
            library = Library(self.stores, self.setting.codec, "", self.setting.outer(self.setting.rules))
            self._corpus = Corpus.build(library.corpus(digest), self._encode)
        return self._corpus

    @property
    def _encode(self) -> Encode | None:
        """How the model cuts a text into tokens; None for bytes."""
        return getattr(self.setting.trainee.module, "encode", None)

    def _catch_up(self, task: RoundTask, library: Library) -> Checkpoint:
        start = self.setting.begin(task.rules)
        here = library.find(task.checkpoint, {**self._held, start.digest: start}, task.round)
        self._held[task.checkpoint] = here
        self._held.move_to_end(task.checkpoint)
        while len(self._held) > 2:
            self._held.popitem(last=False)
        return here

    def _seen(self, task: RoundTask, library: Library) -> dict[str, Any]:
        """What a cheat reads in the store; an honest miner looks at nothing."""
        if self.behaviour == "honest":
            return {}
        for store in self.stores:
            data = store.get(f"steps/{task.checkpoint}.json", 1 << 20)
            if data is None:
                continue
            try:
                others = [library.update(digest) for digest in Step.parse(data).updates]
            except (StoreError, SubnetError, json.JSONDecodeError):
                continue
            if others:
                return {"others": others[0], "usual": others[0].norm}
        return {}
