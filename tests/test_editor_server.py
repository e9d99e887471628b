"""The editor's server: who may speak to it, what it gives, and that it loses nothing."""

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from truth_project import make_truth_project

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.editor.security import COOKIE, Guard
from layerloom.editor.serve import Place, check_host
from layerloom.editor.server import Editor, make_app
from layerloom.editor.session import EditSession
from layerloom.editor.typescript import typescript
from layerloom.render.renderer import Renderer
from layerloom.synthetic.clip import make_clip

HOST = "127.0.0.1:8000"
SOCKET = f"ws://{HOST}/api/session"
TOKEN = "a-token-that-nobody-guesses"
CLIENT = Path(__file__).resolve().parents[1] / "client"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), make_clip(size=(160, 96), frames=3, seed=1))


@pytest.fixture
def editor(made: Project, tmp_path: Path) -> Editor:
    shutil.copytree(made.path.parent, tmp_path / "copy")
    project = Project.open(tmp_path / "copy" / made.path.name)
    return Editor(EditSession(project), Renderer(project, "cpu"))


@pytest.fixture
def stranger(editor: Editor) -> Iterator[TestClient]:
    """A client that does not know the token."""
    guard = Guard(make_app(editor), TOKEN, frozenset({HOST}))
    with TestClient(guard, base_url=f"http://{HOST}") as client:
        yield client


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    stranger.cookies.set(COOKIE, TOKEN)
    return stranger


def unpack(data: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<I", data[:4])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def stroke(tiles: list[tuple[int, int]], level: int = 255) -> bytes:
    head = json.dumps({"tiles": tiles}).encode()
    pixels = np.full((len(tiles), 256, 256, 4), level, np.uint8)
    return struct.pack("<I", len(head)) + head + pixels.tobytes()


def test_the_token_is_exchanged_for_a_cookie_that_other_pages_do_not_send(stranger: TestClient) -> None:
    answer = stranger.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert stranger.get("/api/project").status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/project", "/api/maps/0", "/index.js", "/?token=wrong"])
def test_without_the_token_nothing_is_given(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"host": "127.0.0.1:1"}, {"origin": "http://evil.example"}, {"origin": "null"}],
)
def test_other_hosts_and_other_pages_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/project", headers=headers).status_code == 403
    assert client.post("/api/paint/0", content=stroke([(0, 0)]), headers=headers).status_code == 403


@pytest.mark.parametrize("headers", [{}, {"origin": "http://evil.example"}])
def test_a_web_socket_of_another_page_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET, headers=headers):
        pass


def test_pages_are_kept_to_themselves(client: TestClient) -> None:
    headers = client.get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/../project.json", "/%2e%2e/server.py", "/api/tile/..%2f..%2fproject", "/api/maps/99"]
)
def test_paths_do_not_leave_what_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_frames_maps_are_what_the_project_holds(client: TestClient, editor: Editor) -> None:
    head, arrays = unpack(client.get("/api/maps/1").content)
    layer = head["layers"][1]
    levels, _ = editor.project.layers[1].stored_uv_offset(1)
    entry = layer["offsets"]
    sent = np.frombuffer(arrays, np.uint16, levels.size, entry["at"]).reshape(entry["shape"])
    assert np.array_equal(sent, levels)
    assert layer["affine"] == editor.project.layers[1].uv_affine[1].ravel().tolist()


def test_a_stroke_is_on_the_disk_when_it_is_answered(client: TestClient, editor: Editor) -> None:
    assert client.post("/api/paint/1", content=stroke([(0, 0)])).status_code == 200
    with_journal = EditSession(editor.project)
    assert set(with_journal.painted_tiles("background")) == {(0, 0)}
    with_journal.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [(stroke([(0, 0)])[:-1], "a tile is"), (stroke([(50, 0)]), "off the canvas"), (b"\1\0\0\0x", "cannot be read")],
)
def test_a_stroke_that_is_none_is_refused_with_the_reason(client: TestClient, body: bytes, message: str) -> None:
    answer = client.post("/api/paint/1", content=body)
    assert answer.status_code == 400 and message in answer.json()["message"]


