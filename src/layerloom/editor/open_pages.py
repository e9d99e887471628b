"""The pages that are open: what they ask, one message after the other, and what all of them are told."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
from fastapi import WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool

from layerloom.core.errors import LayerloomError
from layerloom.core.records import Record, parse_one_of, record_values
from layerloom.editor.protocol import Done, Failed


class OpenPages:
    """Speaks with every open page; each request is carried out in a thread and answered by Done or Failed."""

    def __init__(self, requests: Any, carry_out: Callable[[Any], None], revision: Callable[[], int]) -> None:
        """requests: the union of what pages may ask. revision: of what they change, told with Done."""
        self._requests, self._carry_out, self._revision = requests, carry_out, revision
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sockets: set[WebSocket] = set()

    async def serve(self, socket: WebSocket, greeting: Callable[[], Iterable[Record]]) -> None:
        """Speak with one page until it is closed. greeting: what it is told first, asked for once it is among them."""
        await socket.accept()
        self._loop = asyncio.get_running_loop()
        self._sockets.add(socket)
        try:
            for message in greeting():
                await socket.send_text(_text_of(message))
            while True:
                await socket.send_text(await run_in_threadpool(self._answer, await socket.receive_text()))
        except WebSocketDisconnect:
            pass
        finally:
            self._sockets.discard(socket)

    def tell(self, message: Record) -> None:
        """Tell all pages, from any thread."""
        if self._loop is None:
            return
        text = _text_of(message)
        for socket in tuple(self._sockets):
            with suppress(RuntimeError):  # the server has ended
                asyncio.run_coroutine_threadsafe(_send_quietly(socket, text), self._loop)

    def _answer(self, text: str) -> str:
        operation = "unknown"
        try:
            request = parse_one_of(text, self._requests)
            operation = request.operation
            self._carry_out(request)
            return _text_of(Done(operation, self._revision()))
        except LayerloomError as error:
            return _text_of(Failed(operation, str(error)))


async def _send_quietly(socket: WebSocket, text: str) -> None:
    """To a page that may have been closed meanwhile."""
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_text(text)


def _text_of(record: Record) -> str:
    return msgspec.json.encode(record_values(record)).decode("utf-8")
