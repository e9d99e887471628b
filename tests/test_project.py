"""Projects on disk: what is stored comes back, what is broken is named, nothing is left half-written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from truth_project import make_source_reference, make_truth_project

from layerloom.core.atomic import new_folder
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import pixel_centres
from layerloom.data.project import BakedLayer, Project
from layerloom.synthetic.clip import SyntheticClip, make_clip

SIZE = (64, 40)
FRAMES = 3


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(size=(160, 96), frames=3, seed=2)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), clip)


def make_layer(name: str, alpha_type: type = np.uint16, seed: int = 0) -> BakedLayer:
    rng = np.random.default_rng(seed)
    background = name == "background"
    alpha = rng.integers(0, np.iinfo(alpha_type).max, (FRAMES, SIZE[1], SIZE[0])).astype(alpha_type)
    return BakedLayer(
        name=name,
        kind="background" if background else "object",
        texture=rng.random((50, 70, 4)).astype(np.float32),
        alpha=None if background else alpha,
        uv_affine=np.array([[1.1, 0.05, 3.0], [-0.04, 0.9, 7.0]]) + rng.normal(0, 0.01, (FRAMES, 2, 3)),
        uv_offset=rng.normal(0, 12, (FRAMES, 6, 9, 2)).astype(np.float32),
        lighting=rng.random((FRAMES, 4, 5, 3)).astype(np.float16),
    )


def make_small_project(folder: Path, layers: list[BakedLayer] | None = None) -> Project:
    source = make_source_reference(folder / "gone.mp4", SIZE, FRAMES)
    baked = layers or [make_layer("dog"), make_layer("background", seed=1)]
    return Project.create(folder / "clip.loom", source, SIZE, baked, {"w": np.ones(3, np.float32)}, {"a": 1}, {}, {})


@pytest.mark.parametrize("alpha_type", [np.uint8, np.uint16])
def test_everything_stored_comes_back(tmp_path: Path, alpha_type: type) -> None:
    baked = [make_layer("dog", alpha_type), make_layer("background", seed=1)]
    created = make_small_project(tmp_path, baked)
    project = Project.open(tmp_path / "clip.loom")
    assert project.source == created.source and project.training_size == SIZE and project.settings == {"a": 1}
    assert [layer.name for layer in project.layers] == ["dog", "background"]
    np.testing.assert_array_equal(project.weights()["w"], np.ones(3, np.float32))
    for stored, layer in zip(project.layers, baked, strict=True):
        assert stored.canvas == (70, 50)
        np.testing.assert_allclose(stored.texture, layer.texture, atol=0.51 / 65535)
        np.testing.assert_array_equal(stored.uv_affine, layer.uv_affine)
        for frame in range(FRAMES):
            np.testing.assert_allclose(stored.uv_offset(frame), layer.uv_offset[frame], atol=1e-3)
            np.testing.assert_array_equal(stored.lighting_grid(frame), layer.lighting[frame])
            if layer.alpha is not None:
                np.testing.assert_array_equal(stored.alpha(frame), layer.alpha[frame])
                assert stored.alpha(frame).dtype == alpha_type


def test_uv_is_the_affine_map_plus_the_bilinear_offset(tmp_path: Path) -> None:
    project = make_small_project(tmp_path)
    baked = make_layer("dog")
    centre = pixel_centres(SIZE)
    x, y = centre[17, 30]
    column, row = x * 8 / SIZE[0], y * 5 / SIZE[1]
    (j, i), (fx, fy) = (int(column), int(row)), (column % 1, row % 1)
    nodes = baked.uv_offset[1]
    offset = (1 - fy) * ((1 - fx) * nodes[i, j] + fx * nodes[i, j + 1])
    offset = offset + fy * ((1 - fx) * nodes[i + 1, j] + fx * nodes[i + 1, j + 1])
    expected = baked.uv_affine[1] @ (x, y, 1) + offset
    np.testing.assert_allclose(project.uv(0, 1)[17, 30], expected, atol=2e-3)
    np.testing.assert_allclose(project.uv_at(0, 1, centre), project.uv(0, 1), atol=2e-3)
    window = (slice(5, 31), slice(9, 60))
    np.testing.assert_allclose(project.uv(0, 1, window), project.uv(0, 1)[window], atol=1e-4)


def test_stored_uv_is_true_within_a_twentieth_of_a_pixel(project: Project, clip: SyntheticClip) -> None:
    for layer in range(2):
        for frame in range(3):
            seen = clip.alpha[layer, frame] > 0
            error = np.linalg.norm(project.uv(layer, frame) - clip.uv[layer, frame], axis=-1)
            assert error[seen].max() < 0.05


def test_lighting_and_alpha_are_true(project: Project, clip: SyntheticClip) -> None:
    for frame in range(3):
        seen = clip.alpha[0, frame] > 0
        assert np.abs(project.lighting(0, frame) - clip.lighting[0, frame])[seen].max() < 0.01
        np.testing.assert_allclose(project.own_alpha(0, frame), clip.alpha[0, frame], atol=1e-4)
        assert (project.own_alpha(1, frame) == 1).all()


def test_the_inverse_map_leads_back(project: Project, clip: SyntheticClip) -> None:
    xy = pixel_centres(clip.size)
    found, inside = project.find_xy(0, 2, project.uv(0, 2))
    seen = clip.alpha[0, 2] > 0
    assert inside[seen].all()
    np.testing.assert_allclose(found[seen], xy[seen], atol=0.02)
    _, outside = project.find_xy(1, 0, project.uv(1, 0) + np.array([clip.size[0], 0], np.float32))
    assert not outside.any()


def test_the_source_is_found_beside_a_moved_project(tmp_path: Path, clip: SyntheticClip) -> None:
    make_truth_project(tmp_path / "here", clip)
    (tmp_path / "here").rename(tmp_path / "there")
    project = Project.open(tmp_path / "there" / "clip.loom")
    assert project.source_path.resolve() == (tmp_path / "there" / "frames").resolve()
    np.testing.assert_array_equal(next(iter(project.read_source(range(1, 2)))), clip.frames[1])


def test_a_source_that_is_gone_or_changed_is_named(tmp_path: Path, clip: SyntheticClip) -> None:
    project = make_truth_project(tmp_path, clip)
    shutil.copy(tmp_path / "frames" / "00000.png", tmp_path / "frames" / "00002.png")
    with pytest.raises(LayerloomError, match=r"frames: not the footage .* its content has changed"):
        _ = project.source_path
    shutil.rmtree(tmp_path / "frames")
    with pytest.raises(LayerloomError, match=r"frames: the project's source is gone .*synthesis"):
        _ = project.source_path


def test_what_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayerloomError, match="not a layerloom project"):
        Project.open(tmp_path / "missing.loom")
    (tmp_path / "project.json").write_text('{"format": "something else"}')
    with pytest.raises(LayerloomError, match="not a layerloom project"):
        Project.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "written by a newer layerloom"),
        ({"version": None}, "damaged project: it has no version"),
        ({"training_size": [0, 3]}, "damaged project"),
        ({"layers": [{"name": "../dog", "kind": "object", "canvas": [70, 50]}]}, "damaged project"),
        ({"source": {}}, "damaged project"),
        ({"layers": None}, "damaged project"),
    ],
)
def test_a_bad_header_is_one_clear_line(tmp_path: Path, change: dict[str, object], message: str) -> None:
    make_small_project(tmp_path)
    header = tmp_path / "clip.loom" / "project.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), **change}))
    with pytest.raises(LayerloomError, match=message) as raised:
        Project.open(tmp_path / "clip.loom")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("part", ["texture.png", "maps.safetensors", "alpha/00001.png"])
def test_a_missing_file_is_named(tmp_path: Path, part: str) -> None:
    project = make_small_project(tmp_path)
    (project.layers[0].folder / part).unlink()
    with pytest.raises(LayerloomError, match=f"{part}: damaged project: 1 of its files missing"):
        Project.open(project.path)


def test_broken_files_are_named(tmp_path: Path) -> None:
    project = make_small_project(tmp_path)
    header = project.path / "project.json"
    text = header.read_text()
    header.write_text(text[: len(text) // 2])
    with pytest.raises(LayerloomError, match=r"project\.json: damaged project: not valid JSON"):
        Project.open(project.path)
    header.write_text(text)
    maps = project.layers[1].folder / "maps.safetensors"
    maps.write_bytes(maps.read_bytes()[:-100])
    with pytest.raises(LayerloomError, match=r"maps\.safetensors: damaged project: cannot be read"):
        Project.open(project.path)


def test_maps_of_another_length_are_refused(tmp_path: Path) -> None:
    project = make_small_project(tmp_path)
    header = json.loads((project.path / "project.json").read_text())
    header["source"]["frames"] -= 1
    header["source"]["timestamps"].pop()
    (project.path / "project.json").write_text(json.dumps(header))
    with pytest.raises(LayerloomError, match="not one map for each of 2 frames"):
        Project.open(project.path)


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path: Path) -> None:
    make_small_project(tmp_path)
    with pytest.raises(LayerloomError, match="exists already"):
        make_small_project(tmp_path)
    with pytest.raises(RuntimeError), new_folder(tmp_path / "other") as folder:
        (folder / "half").write_text("written")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["clip.loom"]


def test_the_learning_half_keeps_its_promises(tmp_path: Path) -> None:
    layer = make_layer("dog")
    assert layer.alpha is not None
    for broken in (
        replace(layer, alpha=None),
        replace(layer, alpha=layer.alpha[:, :-1]),
        replace(layer, lighting=layer.lighting[:, :1]),
        replace(layer, uv_offset=np.full_like(layer.uv_offset, np.nan)),
    ):
        with pytest.raises(ValueError, match="layer dog"):
            make_small_project(tmp_path, [broken, make_layer("background")])
    assert not list(tmp_path.iterdir())


def test_unknown_layers_and_frames_are_answered_with_those_there_are(tmp_path: Path) -> None:
    project = make_small_project(tmp_path)
    with pytest.raises(LayerloomError, match="no layer 'cat'; its layers are dog, background"):
        project.layer_index("cat")
    with pytest.raises(LayerloomError, match="has frames 0:3"):
        project.frame_index(3)