def test_all_pages_hear_of_every_change(client: TestClient) -> None:
    headers = {"origin": f"http://{HOST}"}
    with (
        client.websocket_connect(SOCKET, headers=headers) as first,
        client.websocket_connect(SOCKET, headers=headers) as second,
    ):
        assert first.receive_json()["revision"] == second.receive_json()["revision"] == 0
        placed = {"id": "h", "edit": {"kind": "hide", "layer": "object"}, "enabled": True}
        first.send_text(json.dumps({"type": "add", "operation": "1", "placed": placed}))
        answers = [first.receive_json(), first.receive_json()]
        assert {answer["type"] for answer in answers} == {"done", "state"}
        heard = second.receive_json()
        assert heard["revision"] == 1 and heard["layers"][0]["hidden"] and heard["can_undo"]
        second.send_text(json.dumps({"type": "undo", "operation": "2"}))
        assert {second.receive_json()["type"], second.receive_json()["type"]} == {"done", "state"}
        assert first.receive_json()["edits"] == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("no json", "not valid JSON"),
        ('{"type": "dance", "operation": "1"}', "type"),
        ('{"type": "remove", "operation": "1", "id": "nobody"}', "none of that name"),
        (
            '{"type": "add", "operation": "1", "placed": '
            '{"id": "o", "edit": {"kind": "overlay", "layer": "object", "file": "/etc/passwd"}}}',
            "not one that was brought in",
        ),
        ('{"type": "add", "operation": "1", "placed": {"id": "o", "edit": {"kind": "speed", "factor": NaN}}}', "JSON"),
    ],
)
def test_messages_that_are_none_are_answered_in_words(client: TestClient, message: str, reason: str) -> None:
    with client.websocket_connect(SOCKET, headers={"origin": f"http://{HOST}"}) as socket:
        socket.receive_json()
        socket.send_text(message)
        answer = socket.receive_json()
        assert answer["type"] == "failed" and reason in answer["message"]


def test_files_are_checked_and_kept_under_names_of_ours(client: TestClient, tmp_path: Path) -> None:
    media.write_image(tmp_path / "a.png", np.full((8, 8, 4), 200, np.uint8))
    answer = client.post("/api/files/..%2Fnasty.png", content=(tmp_path / "a.png").read_bytes())
    assert answer.status_code >= 400
    answer = client.post("/api/files/nice.png", content=(tmp_path / "a.png").read_bytes())
    name = answer.json()["file"]
    with client.websocket_connect(SOCKET, headers={"origin": f"http://{HOST}"}) as socket:
        socket.receive_json()
        place = {"x": 40, "y": 40, "frame": 1, "height": 20}
        edit = {"kind": "place", "layer": "background", "file": name, "place": place}
        socket.send_text(json.dumps({"type": "add", "operation": "1", "placed": {"id": "p", "edit": edit}}))
        assert {socket.receive_json()["type"], socket.receive_json()["type"]} == {"done", "state"}
    head, _ = unpack(client.get("/api/patch/1/1").content)
    assert head["patch"]["change"]["shape"][2] == 4


@pytest.mark.parametrize(("name", "content"), [("a.sh", b"#!"), ("a.png", b"no picture"), ("a.mp4", b"no video")])
def test_files_that_cannot_be_read_are_refused(client: TestClient, editor: Editor, name: str, content: bytes) -> None:
    answer = client.post(f"/api/files/{name}", content=content)
    assert answer.status_code == 400 and answer.json()["message"]
    assert not list((editor.session.folder / "files").iterdir())


def test_a_file_that_is_too_large_is_refused_while_it_comes(
    client: TestClient, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(editor.uploads), "MOST_BYTES", 1000)
    assert client.post("/api/files/a.png", content=bytes(1001)).status_code == 413


def test_what_the_page_cannot_draw_the_server_draws(client: TestClient, editor: Editor) -> None:
    with client.websocket_connect(SOCKET, headers={"origin": f"http://{HOST}"}) as socket:
        assert socket.receive_json()["server_draws"] == ""
        edit = {"kind": "move", "layer": "object", "right": 10, "down": 0}
        socket.send_text(json.dumps({"type": "add", "operation": "1", "placed": {"id": "m", "edit": edit}}))
        states = [message for message in (socket.receive_json(), socket.receive_json()) if message["type"] == "state"]
        assert "place of layers" in states[0]["server_draws"]
    answer = client.get("/api/drawn/1")
    assert answer.headers["content-type"] == "image/png" and answer.content.startswith(b"\x89PNG")


def test_other_machines_are_let_in_only_where_that_is_said() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_host(Place(host))
    with pytest.raises(LayerloomError, match=r"0\.0\.0\.0: other machines"):
        check_host(Place("0.0.0.0"))
    check_host(Place("0.0.0.0", allows_remote=True))


def test_the_pages_types_are_those_of_the_messages() -> None:
    assert (CLIENT / "src" / "protocol.ts").read_text(encoding="utf-8") == typescript()


def test_facts_are_json_that_names_the_layers(client: TestClient) -> None:
    facts = msgspec.json.decode(client.get("/api/project").content)
    assert [layer["name"] for layer in facts["layers"]] == ["object", "background"] and facts["frames"] == 3
