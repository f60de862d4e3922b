"""A validator's store over HTTP: reading only, and only what has a store's name."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from tercet.errors import PortTakenError, UsageError
from tercet.subnets.training.store import NAME

__all__ = ["StoreServer"]


class StoreServer:
    """Serves one folder until it is stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runner: web.AppRunner | None = None
        self.url = ""
        """Where it is; empty when it is not running."""

    async def start(self, place: str) -> None:
        """Serve at `HOST:PORT`; port 0 takes a free one.

        Raises:
            UsageError: that is no place.
            PortTakenError: something is there.

        """
        host, _, port = place.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise UsageError(f"Cannot serve at {place!r}. Write HOST:PORT, such as -o serve=0.0.0.0:4190.")
        app = web.Application()
        app.router.add_get("/{name:.+}", self._get)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, int(port))
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            raise PortTakenError(f"Cannot listen on {place}: {error.strerror}. Name another port.") from error
        found = self._runner.addresses[0]
        self.url = f"http://{found[0]}:{found[1]}"

    async def stop(self) -> None:
        """Close the door."""
        runner, self._runner, self.url = self._runner, None, ""
        if runner is not None:
            await runner.cleanup()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        path = self._folder / name
        if not NAME.fullmatch(name) or not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})
