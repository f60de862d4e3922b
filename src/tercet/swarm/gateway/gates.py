"""Who may think now: nodes that are held, nodes that are ended, and the stop that is for all."""

from __future__ import annotations

import asyncio

from tercet.errors import EndedError

__all__ = ["Bell", "Gates"]


class Bell:
    """Wakes everybody who waits for a change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake who waits now."""
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        """What the next ring sets. Take it before looking, wait for it after."""
        return self._event


class Gates:
    """Holds and ends, by node path: what is said of a node counts for all below it."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._held: set[str] = set()
        self._ended: dict[str, str] = {}
        self._stopped = ""
        self._watchers: dict[asyncio.Future[None], str] = {}

    def hold(self, node: str) -> None:
        """Let calls of `node` wait."""
        self._held.add(node)

    def release(self, node: str) -> None:
        """Let them go on, unless a node above is held."""
        self._held.discard(node)
        self._bell.ring()

    def end(self, node: str, why: str) -> None:
        """Refuse all calls of `node` from now on; who waits for an answer is told at once."""
        self._ended.setdefault(node, why)
        for watcher, path in list(self._watchers.items()):
            if _is_below(path, node) and not watcher.done():
                watcher.set_exception(EndedError(node, why))
        self._bell.ring()

    def stop_all(self, why: str) -> None:
        """Refuse all calls from this moment; those that a model works on already get their answers."""
        self._stopped = why or "the run was stopped"
        self._bell.ring()

    def resume_all(self) -> None:
        """Take `stop_all` back."""
        self._stopped = ""
        self._bell.ring()

    def validate_alive(self, node: str) -> None:
        """Raise EndedError where `node`, one above it, or everything was ended."""
        if self._stopped:
            raise EndedError("run", self._stopped)
        for path, why in self._ended.items():
            if _is_below(node, path):
                raise EndedError(path, why)

    def is_held(self, node: str) -> bool:
        """Whether its calls wait."""
        return any(_is_below(node, path) for path in self._held)

    def is_ended(self, node: str) -> bool:
        """Whether it, or one above it, was ended."""
        return any(_is_below(node, path) for path in self._ended)

    async def passed(self, node: str) -> None:
        """Wait until `node` may think; EndedError when it never will."""
        while True:
            ring = self._bell.next()
            self.validate_alive(node)
            if not self.is_held(node):
                return
            await ring.wait()

    def watch(self, node: str) -> asyncio.Future[None]:
        """A future that fails with EndedError when `node` is ended. Give it back with `unwatch`."""
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers[watcher] = node
        return watcher

    def unwatch(self, watcher: asyncio.Future[None]) -> None:
        """Forget a watcher."""
        del self._watchers[watcher]
        if watcher.done() and not watcher.cancelled():
            watcher.exception()  # looked at, so that nobody complains about it
        else:
            watcher.cancel()


def _is_below(node: str, above: str) -> bool:
    return node == above or node.startswith(f"{above}/")
