"""The editor on footage without a project: hints are kept, objects followed, layers learned, then the editor opens."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from editor_page import until
from fastapi.testclient import TestClient
from footage import write_footage

from layerloom.core.errors import LayerloomError
from layerloom.data.selection import Hint, ObjectHints, read_selection
from layerloom.editor.footage import messages
from layerloom.editor.footage.found import found_hints
from layerloom.editor.footage.hint_store import HintStore
from layerloom.editor.footage.server import FootageEditor, make_footage_app
from layerloom.editor.footage.source import FootageChoice, OpenedFootage
from layerloom.editor.security import COOKIE, Guard
from layerloom.editor.stage_switch import Switch
from layerloom.editor.typescript import typescript
from layerloom.evaluate.measures import intersection_over_union
from layerloom.synthetic.clip import SyntheticClip, make_clip

HOST = "127.0.0.1:8000"
SOCKET = f"ws://{HOST}/api/session"
ORIGIN = {"origin": f"http://{HOST}"}
CLIENT = Path(__file__).resolve().parents[1] / "client"
SIZE, FRAMES = (160, 96), 6


@pytest.fixture(scope="module")
def truth() -> SyntheticClip:
    return make_clip(size=SIZE, frames=FRAMES, seed=1)


@pytest.fixture(scope="module")
def frames(truth: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_footage(tmp_path_factory.mktemp("footage"), truth) / "frames"


@pytest.fixture
def editor(frames: Path, tmp_path: Path) -> Iterator[FootageEditor]:
    opened = FootageEditor(FootageChoice(frames), tmp_path / "clip.loom")
    yield opened
    opened.close()


@pytest.fixture
def client(editor: FootageEditor) -> Iterator[TestClient]:
    guard = Guard(Switch(make_footage_app(editor), lambda: None), "token", frozenset({HOST}))
    with TestClient(guard, base_url=f"http://{HOST}") as opened:
        opened.cookies.set(COOKIE, "token")
        yield opened


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask > 127)
    left, top = float(columns.min()), float(rows.min())
    return left, top, float(columns.max()) + 1 - left, float(rows.max()) + 1 - top


@pytest.fixture
def store(tmp_path: Path) -> HintStore:
    return HintStore(tmp_path / "clip.selection", range(FRAMES), SIZE)


def test_hints_are_on_the_disk_and_undone(store: HintStore, tmp_path: Path) -> None:
    store.add("ball", Hint(0, (10, 10, 30, 30)))
    store.add("ball", Hint(2, include=((20, 20),)))
    store.add("cup", Hint(1, (50, 50, 20, 20)))
    again = HintStore(tmp_path / "clip.selection", range(FRAMES), SIZE)
    assert again.objects == store.objects == read_selection(store.path).objects
    store.undo()
    assert [each.name for each in store.objects] == ["ball"]
    store.redo()
    store.reorder("cup", 0)
    store.rename("cup", "mug")
    assert [each.name for each in store.objects] == ["mug", "ball"]
    store.remove("mug")
    store.forget("ball", 0)
    assert store.objects == (ObjectHints("ball", (Hint(2, include=((20, 20),)),)),)
    store.forget("ball", 2)
    assert store.selection is None and not store.path.exists()


def test_what_is_said_later_holds(store: HintStore) -> None:
    store.add("ball", Hint(0, (10, 10, 30, 30)))
    store.add("ball", Hint(1, absent=True))
    store.add("ball", Hint(1, (5, 5, 20, 20)))
    store.add("ball", Hint(0, (12, 12, 30, 30)))
    assert store.objects[0].hints == (Hint(1, (5, 5, 20, 20)), Hint(0, (12, 12, 30, 30)))


@pytest.mark.parametrize(
    ("hint", "reason"),
    [
        (Hint(FRAMES, (0, 0, 9, 9)), "another frame than 0 to 5"),
        (Hint(0, (500, 500, 9, 9)), "outside"),
        (Hint(0, exclude=((5, 5),)), "none says where"),
        (Hint(0, include=((5, 5),), exclude=((5, 5),)), "'ball', frame 0"),
    ],
)
def test_hints_that_do_not_fit_change_nothing(store: HintStore, hint: Hint, reason: str) -> None:
    with pytest.raises(LayerloomError, match=reason):
        store.add("ball", hint)
    assert store.objects == () and store.revision == 0 and not store.path.exists()


def test_a_selection_of_other_footage_is_not_taken(store: HintStore, tmp_path: Path) -> None:
    store.add("ball", Hint(5, (10, 10, 30, 30)))
    with pytest.raises(LayerloomError, match="belongs to other footage"):
        HintStore(tmp_path / "clip.selection", range(3), SIZE)


def test_found_objects_become_masks_in_some_frames(store: HintStore, tmp_path: Path) -> None:
    masks = np.zeros((1, 20, 48, 80), np.uint8)
    masks[0, :12, 10:20, 10:30] = 255
    (found,) = found_hints(("object1",), masks, tmp_path / "clip.selection" / "found", 0, SIZE)
    assert [(hint.frame, hint.absent) for hint in found.hints] == [(0, False), (8, False), (16, True), (19, True)]
    whole = HintStore(tmp_path / "clip.selection", range(20), SIZE)
    whole.join([found])
    assert HintStore(tmp_path / "clip.selection", range(20), SIZE).objects[0].hints == found.hints


def test_a_box_becomes_masks_in_all_frames(client: TestClient, editor: FootageEditor, truth: SyntheticClip) -> None:
    with client.websocket_connect(SOCKET, headers=ORIGIN) as socket:
        assert [socket.receive_json()["type"] for _ in range(4)] == ["objects", "masks", "following", "learning"]
        hint = {"frame": 1, "box": box_of(truth.masks[0, 1])}
        socket.send_text(json.dumps({"type": "hint", "operation": "1", "object": "ball", "hint": hint}))
        seen: list[dict] = []
        while not seen or seen[-1].get("stage") != "followed":
            seen.append(socket.receive_json())
    kinds = {message["type"] for message in seen}
    assert {"objects", "done", "masks", "following"} <= kinds
    masks = [mask for message in seen if message["type"] == "masks" for mask in message["masks"]]
    assert masks[0]["frame"] == 1 and {mask["frame"] for mask in masks} == set(range(FRAMES))
    for frame in range(FRAMES):
        data = client.get(f"/api/mask/ball/{frame}").content
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert intersection_over_union(mask > 127, truth.masks[0, frame] > 127) > 0.8
    assert client.get("/api/mask/nobody/1").status_code == 404


def test_frames_are_served_and_strangers_refused(client: TestClient) -> None:
    facts = client.get("/api/project").json()
    assert facts["footage"] and facts["frames"] == FRAMES and (facts["width"], facts["height"]) == SIZE
    assert client.get("/api/source/2").content.startswith(b"\xff\xd8")
    assert client.get("/api/thumbnail/2").status_code == 200
    assert client.get(f"/api/source/{FRAMES}").status_code == 404
    assert client.get("/api/source/2", headers={"origin": "http://evil.example"}).status_code == 403
    client.cookies.clear()
    assert client.get("/api/project").status_code == 403


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "hint", "object": "ball", "hint": {"frame": 0, "mask": True}}, "not for the page"),
        ({"type": "hint", "object": "../x", "hint": {"frame": 0, "box": [0, 0, 5, 5]}}, "layer's name"),
        ({"type": "hint", "object": "ball", "hint": {"frame": 0}}, "a hint has"),
        ({"type": "undo"}, "nothing to undo"),
        ({"type": "learn", "resume": True}, "nothing to go on from"),
        ({"type": "stop"}, "nothing is being learned"),
        ({"type": "remove", "object": "nobody"}, "none of that name"),
    ],
)
def test_messages_that_are_none_are_answered_in_words(client: TestClient, message: dict, reason: str) -> None:
    with client.websocket_connect(SOCKET, headers=ORIGIN) as socket:
        socket.send_text(json.dumps({"operation": "1", **message}))
        until(lambda: (answer := socket.receive_json())["type"] == "failed" and reason in answer["message"], 10)


def test_the_pages_types_are_those_of_the_messages() -> None:
    assert (CLIENT / "src" / "footage" / "protocol.ts").read_text(encoding="utf-8") == typescript(messages)


def test_a_part_of_the_footage_keeps_the_sources_numbers(frames: Path) -> None:
    part = OpenedFootage(FootageChoice(frames, frames=(2, None)))
    assert part.frames == range(2, FRAMES) and part.seconds[0] == 0
    with pytest.raises(LayerloomError, match="holds frames 0:6"):
        OpenedFootage(FootageChoice(frames, frames=(5, None)))
