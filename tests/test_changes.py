"""What edits change is said: nothing, some of a texture, or so much that the file may be a wrong one."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom import media
from layerloom.cli import main as cli
from layerloom.compose.composition import compose
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.edits.canvas import At, Overlay, Paint, Place, Texture
from layerloom.edits.document import Edit, Hide
from layerloom.edits.shot import Extend, Scale
from layerloom.synthetic.clip import make_clip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("changes"), make_clip((96, 64), 3, seed=1))


def texture(project: Project) -> np.ndarray:
    """The object's, as it is exported."""
    return media.quantise(project.layers[0].texture, 16)


def shares(project: Project, *edits: Edit) -> list[float | None]:
    return [share for _, share in compose(project, edits).canvas_shares()]


def test_shares_of_a_canvas(project: Project, tmp_path: Path) -> None:
    same, painted, noisy = texture(project), texture(project), texture(project)
    height, width = same.shape[:2]
    painted[: height // 2, : width // 2, :3] = 65535 - painted[: height // 2, : width // 2, :3]
    noisy[..., :3] = np.clip(
        noisy[..., :3].astype(int) + np.random.default_rng(0).integers(-6000, 6000, (3,)), 0, 65535
    )
    for name, picture in (("same", same), ("painted", painted), ("noisy", noisy)):
        media.write_image(tmp_path / f"{name}.png", picture)
    (none,) = shares(project, Texture("object", tmp_path / "same.png"))
    (some,) = shares(project, Texture("object", tmp_path / "painted.png"))
    (most,) = shares(project, Texture("object", tmp_path / "noisy.png"))
    assert none == 0 and some == pytest.approx(0.25, abs=0.05) and most is not None and most > 0.9
    assert shares(project, Texture("object", tmp_path / "painted.png"), Hide("object")) == [0]


def test_edits_that_reach_nothing(project: Project, tmp_path: Path) -> None:
    clear = np.zeros((64, 96, 4), np.uint8)
    media.write_image(tmp_path / "clear.png", clear)
    work = [Paint(0, tmp_path / "clear.png"), Place("object", tmp_path / "clear.png", At(9, 9, height=4))]
    assert shares(project, *work) == [0, 0]


def test_a_file_of_nearly_the_canvas_shape_is_scaled_to_it(project: Project, tmp_path: Path) -> None:
    width, height = project.layers[0].canvas
    other = cv2.resize(texture(project), (2 * width + width // 50, 2 * height), interpolation=cv2.INTER_CUBIC)
    media.write_image(tmp_path / "near.png", other)
    assert shares(project, Texture("object", tmp_path / "near.png")) == [0]
    media.write_image(tmp_path / "far.png", np.zeros((height, 2 * width, 4), np.uint8))
    for edit in (Overlay("object", tmp_path / "far.png"), Texture("object", tmp_path / "far.png")):
        with pytest.raises(LayerloomError, match="the texture that is exported has it: paint"):
            compose(project, [edit])


def test_outputs_beyond_the_limits_are_refused_at_once(project: Project) -> None:
    with pytest.raises(LayerloomError, match="at most 268435456 pixels are drawn"):
        compose(project, [Scale(8), Extend(16384, 16384, 16384, 16384)])


def test_synthesis_does_without_footage_that_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_truth_project(tmp_path, make_clip((96, 64), 3, seed=1), training_size=(48, 32))
    (tmp_path / "frames" / "00002.png").write_bytes((tmp_path / "frames" / "00000.png").read_bytes())
    words = ["layerloom", "render", str(project.path), "--out", f"{tmp_path}/%d.png", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [*words, "--mode", "synthesis"])
    cli.main()
    assert "its content has changed; mattes stay as they were learned" in capsys.readouterr().err
    changed = [media.read_image(tmp_path / f"{number}.png") for number in range(3)]
    (tmp_path / "frames").rename(tmp_path / "elsewhere")
    for number in range(3):
        (tmp_path / f"{number}.png").unlink()
    cli.main()
    assert "the project's source is gone" in capsys.readouterr().err
    np.testing.assert_array_equal([media.read_image(tmp_path / f"{number}.png") for number in range(3)], changed)
    words[words.index("--out") + 1] = f"{tmp_path}/again-%d.png"
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        cli.main()
    assert "the project's source is gone" in capsys.readouterr().err


def test_the_command_says_so(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    media.write_image(tmp_path / "same.png", texture(project))
    media.write_image(tmp_path / "other.png", 65535 - texture(project)[..., :3])
    options = ["--frames", "0:1", "--device", "cpu"]
    options += ["--texture", f"object={tmp_path}/same.png", "--texture", f"object={tmp_path}/other.png"]
    monkeypatch.setattr(
        sys, "argv", ["layerloom", "render", str(project.path), "--out", f"{tmp_path}/%d.png", *options]
    )
    cli.main()
    said = capsys.readouterr().err
    assert "same.png: changes nothing of layer 'object'" in said
    assert "of layer 'object'; was it saved lossily, in another colour space" in said
