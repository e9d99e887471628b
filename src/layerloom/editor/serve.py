"""Serves the editor on a port of this machine until it is ended; says its address as soon as it answers."""

import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.editor.security import Guard, new_token
from layerloom.editor.server import Editor, make_app
from layerloom.editor.session import EditSession
from layerloom.editor.stage_switch import Switch
from layerloom.render.renderer import Renderer

if TYPE_CHECKING:
    from layerloom.editor.footage.source import FootageChoice

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where to serve. port: 0 takes a free one. opens: the browser, too. allows_remote: for other machines."""

    host: str = LOOPBACK
    port: int = 0
    opens: bool = True
    allows_remote: bool = False


def serve(project: Project, place: Place, tell: Callable[[str], None]) -> None:
    """Serve a project's editor until ctrl-C. tell: takes the address, token included, once it answers.

    LayerloomError where the port is taken, or the host is another than this machine's own without being allowed.
    """
    check_host(place)
    app = make_app(Editor(EditSession(project), Renderer(project)))
    _run(app, place, tell)


def serve_footage(choice: "FootageChoice", out: Path, place: Place, tell: Callable[[str], None]) -> None:
    """Serve the page where objects are selected in footage and layers learned; then, at the same address, the editor
    of the project that is made at `out`. LayerloomError as `serve`, and for footage that cannot be opened.
    """
    from layerloom.editor.footage.server import FootageEditor, make_footage_app  # PyTorch takes seconds to load

    check_host(place)
    footage = FootageEditor(choice, out)
    switch = Switch(make_footage_app(footage), footage.close)

    def open_project() -> None:
        project = Project.open(out)
        session = EditSession(project)
        switch.turn(make_app(Editor(session, Renderer(project))), session.close)
        footage.opened()

    footage.learner.on_ended = open_project
    _run(switch, place, tell)


def _run(app: ASGIApp, place: Place, tell: Callable[[str], None]) -> None:
    """Serve an application behind a guard until ctrl-C."""
    token = new_token()
    with listening(place) as taken:
        host, port = taken.getsockname()[:2]
        names = {
            f"{name}:{port}" for name in {host, place.host, *(("localhost", LOOPBACK) if is_loopback(host) else ())}
        }
        settings = uvicorn.Config(
            Guard(app, token, frozenset(names)),
            log_level="error",
            access_log=False,
            ws="websockets-sansio",
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(settings)
        address = f"http://{host}:{port}/?token={token}"
        threading.Thread(target=_announce, args=(server, address, place.opens, tell), daemon=True).start()
        server.run(sockets=[taken])


def check_host(place: Place) -> None:
    """LayerloomError for a host that other machines reach, unless that is allowed."""
    if not is_loopback(place.host) and not place.allows_remote:
        raise LayerloomError(
            f"host {place.host}: other machines could reach the editor there, its token and pictures in clear text;"
            " allowed without asking are 127.0.0.1, ::1 and localhost"
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(place: Place) -> socket.socket:
    """A socket that listens there. LayerloomError where that cannot be."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((place.host, place.port))
        taken.listen(128)
    except (OSError, OverflowError) as error:
        taken.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise LayerloomError(f"{place.host}, port {place.port}: {reason}; port 0 takes a free one") from None
    return taken


def _announce(server: uvicorn.Server, address: str, opens: bool, tell: Callable[[str], None]) -> None:
    while not server.started:
        time.sleep(0.01)
    tell(address)
    if opens:
        webbrowser.open(address)
