"""One address, one application after the other: what is served can be replaced while the server runs."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send


class Switch:
    """An application that hands all on to another. Pages that are open keep speaking with the one they began with."""

    def __init__(self, app: ASGIApp, close: Callable[[], None]) -> None:
        """close: called at the end of the server, unless another application has come."""
        self._app, self._close = app, close

    def turn(self, app: ASGIApp, close: Callable[[], None]) -> None:
        """From now on, another application."""
        before, self._app, self._close = self._close, app, close
        before()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI application."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return
