"""The editing session: changes are kept before they are acknowledged, and come back whatever ended it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.editor.changes import TILE_TEXELS, PlacedEdit, TileChange
from layerloom.editor.journal import read_journal
from layerloom.editor.session import EditSession, session_edits
from layerloom.editor.tiles import Tile
from layerloom.edits import At, Hide, Overlay, Text
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import make_clip

WORDS = PlacedEdit("words", Text("background", "AB", At(40.0, 50.0, 1, height=20.0)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), make_clip(size=(160, 96), frames=3, seed=1))


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    shutil.copytree(made.path.parent, tmp_path / "copy")
    return Project.open(tmp_path / "copy" / made.path.name)


@pytest.fixture
def session(project: Project) -> Iterator[EditSession]:
    opened = EditSession(project)
    yield opened
    opened.close()


def tile(level: int) -> Tile:
    pixels = np.zeros((TILE_TEXELS, TILE_TEXELS, 4), np.uint8)
    pixels[20:60, 30:70] = (200, 30, level, 255)
    return pixels


def reopened(session: EditSession) -> EditSession:
    session.close()
    return EditSession(session.project)


def held(session: EditSession) -> object:
    return session.edits, session.painted_tiles("background"), session.can_undo, session.can_redo


def test_changes_are_there_when_the_project_is_opened_again(session: EditSession) -> None:
    session.add(WORDS)
    session.paint("background", [(0, 0, tile(1))])
    session.add(PlacedEdit("hidden", Hide("object")), 0)
    session.reorder("words", 0)
    before = held(session)
    again = reopened(session)
    assert held(again) == before
    assert [placed.id for placed in again.edits] == ["words", "hidden"]
    again.close()


def test_undo_and_redo_go_back_and_forth_also_after_opening_again(session: EditSession) -> None:
    session.add(WORDS)
    session.paint("background", [(0, 0, tile(1))])
    session.paint("background", [(0, 0, tile(2))])
    painted = session.painted_tiles("background")
    assert session.undo()
    first = session.painted_tiles("background")
    assert first != painted
    again = reopened(session)
    assert again.painted_tiles("background") == first
    assert again.redo() and again.painted_tiles("background") == painted and not again.can_redo
    assert again.undo() and again.undo() and again.painted_tiles("background") == {}
    assert again.undo() and again.edits == () and not again.undo()
    again.close()


def test_a_change_after_undo_ends_what_could_be_made_again(session: EditSession) -> None:
    session.add(WORDS)
    session.undo()
    session.add(PlacedEdit("hidden", Hide("object")))
    assert not session.can_redo and not session.redo()


@pytest.mark.parametrize("cut", [1, 9, 40])
def test_a_line_that_was_cut_short_is_dropped_and_said(session: EditSession, cut: int) -> None:
    session.paint("background", [(0, 0, tile(1))])
    kept = session.painted_tiles("background")
    session.paint("background", [(0, 0, tile(2))])
    journal = session.folder / "journal.jsonl"
    session.close()
    data = journal.read_bytes()
    journal.write_bytes(data[:-cut])
    again = EditSession(session.project)
    assert again.recovered and again.painted_tiles("background") == kept
    again.paint("background", [(0, 0, tile(3))])
    assert not read_journal(again.folder).dropped
    again.close()


def test_a_damaged_line_that_others_follow_is_named(session: EditSession) -> None:
    session.add(WORDS)
    session.add(PlacedEdit("hidden", Hide("object")))
    session.close()
    journal = session.folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], lines[1].replace(b"AB", b"AC"), *lines[2:]]))
    with pytest.raises(LayerloomError, match=r"journal\.jsonl, line 2: damaged"):
        EditSession(session.project)


@pytest.mark.parametrize(
    ("placed", "message"),
    [
        (WORDS, "there is one of that name"),
        (PlacedEdit("other", Hide("nobody")), "no layer 'nobody'"),
        (PlacedEdit("other", Overlay("background", "gone.png")), "gone.png"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_trace(
    session: EditSession, placed: PlacedEdit, message: str
) -> None:
    session.add(WORDS)
    before, lines = held(session), read_journal(session.folder)
    with pytest.raises(LayerloomError, match=message):
        session.add(placed)
    assert held(session) == before and read_journal(session.folder) == lines


def test_tiles_off_the_canvas_are_refused(session: EditSession) -> None:
    with pytest.raises(LayerloomError, match="off the canvas"):
        session.paint("background", [(40, 0, tile(1))])


def test_what_is_painted_is_rendered_and_an_empty_tile_is_none(session: EditSession) -> None:
    session.paint("background", [(0, 0, tile(10))])
    session.paint("object", [(0, 0, np.zeros((TILE_TEXELS, TILE_TEXELS, 4), np.uint8))])
    assert set(session.painted_tiles("background")) == {(0, 0)} and not session.painted_tiles("object")
    session.close()
    (overlay,) = session_edits(session.project)
    assert isinstance(overlay, Overlay)
    painting = media.read_image(overlay.file)
    assert painting.shape[:2] == session.project.layers[1].canvas[::-1] and painting[40, 50].tolist() == [
        200,
        30,
        10,
        255,
    ]
    plain, edited = (next(iter(render_images(session.project, edits))) for edits in ((), (overlay,)))
    assert (plain != edited).any(-1).sum() > 200


def test_history_is_limited_in_bytes_and_what_is_shown_is_kept(project: Project) -> None:
    session = EditSession(project, history_bytes=1000)
    for number in range(1, 130):
        session.paint("background", [(0, 0, tile(number))])
    shown = session.painted_tiles("background")
    steps = 0
    while session.undo():
        steps += 1
    assert 0 < steps < 129
    while session.redo():
        pass
    assert session.painted_tiles("background") == shown
    again = reopened(session)
    assert again.painted_tiles("background") == shown
    assert len(list((again.folder / "tiles").glob("*.png"))) <= steps + 66
    again.close()


def test_without_a_journal_it_is_said(project: Project) -> None:
    with pytest.raises(LayerloomError, match="nothing was edited"):
        session_edits(project)


def test_a_tile_change_names_what_was_there_before(session: EditSession) -> None:
    session.paint("background", [(0, 0, tile(1))])
    session.paint("background", [(0, 0, tile(2))])
    *_, first, second = read_journal(session.folder).lines
    (before,), (after,) = first.change.tiles, second.change.tiles  # pyright: ignore
    assert isinstance(before, TileChange) and before.before is None and after.before == before.after
