"""The page as a miner uses it: started, given batches, asked for what people said of them."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tercet.errors import SubnetError
from tercet.subnets.labelling.items import own_digits, read_collection
from tercet.subnets.labelling.page.server import PageServer
from tercet.subnets.labelling.page.shift import Shift, Training
from tercet.subnets.labelling.tasks import Batch

__all__ = ["Crew", "PageConfig", "Training", "read_training"]

log = logging.getLogger(__name__)

_WORD_SECONDS = 10.0
"""How often a buyer hears that people are still at it."""
_TRAINING_ITEMS = 60


@dataclass(frozen=True, slots=True)
class PageConfig:
    """Where the page is, and what its people are told that they earn."""

    host: str = "127.0.0.1"
    port: int = 0
    rate: int = 0
    """Credit units for an hour of estimated work."""
    least: int = 0
    """The same, until validators have measured the miner."""


class Crew:
    """People behind a page."""

    def __init__(self, config: PageConfig, training: Training | None = None) -> None:
        """Nothing listens yet."""
        self._config = config
        self.shift = Shift(training or Training(), config.rate, time.monotonic)
        self._server = PageServer(self.shift, config.rate, config.least)
        self.url = ""
        """Where people go, once it is started; with an invitation where it is open to other machines."""

    async def start(self) -> None:
        """Open the page. Raises `SubnetError` when its port is taken."""
        self.url = await self._server.start(self._config.host, self._config.port)
        log.info("page.open url=%s", self.url)

    async def stop(self) -> None:
        """Close the page."""
        await self._server.stop()

    async def progress(self, batch: Batch, patience: float, rate: int | None = None) -> AsyncIterator[int]:
        """Put a batch that pays `rate` before the people; how far they are, now and then, until it is done or `patience` is over."""
        job = self.shift.add(batch, patience, rate)
        self._server.wake()
        while job.open and (left := job.ends - time.monotonic()) > 0:
            if not await self._server.changed(job, min(left, _WORD_SECONDS)):
                yield job.done

    def collect(self, batch: Batch) -> tuple[list[int], list[float]]:
        """What people said of a batch: votes and confidence, -1 where nobody said anything."""
        return self.shift.result(batch)


def read_training(own: str) -> Training:
    """Items for people to train on: the miner's own labelled ones. None where there are none."""
    if own == "digits":
        try:
            pairs = own_digits(0, _TRAINING_ITEMS)
        except SubnetError:
            log.warning("page.untrained why=%r", "the digits to train on come with scikit-learn")
            return Training()
        return Training("Which digit is this?", tuple("0123456789"), tuple(pairs))
    collection = read_collection(own)
    known = collection.known_indices()[:_TRAINING_ITEMS]
    return Training(
        collection.question, collection.classes, tuple((collection.items[at], collection.known[at]) for at in known)
    )
