"""The web application: the page, what it draws from, and the requests that change the session."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.editor import map_stream, protocol
from layerloom.editor.changes import TILE_TEXELS, Change
from layerloom.editor.jobs import Jobs
from layerloom.editor.open_pages import OpenPages
from layerloom.editor.page_state import PageState
from layerloom.editor.replies import jpeg, page_files, png, rgb8, thumbnail_of
from layerloom.editor.session import EditSession
from layerloom.editor.uploads import Uploads
from layerloom.render.renderer import Renderer

BINARY = "application/octet-stream"
MOST_STROKE_BYTES = 256 * 2**20


class Editor:
    """One session on one project, the renderer that draws what the page cannot, and the pages that are open."""

    def __init__(self, session: EditSession, renderer: Renderer) -> None:
        self.session, self.renderer = session, renderer
        self.project = session.project
        self.uploads = Uploads(session.folder / "files")
        self.pages = PageState(session)
        self._open_pages = OpenPages(protocol.Request, self._carry_out, lambda: session.revision)
        self.jobs = Jobs(session, self._open_pages.tell)
        session.listen(self._tell)

    async def serve(self, socket: WebSocket) -> None:
        """Speak with one page until it is closed."""
        await self._open_pages.serve(socket, lambda: (self.pages.state(),))

    def _carry_out(self, request: Any) -> None:
        session = self.session
        match request:
            case protocol.AddEdit(_, placed, index):
                session.add(self.uploads.placed(placed), index)
            case protocol.ReplaceEdit(_, placed):
                session.replace(self.uploads.placed(placed))
            case protocol.RemoveEdit(_, name):
                session.remove(name)
            case protocol.ReorderEdit(_, name, index):
                session.reorder(name, index)
            case protocol.AdjustPainted(_, name, layer):
                session.adjust_painted(name, layer, self.uploads.folder)
            case protocol.PinCorners(_, name):
                session.pin(name)
            case protocol.PreviewEdit(_, placed):
                session.preview(placed and self.uploads.placed(placed))
                self._open_pages.tell(self.pages.state(()))
            case protocol.StartExport():
                self.jobs.export(request)
            case protocol.CancelJob(_, name):
                self.jobs.cancel(name)
            case protocol.Undo():
                session.undo()
            case _:
                session.redo()

    def _tell(self, change: Change) -> None:
        self._open_pages.tell(self.pages.state((change,)))

    def paint(self, layer: int, head: dict[str, Any], data: bytes) -> None:
        """A stroke: tiles of straight RGBA, one after the other in the order in which the head names them."""
        size = TILE_TEXELS**2 * 4
        places = head.get("tiles", [])
        if len(data) != size * len(places):
            raise LayerloomError(f"a stroke of {len(places)} tiles in {len(data)} bytes; a tile is {size} bytes")
        pixels = np.frombuffer(data, np.uint8).reshape(len(places), TILE_TEXELS, TILE_TEXELS, 4)
        named = ((int(column), int(row), tile) for (column, row), tile in zip(places, pixels, strict=True))
        self.session.paint(self.project.layers[layer].name, named)


def make_app(editor: Editor) -> FastAPI:
    """The application, still without its guard."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        yield
        editor.session.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    _add_reading(app, editor)
    _add_edited(app, editor)
    _add_writing(app, editor)
    page_files(app)
    return app


def _add_reading(app: FastAPI, editor: Editor) -> None:
    """What the page draws from: the footage, and what was learned of it."""
    project = editor.project

    @app.get("/api/project")
    def facts() -> Response:
        return Response(msgspec.json.encode(editor.pages.facts()), media_type="application/json")

    @app.get("/api/source/{frame}")
    def source(frame: int, lossless: bool = False) -> Response:
        picture = rgb8(editor.renderer.picture(_frame(editor, frame)))
        return png(picture) if lossless else jpeg(picture)

    @app.get("/api/thumbnail/{frame}")
    def thumbnail(frame: int) -> Response:
        picture = rgb8(editor.renderer.picture(_frame(editor, frame)))
        return thumbnail_of(picture)

    @app.get("/api/maps/{frame}")
    def maps(frame: int) -> Response:
        number = _frame(editor, frame)
        packed = map_stream.frame_maps(project, number, editor.renderer.own_alphas(number))
        return Response(packed, media_type=BINARY)

    @app.get("/api/texture/{layer}")
    def texture(layer: int) -> Response:
        return Response(map_stream.texture(project, _layer(editor, layer)), media_type=BINARY)


