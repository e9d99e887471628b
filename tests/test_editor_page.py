"""The editor as a person uses it: painting in a browser, and every frame follows as Python's renderer draws it."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from editor_page import Served, drag, on_page, open_browser, open_page, psnr, revision, show, until
from playwright.sync_api import Browser, Page
from truth_project import make_truth_project

from layerloom import media
from layerloom.data.project import Project
from layerloom.editor.session import session_edits
from layerloom.edits.adjust import Adjust
from layerloom.edits.canvas import Overlay, Text
from layerloom.edits.document import Background
from layerloom.edits.shot import Reverse, Stabilize
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import make_clip

FRAMES = 8
AXE = Path(__file__).parents[1] / "client" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), make_clip(size=(240, 136), frames=FRAMES, seed=1))


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    shutil.copytree(made.path.parent, tmp_path / "copy")
    return Project.open(tmp_path / "copy" / made.path.name)


@pytest.fixture
def served(project: Project) -> Iterator[Served]:
    server = Served(project.path)
    yield server
    if server.process.poll() is None:
        server.end()


def object_middle(project: Project, frame: int) -> tuple[float, float]:
    rows, columns = np.nonzero(project.own_alpha(0, frame) > 0.9)
    return float(columns.mean()), float(rows.mean())


def test_the_page_shows_what_python_renders_and_asks_nobody_else(
    browser: Browser, served: Served, project: Project
) -> None:
    page = open_page(browser, served.address)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    plain = {frame: show(page, frame) for frame in (1, 6)}
    rendered = list(render_images(project))
    for frame, picture in plain.items():
        assert np.array_equal(picture, rendered[frame])

    # A stroke on frame 1, at the object's middle.
    show(page, 1)
    x, y = object_middle(project, 1)
    drag(page, [(x - 10, y), (x + 10, y), (x + 12, y + 6)])
    until(lambda: revision(page) == 1)
    # Words on the background, by the same door as every edit.
    words = {
        "kind": "text",
        "layer": "background",
        "text": "LOOM",
        "place": {"x": 50, "y": 110, "frame": 1, "height": 26},
    }
    placed = {"id": "words", "edit": words, "enabled": True}
    page.evaluate("placed => layerloom.session.request({ type: 'add', placed })", placed)
    until(lambda: revision(page) == 2 and page.evaluate("() => layerloom.session.scene.patches[1] !== null"))
    edited = {frame: show(page, frame) for frame in (1, 6)}
    served.end()
    expected = list(render_images(project, session_edits(project)))
    for frame, picture in edited.items():
        assert psnr(picture, expected[frame]) > 45
        changed = np.abs(picture.astype(int) - plain[frame]).max(-1) > 8
        assert 200 < changed.sum() < 6000
        untouched = (expected[frame] == plain[frame]).all(-1) & ~changed
        assert np.abs(picture[untouched].astype(int) - plain[frame][untouched]).max() <= 1
    assert all(url.startswith((served.address.split("?")[0], "blob:")) for url in asked)
    page.close()


def test_undo_reload_and_a_second_page(browser: Browser, served: Served, project: Project) -> None:
    page = open_page(browser, served.address)
    before = show(page, 2)
    x, y = object_middle(project, 2)
    drag(page, [(x, y), (x + 8, y)])
    until(lambda: revision(page) == 1)
    painted = show(page, 2)
    assert not np.array_equal(before, painted)

    other = open_page(browser, served.address)
    assert psnr(show(other, 2), painted) > 50
    page.get_by_role("button", name="Undo").click()
    until(lambda: revision(page) == 2)
    assert np.array_equal(show(page, 2), before)
    until(lambda: np.array_equal(show(other, 2), before))
    other.close()

    page.reload()
    page.wait_for_selector("body[data-ready=true]")
    until(lambda: page.evaluate("() => layerloom.session.state?.can_redo"))
    page.keyboard.press("Control+Shift+Z")
    until(lambda: revision(page) == 3)
    until(lambda: psnr(show(page, 2), painted) > 50)
    page.close()


def test_killed_in_the_middle_of_a_stroke_nothing_that_was_kept_is_lost(
    browser: Browser, served: Served, project: Project
) -> None:
    page = open_page(browser, served.address)
    show(page, 0)
    x, y = object_middle(project, 0)
    for number in range(3):
        drag(page, [(x + 4 * number, y - 8), (x + 4 * number, y + 8)])
        until(lambda: revision(page) == number + 1)  # noqa: B023
    kept = show(page, 0)
    drag(page, [(20, 20), (60, 20)], lets_go=False)
    served.kill()
    page.close()
    again = Served(project.path)
    page = open_page(browser, again.address)
    assert revision(page) == 3
    assert psnr(show(page, 0), kept) > 50
    page.close()
    again.end()


def test_layers_are_hidden_and_views_are_shown(browser: Browser, served: Served, project: Project) -> None:
    page = open_page(browser, served.address)
    source = show(page, 3)
    page.get_by_role("button", name="Hide object").click()
    until(lambda: page.evaluate("() => layerloom.session.scene.hidden[0]"))
    without = show(page, 3)
    (hide,) = session_edits(project)
    expected = list(render_images(project, [hide]))[3]
    assert psnr(without, expected) > 40 and psnr(without, source) < 40
    pictures: list[np.ndarray] = []
    for view in ("Matte", "Map", "Light"):
        page.get_by_role("button", name=view, exact=False).first.click()
        pictures.append(show(page, 3))
    assert len({picture.tobytes() for picture in pictures}) == 3
    page.close()


def test_keys_and_the_clock(browser: Browser, served: Served) -> None:
    page = open_page(browser, served.address)
    frame = lambda: page.evaluate("() => layerloom.player.frame")  # noqa: E731
    page.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert frame() == 2
    page.keyboard.press("End")
    assert frame() == FRAMES - 1
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    until(lambda: frame() > 1)
    page.keyboard.press("Space")
    assert not page.evaluate("() => layerloom.player.isPlaying")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    page.locator(".stage").focus()
    page.keyboard.press("t")
    assert page.evaluate("() => layerloom.stage.panes") == "texture"
    page.close()


def test_a_colour_is_picked_from_the_picture(browser: Browser, served: Served) -> None:
    page = open_page(browser, served.address)
    picture = show(page, 0)
    page.keyboard.down("Alt")
    page.mouse.click(*on_page(page, 100.5, 60.5))
    page.keyboard.up("Alt")
    colour = json.loads(json.dumps(page.evaluate("() => layerloom.settings.colour")))
    assert np.abs(np.array(colour) * 255 - picture[60, 100]).max() <= 1
    page.close()


def test_a_picture_is_dropped_moved_and_exported(
    browser: Browser, served: Served, project: Project, tmp_path: Path
) -> None:
    page = open_page(browser, served.address)
    picture = np.full((40, 60, 4), 255, np.uint8)
    picture[..., 2] = 0
    media.write_image(tmp_path / "yellow.png", picture)
    show(page, 2)
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="A picture or video on the chosen layer").click()
    chosen.value.set_files(tmp_path / "yellow.png")
    until(lambda: revision(page) == 1 and page.evaluate("() => layerloom.stage.place !== null"))
    middle = page.evaluate("() => [layerloom.stage.place.x, layerloom.stage.place.y]")
    drag(page, [tuple(middle), (middle[0] + 40, middle[1] + 20)])
    until(lambda: revision(page) == 2)
    place = page.evaluate("() => layerloom.session.state.edits[0].edit.place")
    assert abs(place["x"] - middle[0] - 40) < 1 and abs(place["y"] - middle[1] - 20) < 1
    edits = session_edits(project)
    assert psnr(show(page, 5), list(render_images(project, edits))[5]) > 45

    page.get_by_role("button", name="Export the film or its layers").click()
    page.get_by_label("As", exact=True).select_option("ffv1")
    page.get_by_role("dialog").get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the export").click(timeout=60_000)
    film = tmp_path / "film.mkv"
    download.value.save_as(film)
    for frame, expected in zip(media.read_frames(film), render_images(project, edits), strict=True):
        assert psnr(frame, expected) > 40
    page.close()


def set_slider(page: Page, name: str, value: float) -> None:
    """As the keyboard does: a number typed beside it."""
    page.get_by_label(f"{name}, as a number").fill(str(value))
    page.get_by_label(f"{name}, as a number").press("Enter")


def test_a_layer_and_a_part_of_it_are_adjusted(
    browser: Browser, served: Served, project: Project, tmp_path: Path
) -> None:
    page = open_page(browser, served.address)
    source = show(page, 3)
    # The background is the layer chosen at first. Its words are laid over the adjusted layer.
    words = {"kind": "text", "layer": "background", "text": "LOOM", "place": {"x": 50, "y": 110, "frame": 1}}
    page.evaluate("placed => layerloom.session.request({ type: 'add', placed })", {"id": "words", "edit": words})
    until(lambda: revision(page) == 1)
    for count, (name, value) in enumerate([("Hue", 100), ("Saturation", 1.6), ("Contrast", 0.8), ("Light", 2)]):
        set_slider(page, name, value)
        until(lambda: revision(page) == count + 2)  # noqa: B023
    # A slider by its keys: live while it moves, kept when it is let go of.
    page.get_by_label("Brightness", exact=True).focus()
    page.keyboard.press("ArrowRight")
    until(lambda: revision(page) == 6)
    page.get_by_role("button", name="Layer object").click()
    width, height = project.layers[0].canvas
    region = np.zeros((height, width, 4), np.uint8)
    region[:, : width // 2, 3] = 255
    media.write_image(tmp_path / "region.png", region)
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Adjust a part").click()
    chosen.value.set_files(tmp_path / "region.png")
    until(lambda: revision(page) == 7 and page.evaluate("() => layerloom.session.state.layers[0].region > 0"))
    assert page.get_by_label("Light", exact=True).is_disabled()
    set_slider(page, "Hue", -60)
    until(lambda: revision(page) == 8)
    edits = session_edits(project)
    for frame in (3, 6):
        expected = list(render_images(project, edits))[frame]
        until(lambda: psnr(show(page, frame), expected) > 45, 10)  # noqa: B023
        assert psnr(expected, source) < 30
    page.get_by_role("button", name="Take the layer's adjustment away").click()
    until(lambda: revision(page) == 9)
    assert len(session_edits(project)) == 2
    page.close()


def test_the_shot_is_changed_and_drawn_by_the_program(browser: Browser, served: Served, project: Project) -> None:
    page = open_page(browser, served.address)
    page.get_by_text("Background, camera, time").click()
    page.get_by_label("Hold in the frame").select_option("background")
    until(lambda: page.get_by_text("Drawn by the server").is_visible())
    page.get_by_label("How strongly it is held").press("ArrowLeft")
    until(lambda: revision(page) == 2)
    assert session_edits(project) == (Stabilize("background", 0.95),)
    page.get_by_label("Hold in the frame").select_option("")
    until(lambda: revision(page) == 3)
    page.get_by_role("button", name="Layer object").click()
    page.get_by_label("How object runs").select_option("reverse")
    until(lambda: revision(page) == 4)
    assert session_edits(project) == (Reverse("object"),)
    page.get_by_label("How object runs").select_option("runs")
    until(lambda: revision(page) == 5 and not page.get_by_text("Drawn by the server").is_visible())
    page.get_by_label("Colour of the background").fill("#3366cc")
    until(lambda: revision(page) == 6)
    assert session_edits(project) == (Background("#3366cc"),)
    expected = list(render_images(project, [Background("#3366cc")]))[2]
    until(lambda: psnr(show(page, 2), expected) > 45)
    page.get_by_role("button", name="The clip's own background again").click()
    until(lambda: revision(page) == 7)
    assert not session_edits(project)
    page.close()


def test_what_is_painted_becomes_the_part_that_is_adjusted(browser: Browser, served: Served, project: Project) -> None:
    page = open_page(browser, served.address)
    source = show(page, 1)
    page.get_by_role("button", name="Layer object").click()
    page.get_by_role("button", name="Adjust what is painted").click()
    page.get_by_text("nothing is painted on 'object'").wait_for()
    page.get_by_role("button", name="Close this message").click()
    x, y = object_middle(project, 1)
    drag(page, [(x - 12, y), (x + 12, y)])
    until(lambda: revision(page) == 1)
    page.get_by_role("button", name="Adjust what is painted").click()
    until(lambda: revision(page) == 3)
    (edit,) = session_edits(project)
    assert isinstance(edit, Adjust) and edit.region is not None and edit.saturation == 0
    expected = list(render_images(project, [edit]))[1]
    until(lambda: psnr(show(page, 1), expected) > 45)
    changed = (expected != source).any(-1)
    assert 100 < changed.sum() < 3000 and np.ptp(expected[round(y), round(x)]) < np.ptp(source[round(y), round(x)])
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Undo").click()
    until(lambda: revision(page) == 5)
    assert isinstance(*session_edits(project), Overlay)
    page.close()


def test_corners_are_pinned(browser: Browser, served: Served, project: Project) -> None:
    page = open_page(browser, served.address)
    place = {"x": 120, "y": 70, "frame": 2, "height": 24, "rotation_degrees": 10}
    words = {"kind": "text", "layer": "background", "text": "LOOM", "place": place}
    page.evaluate("placed => layerloom.session.request({ type: 'add', placed })", {"id": "words", "edit": words})
    until(lambda: revision(page) == 1)
    before = show(page, 2)
    page.get_by_role("button", name="Choose text").click()
    page.get_by_role("button", name="a handle at each corner").click()
    until(lambda: revision(page) == 2)
    assert psnr(show(page, 2), before) > 40
    corners = page.evaluate("() => layerloom.session.state.edits[0].edit.place.corners")
    x, y = corners[2]
    drag(page, [(x, y), (x + 25, y + 20)])
    until(lambda: revision(page) == 3)
    page.keyboard.press("Alt+ArrowLeft")
    until(lambda: revision(page) == 4)
    (pinned,) = session_edits(project)
    assert isinstance(pinned, Text) and pinned.place.corners is not None
    moved = np.array(pinned.place.corners) - corners
    np.testing.assert_allclose(moved, [[-1, 0], [-1, 0], [24, 20], [-1, 0]], atol=1)
    assert psnr(show(page, 5), list(render_images(project, [pinned]))[5]) > 45
    page.close()


def faults(page: Page) -> list[str]:
    """What axe finds serious or critical on the page as it is."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run()")["violations"]
    return [
        f"{fault['id']}: {fault['help']}: {fault['nodes'][0]['html'][:120]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def test_axe_finds_no_serious_fault(browser: Browser, served: Served) -> None:
    if not AXE.is_file():
        assert not os.environ.get("CI"), "CI installs the client's packages (npm ci)"
        pytest.skip("axe-core is not installed: npm ci in client")
    page = open_page(browser, served.address)
    place = {"x": 120, "y": 70, "frame": 2}
    for name, edit in {
        "words": {"kind": "text", "layer": "background", "text": "LOOM", "place": place},
        "held": {"kind": "stabilize", "layer": "background"},
        "adjusted": {"kind": "adjust", "layer": "object", "hue": 20},
    }.items():
        page.evaluate("placed => layerloom.session.request({ type: 'add', placed })", {"id": name, "edit": edit})
    until(lambda: revision(page) == 3)
    page.get_by_text("Background, camera, time").click()
    page.get_by_role("button", name="Choose text").click()
    page.evaluate("() => layerloom.problem('The stroke is not kept')")
    assert not faults(page)
    page.get_by_role("button", name="Close this message").click()
    for name in ("Keys (?)", "Words on the chosen layer", "Export the film or its layers"):
        page.get_by_role("button", name=name).click()
        assert page.get_by_role("dialog").is_visible() and not faults(page)
        page.keyboard.press("Escape")
    page.close()


def test_words_are_placed_and_fill_takes_a_region(browser: Browser, served: Served, project: Project) -> None:
    page = open_page(browser, served.address)
    before = show(page, 1)
    page.get_by_role("button", name="Words on the chosen layer").click()
    page.get_by_label("Words", exact=True).fill("HELLO")
    page.get_by_role("dialog").get_by_role("button", name="Place").click()
    until(lambda: revision(page) == 1)
    until(lambda: not np.array_equal(show(page, 1), before))
    worded = show(page, 1)
    page.locator(".stage").focus()
    page.keyboard.press("g")
    page.mouse.click(*on_page(page, *object_middle(project, 1)))
    until(lambda: revision(page) == 2)
    assert not np.array_equal(show(page, 1), worded)
    page.close()
