"""From footage to an edit in the browser: a box on an object, its masks, layers learned from the page, a stroke."""

import shutil
from pathlib import Path

import numpy as np
from editor_page import Served, drag, open_browser, revision, show, until
from footage import write_footage
from playwright.sync_api import Page

from layerloom.data.project import Project
from layerloom.data.selection import read_selection
from layerloom.synthetic.clip import make_clip

SIZE, FRAMES = (96, 64), 4


def draw_box(page: Page, box: tuple[float, float, float, float]) -> None:
    """Around an object of footage: left, top, width, height, in pixels of the frame."""
    left, top, width, height = box
    corners = page.evaluate(
        """corners => corners.map((corner) => {
          const [left, top] = layerloom.stage.view.toPage(corner);
          const area = document.querySelector(".stage").getBoundingClientRect();
          return [left / devicePixelRatio + area.left, top / devicePixelRatio + area.top];
        })""",
        [[left, top], [left + width, top + height]],
    )
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=4)
    page.mouse.up()


def test_an_object_is_boxed_its_layers_learned_and_painted_on(tmp_path: Path) -> None:
    truth = make_clip(size=SIZE, frames=FRAMES, seed=1)
    folder = write_footage(tmp_path / "made", truth)
    clip = Path(shutil.move(folder / "frames", tmp_path / "clip"))
    rows, columns = np.nonzero(truth.masks[0, 0] > 127)
    left, top = float(columns.min()), float(rows.min())
    served = Served(clip)
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(served.address)
        page.wait_for_selector("body[data-ready=true]")
        until(lambda: page.evaluate("() => layerloom.following.stage") != "reading")
        draw_box(page, (left, top, float(columns.max()) - left + 1, float(rows.max()) - top + 1))
        until(lambda: page.evaluate("() => layerloom.following.stage") == "followed")

        # Killed: what was said is there again.
        served.kill()
        served = Served(clip)
        page.goto(served.address)
        until(lambda: page.evaluate("() => window.layerloom?.objects?.length") == 1)
        page.get_by_role("button", name="Learn the layers of these objects").click()
        until(lambda: page.evaluate("() => layerloom.learning?.psnr_db || layerloom.session"))
        until(lambda: page.evaluate("() => layerloom.learning?.looks || layerloom.session"))

        # The same address is the project's editor now.
        until(lambda: page.evaluate("() => window.layerloom?.session?.state !== undefined"))
        page.wait_for_selector("body[data-ready=true]")
        until(lambda: page.evaluate("() => layerloom.session.state !== null"))
        before = show(page, 2)
        x, y = float(columns.mean()), float(rows.mean())
        show(page, 0)
        drag(page, [(x - 4, y), (x + 4, y)])
        until(lambda: revision(page) == 1)
        assert not np.array_equal(show(page, 2), before)
        assert not errors, errors
    served.end()
    project = Project.open(tmp_path / "clip.loom")
    assert [layer.name for layer in project.layers] == ["object1", "background"] and project.figures["psnr"] > 25
    assert read_selection(tmp_path / "clip.selection" / "selection.json").objects[0].name == "object1"
