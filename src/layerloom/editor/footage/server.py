"""The web application for footage: its pictures, the objects' masks, what is being learned, and the requests."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from fastapi import FastAPI, HTTPException, Response, WebSocket

from layerloom.core.errors import LayerloomError
from layerloom.data.selection import Hint, ObjectHints
from layerloom.editor.footage import messages
from layerloom.editor.footage.follower import Follower, Wanted
from layerloom.editor.footage.found import found_hints
from layerloom.editor.footage.hint_store import HintStore
from layerloom.editor.footage.learning import Learner
from layerloom.editor.footage.source import FootageChoice, OpenedFootage
from layerloom.editor.open_pages import OpenPages
from layerloom.editor.replies import jpeg, page_files, rgb8, thumbnail_of


class FootageEditor:
    """One selection on one piece of footage, what follows and learns it, and the pages that are open."""

    def __init__(self, choice: FootageChoice, out: Path) -> None:
        """out: where the project is to be. LayerloomError for footage that cannot be opened."""
        self.footage, self.out = OpenedFootage(choice), out
        self.folder = out.with_suffix(".selection")
        self.store = HintStore(self.folder, self.footage.frames, self.footage.size)
        self._open_pages = OpenPages(messages.Request, self._carry_out, lambda: self.store.revision)
        self.follower = Follower(self.footage, self._open_pages.tell)
        self.learner = Learner(choice, self.footage, self.store, self.follower, out)
        self.learner.tell = self._open_pages.tell
        self.follower.follow(Wanted(self.store.selection, self.store.revision))

    def facts(self) -> dict[str, Any]:
        """Of the footage: what never changes."""
        footage = self.footage
        return {
            "footage": True,
            "name": footage.info.path.name,
            "project": self.out.name,
            "width": footage.size[0],
            "height": footage.size[1],
            "frames": len(footage.frames),
            "first_frame": footage.frames.start,
            "seconds": footage.seconds,
            "fps": float(footage.info.fps),
        }

    def objects(self) -> messages.Objects:
        """Where the selection stands."""
        store = self.store
        objects = tuple(
            messages.ObjectState(each.name, tuple(_to_page(hint) for hint in each.hints)) for each in store.objects
        )
        return messages.Objects(store.revision, objects, store.can_undo, store.can_redo)

    def opened(self) -> None:
        """Tell all pages that the project is there."""
        self._open_pages.tell(messages.Opened())

    def close(self) -> None:
        """End what goes on; what was learned is put away."""
        self.follower.close()
        self.learner.close()

    async def serve(self, socket: WebSocket) -> None:
        """Speak with one page until it is closed."""
        await self._open_pages.serve(
            socket, lambda: (self.objects(), self.follower.places(), self.follower.state, self.learner.state)
        )

    def _carry_out(self, request: Any) -> None:
        match request:
            case messages.Learn():
                self.learner.start(request)
            case messages.StopLearning():
                self.learner.stop()
            case messages.FindObjects():
                self.follower.find(self._take_found)
            case _:
                self._change(request)

    def _change(self, request: Any) -> None:
        store, frame = self.store, None
        match request:
            case messages.AddHint(_, name, hint):
                store.add(name, _from_page(hint))
                frame = hint.frame
            case messages.ForgetHints(_, name, frame):
                store.forget(name, frame)
            case messages.RemoveObject(_, name):
                store.remove(name)
            case messages.RenameObject(_, name, new):
                store.rename(name, new)
            case messages.ReorderObject(_, name, index):
                store.reorder(name, index)
            case messages.Undo():
                store.undo()
            case _:
                store.redo()
        self._changed(frame)

    def _take_found(self, names: Sequence[str], masks: np.ndarray) -> None:
        folder = self.folder / f"found-{self.store.revision}"
        found: list[ObjectHints] = found_hints(names, masks, folder, self.footage.frames.start, self.footage.size)
        if found:
            self.store.join(found)
            self._changed(None)

    def _changed(self, frame: int | None) -> None:
        store = self.store
        self._open_pages.tell(self.objects())
        self.follower.follow(Wanted(store.selection, store.revision, frame))
        self.learner.selection_changed()


def make_footage_app(editor: FootageEditor) -> FastAPI:
    """The application, still without its guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/api/project")
    def facts() -> Response:
        return Response(msgspec.json.encode(editor.facts()), media_type="application/json")

    @app.get("/api/source/{index}")
    def source(index: int) -> Response:
        return jpeg(_picture(editor, index))

    @app.get("/api/thumbnail/{index}")
    def thumbnail(index: int) -> Response:
        return thumbnail_of(_picture(editor, index))

    @app.get("/api/mask/{name}/{frame}")
    def mask(name: str, frame: int) -> Response:
        return _png_or_404(lambda: editor.follower.mask(name, frame), "no such mask yet")

    @app.get("/api/look/{layer}/{kind}")
    def look(layer: int, kind: str) -> Response:
        return _png_or_404(lambda: editor.learner.look(layer, kind), "no such picture yet")

    @app.websocket("/api/session")
    async def speak(socket: WebSocket) -> None:
        await editor.serve(socket)

    page_files(app)
    return app


def _picture(editor: FootageEditor, index: int) -> np.ndarray:
    if not 0 <= index < len(editor.footage.frames):
        raise HTTPException(404, f"frame {index}: there are {len(editor.footage.frames)}")
    return rgb8(editor.footage.picture(index))


def _png_or_404(find: Callable[[], bytes | None], reason: str) -> Response:
    data = find()
    if data is None:
        raise HTTPException(404, reason)
    return Response(data, media_type="image/png", headers={"cache-control": "no-store"})


def _from_page(hint: messages.PageHint) -> Hint:
    if hint.mask:
        raise LayerloomError("a mask's file is not for the page to name")
    return Hint(hint.frame, hint.box, hint.include, hint.exclude, hint.radius, None, hint.absent)


def _to_page(hint: Hint) -> messages.PageHint:
    return messages.PageHint(
        hint.frame, hint.box, hint.include, hint.exclude, hint.radius, hint.absent, hint.mask is not None
    )