def _add_edited(app: FastAPI, editor: Editor) -> None:
    """What edits are made of, and what the page cannot draw by itself."""
    project, session = editor.project, editor.session

    @app.get("/api/patch/{layer}/{frame}")
    def patch(layer: int, frame: int) -> Response:
        patches = session.composition().canvas.passes(None)[0].patches[_layer(editor, layer)]
        return Response(map_stream.patch(patches and patches.at(float(_frame(editor, frame)))), media_type=BINARY)

    @app.get("/api/adjustment/{layer}")
    def adjustment(layer: int) -> Response:
        found = session.composition().adjustments[_layer(editor, layer)]
        if found is None or found.field is None:
            raise HTTPException(404, "the layer's colours are its own")
        return Response(map_stream.adjustment(found.field), media_type=BINARY)

    @app.get("/api/tile/{name}")
    def tile(name: str) -> Response:
        path = session.tiles.path(name)
        if not name.isalnum() or not path.is_file():
            raise HTTPException(404, "no such tile")
        return FileResponse(path, media_type="image/png", headers={"cache-control": "max-age=31536000, immutable"})

    @app.get("/api/drawn/{frame}")
    def drawn(frame: int, scale: float = 1.0) -> Response:
        composition = session.painted_composition()
        if not 0 <= frame < len(composition.shots.shots):
            raise HTTPException(404, f"frame {frame}: the shot has {len(composition.shots.shots)}")
        picture = editor.renderer.draw(composition, frame, scale=min(max(scale, 0.1), 1.0))
        return png(rgb8(picture)) if scale == 1 else jpeg(rgb8(picture))

    @app.get("/api/exports/{name}")
    def exported(name: str) -> FileResponse:
        path = editor.jobs.result(name)
        if path is None:
            raise HTTPException(404, "no such export")
        return FileResponse(path, filename=f"{project.path.stem}{path.suffix}")

    @app.get("/api/backdrop")
    def backdrop() -> Response:
        found = session.composition().backdrop
        if found is None:
            raise HTTPException(404, "no new background")
        return png(media.quantise(found.fit(project.source.size), 8))

    @app.websocket("/api/session")
    async def speak(socket: WebSocket) -> None:
        await editor.serve(socket)


def _add_writing(app: FastAPI, editor: Editor) -> None:
    """What comes from the page beside messages: strokes and files."""

    @app.post("/api/paint/{layer}")
    async def paint(layer: int, request: Request) -> Response:
        body = await _body(request, MOST_STROKE_BYTES)
        length = int.from_bytes(body[:4], "little")
        return await _answered(
            lambda: editor.paint(_layer(editor, layer), _head(body[4 : 4 + length]), body[4 + length :])
        )

    @app.post("/api/files/{name}")
    async def upload(name: str, request: Request) -> Response:
        body = await _body(request, editor.uploads.MOST_BYTES)
        return await _answered(lambda: {"file": editor.uploads.take(name, body)})


async def _answered(work: Callable[[], Any]) -> Response:
    """The outcome of work in a thread, as JSON; what was refused with 400 and the reason."""
    try:
        found = await run_in_threadpool(work)
    except LayerloomError as error:
        return Response(msgspec.json.encode({"message": str(error)}), 400, media_type="application/json")
    return Response(msgspec.json.encode(found or {}), media_type="application/json")


async def _body(request: Request, most: int) -> bytes:
    """A request's body, refused as soon as it is too long."""
    parts: list[bytes] = []
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > most:
            raise HTTPException(413, f"more than {most // 2**20} MiB")
        parts.append(part)
    return b"".join(parts)


def _head(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise LayerloomError(f"a stroke whose head cannot be read: {error}") from None


def _frame(editor: Editor, frame: int) -> int:
    if not 0 <= frame < editor.project.source.frames:
        raise HTTPException(404, f"frame {frame}: the project has {editor.project.source.frames}")
    return frame


def _layer(editor: Editor, layer: int) -> int:
    if not 0 <= layer < len(editor.project.layers):
        raise HTTPException(404, f"layer {layer}: the project has {len(editor.project.layers)}")
    return layer
