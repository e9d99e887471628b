"""The export as another program reads it: recomposed with OpenCV alone it is what render makes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import OpenEXR
import pytest
from truth_project import make_truth_project

from layerloom import media
from layerloom.cli.commands import export as export_command
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import uv_to_st
from layerloom.core.progress import Progress
from layerloom.data.mattes import stream_mattes
from layerloom.data.project import Project
from layerloom.export.export import PARTS, export
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import make_clip

FRAMES = range(1, 4)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), make_clip(size=(160, 96), frames=4, seed=1, objects=2))


@pytest.fixture(scope="module")
def exported(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    told: list[Progress] = []
    export(project, folder, frames=FRAMES, on_progress=told.append)
    assert [(progress.stage, progress.done) for progress in told] == [("export", n / 3) for n in (1, 2, 3)]
    return folder


def read_channels(path: Path, names: str) -> np.ndarray:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
        assert set(file.channels()) == {*names, *"RGB"}
        low, high = file.header()["dataWindow"]
        assert tuple(low) == (0, 0) and tuple(high) == (159, 95)
        return np.stack([file.channels()[name].pixels for name in names], -1)


def test_the_manifest_says_what_there_is(project: Project, exported: Path) -> None:
    assert json.loads((exported / "manifest.json").read_text()) == {
        "format": "layerloom-export",
        "version": 1,
        "width": 160,
        "height": 96,
        "frames": 3,
        "first_frame": 1,
        "fps": "24/1",
        "layers": [{"name": layer.name, "kind": layer.kind, "canvas": list(layer.canvas)} for layer in project.layers],
    }
    files = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    expected = {"manifest.json"}
    for layer in ("object1", "object2", "background"):
        expected.add(f"{layer}/texture.png")
        for number in range(3):
            expected |= {f"{layer}/matte/{number:05d}.png", f"{layer}/st/{number:05d}.exr"}
            expected |= {f"{layer}/lighting/{number:05d}.exr"}
    assert files == expected


def test_mattes_sum_to_one(exported: Path) -> None:
    for number in range(3):
        paths = exported.glob(f"*/matte/{number:05d}.png")
        mattes = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths])
        assert mattes.dtype == np.uint16 and mattes.shape == (3, 96, 160)
        assert (mattes.astype(int).sum(0) == 65535).all()


def test_st_maps_hold_positions_within_a_fiftieth_of_a_pixel(project: Project, exported: Path) -> None:
    for index, layer in enumerate(project.layers):
        for number, frame in enumerate(FRAMES):
            st = read_channels(exported / layer.name / "st" / f"{number:05d}.exr", "RG")
            assert st.dtype == np.float32 and np.isfinite(st).all()
            width, height = layer.canvas
            uv = np.stack([st[..., 0].astype(float) * width, (1 - st[..., 1].astype(float)) * height], -1)
            assert np.abs(uv - project.uv(index, frame)).max() < 0.001


def test_positions_need_all_32_bits(project: Project, exported: Path) -> None:
    """What is stored is exact to a fiftieth of a pixel at 1920; as half floats or with DWA it would not be."""
    path = exported / "background" / "st" / "00000.exr"
    st = read_channels(path, "RG")
    true = uv_to_st(project.uv(2, FRAMES[0]).astype(float), project.layers[2].canvas)
    assert 1920 * np.abs(st - true).max() < 0.02
    assert 1920 * np.abs(st.astype(np.float16) - true).max() > 0.2
    for compression, smallest in ((OpenEXR.ZIP_COMPRESSION, 0), (OpenEXR.DWAA_COMPRESSION, 0.2)):
        again = path.with_name("again.exr")
        header = {"compression": compression, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"R": st[..., 0].copy(), "G": st[..., 1].copy()}).write(str(again))
        with OpenEXR.File(str(again), separate_channels=True) as file:
            stored = np.stack([file.channels()[name].pixels for name in "RG"], -1)
        again.unlink()
        error = 1920 * np.abs(stored - true).max()
        assert error > smallest if smallest else error < 0.02


def test_16_bit_positions_are_as_exact_as_the_manifest_says(project: Project, tmp_path: Path) -> None:
    export(project, tmp_path / "out", parts={"st16"}, frames=range(1))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    for index, (layer, entry) in enumerate(zip(project.layers, manifest["layers"], strict=True)):
        file = cv2.imread(str(tmp_path / "out" / layer.name / "st16" / "00000.png"), cv2.IMREAD_UNCHANGED)
        assert file.dtype == np.uint16 and file.shape == (96, 160, 3) and not file[..., 0].any()
        st = file[..., 2:0:-1] / 65535.0
        width, height = layer.canvas
        true = np.clip(project.uv(index, 0), 0, layer.canvas)
        error = np.abs(np.stack([st[..., 0] * width, (1 - st[..., 1]) * height], -1) - true).max((0, 1))
        assert entry["st16_error_texels"] == pytest.approx([width / 131070, height / 131070], abs=1e-5)
        assert (error < np.array(entry["st16_error_texels"]) + 1e-4).all()
        assert (error > 0.5 * np.array(entry["st16_error_texels"])).all()


def test_another_program_rebuilds_the_frames(exported: Path, project: Project) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    rendered = render_images(project, frames=FRAMES, mode="synthesis")
    for number, expected in enumerate(rendered):
        picture = np.zeros((96, 160, 3), np.float32)
        for layer in manifest["layers"]:
            folder, (width, height) = exported / layer["name"], layer["canvas"]
            texture = cv2.imread(str(folder / "texture.png"), cv2.IMREAD_UNCHANGED)[..., 2::-1]
            assert texture.dtype == np.uint16 and texture.shape == (height, width, 3)
            st = read_channels(folder / "st" / f"{number:05d}.exr", "RG")
            x, y = st[..., 0] * width - 0.5, (1 - st[..., 1]) * height - 0.5
            colour = cv2.remap(texture / np.float32(65535), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            light = read_channels(folder / "lighting" / f"{number:05d}.exr", "RGB")
            assert light.dtype == np.float16
            matte = cv2.imread(str(folder / "matte" / f"{number:05d}.png"), cv2.IMREAD_UNCHANGED) / np.float32(65535)
            picture += matte[..., None] * light.astype(np.float32) * colour
        error = picture - expected / np.float32(255)
        assert -10 * np.log10(np.square(error).mean()) > 55


def test_the_help_names_every_part() -> None:
    assert set(PARTS) <= set(re.findall(r"\w+", str(export_command.export.__doc__)))


def test_only_what_is_asked_for_is_written(project: Project, tmp_path: Path) -> None:
    export(project, tmp_path / "out", parts={"textures"})
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == sorted(
        ["manifest.json", "object1", "object2", "background", *["texture.png"] * 3]
    )


def test_wrong_requests_write_nothing(project: Project, tmp_path: Path) -> None:
    with pytest.raises(LayerloomError, match=r"'smoke'; there are textures, mattes, st, lighting, psd"):
        export(project, tmp_path / "out", parts={"st", "smoke"})
    with pytest.raises(LayerloomError, match="has frames 0:4"):
        export(project, tmp_path / "out", frames=range(2, 9))
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("precious")
    with pytest.raises(LayerloomError, match="mine: exists already"):
        export(project, tmp_path / "mine")
    assert (tmp_path / "mine" / "work.txt").read_text() == "precious"


def test_a_frame_in_layers_adds_up_and_keeps_positions_exact(project: Project, tmp_path: Path) -> None:
    export(project, tmp_path / "out", parts={"exr"}, frames=FRAMES)
    assert sorted(path.name for path in (tmp_path / "out" / "exr").iterdir()) == [f"{n:05d}.exr" for n in range(3)]
    names = {"beauty"}
    for layer in project.layers:
        names |= {f"{layer.name}_{kind}" for kind in ("rgba", "matte", "lighting", "st")}
    for number, rendered in enumerate(render_images(project, frames=FRAMES, mode="synthesis")):
        with OpenEXR.File(str(tmp_path / "out" / "exr" / f"{number:05d}.exr"), separate_channels=True) as file:
            assert len(file.parts) == 1 and file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
            planes = {name: channel.pixels for name, channel in file.channels().items()}
        assert {"R", "G", "B", "A", "object1_matte.A"} <= planes.keys()
        parts: dict[str, np.ndarray] = {}
        for name in sorted(planes, key=lambda name: "RGBA".index(name[-1])):
            layer = name.rpartition(".")[0] or "beauty"
            plane = planes[name][..., None]
            parts[layer] = plane if layer not in parts else np.dstack([parts[layer], plane])
        parts = {name: part[..., 0] if part.shape[2] == 1 else part for name, part in parts.items()}
        assert parts.keys() == names
        assert (parts["beauty"][..., 3] == 1).all()
        parts["beauty"] = parts["beauty"][..., :3]
        beauty = parts["beauty"].astype(np.float32)
        assert -10 * np.log10(np.square(beauty - rendered / np.float32(255)).mean()) > 55
        layers = sum(parts[f"{layer.name}_rgba"].astype(np.float32) for layer in project.layers)
        assert np.abs(layers[..., :3] - beauty).max() < 2e-3 and np.abs(layers[..., 3] - 1).max() < 2e-3
        mattes = sum(parts[f"{layer.name}_matte"] for layer in project.layers)
        assert np.abs(mattes - 1).max() < 1e-5
        for index, layer in enumerate(project.layers):
            st, lighting = parts[f"{layer.name}_st"], parts[f"{layer.name}_lighting"]
            assert st.dtype == np.float32 and st.shape == (96, 160, 3) and not st[..., 2].any()
            assert lighting.dtype == np.float16 and lighting.shape == (96, 160, 3)
            width, height = layer.canvas
            uv = np.stack([st[..., 0].astype(float) * width, (1 - st[..., 1].astype(float)) * height], -1)
            assert np.abs(uv - project.uv(index, FRAMES[number])).max() < 0.001


def test_videos_of_the_layers_add_up_to_the_source(project: Project, tmp_path: Path) -> None:
    export(project, tmp_path / "out", parts={"prores"}, frames=FRAMES)
    total = np.zeros((3, 96, 160, 3), np.float32)
    mattes = np.zeros((3, 96, 160), np.float32)
    source = np.stack(list(project.read_source(FRAMES))) / np.float32(255)
    for layer in project.layers:
        path = tmp_path / "out" / layer.name / "layer.mov"
        colour = media.to_float(np.stack(list(media.read_frames(path))))
        alpha = alpha_of(path, "prores")
        total += alpha[..., None] * colour
        mattes += alpha
        covered = alpha > 0.999
        assert covered.sum() > 500 and np.abs(colour - source)[covered].mean() < 2 / 255
    assert np.abs(mattes - 1).max() < 3 / 1023
    assert -10 * np.log10(np.square(total - source).mean()) > 40


def test_a_layer_for_the_browser(project: Project, tmp_path: Path) -> None:
    export(project, tmp_path / "out", parts={"vp9"}, frames=FRAMES)
    path = tmp_path / "out" / "object1" / "layer.webm"
    info = media.probe(path)
    assert (info.codec, info.frames, info.size) == ("vp9", 3, (160, 96))
    with av.open(str(path)) as container:
        assert container.streams.video[0].metadata["ALPHA_MODE"] == "1"
    shares = np.stack([share[0] for share in stream_mattes(project, FRAMES)])
    assert np.abs(alpha_of(path, "libvpx-vp9") - shares).mean() < 0.01


def alpha_of(path: Path, decoder: str) -> np.ndarray:
    """t h w; FFmpeg's own VP9 decoder leaves alpha out, so decoders are named."""
    planes: list[np.ndarray] = []
    with av.open(str(path)) as container:
        context = av.CodecContext.create(decoder, "r")
        context.extradata = container.streams.video[0].codec_context.extradata
        for packet in container.demux(video=0):
            for frame in context.decode(packet):
                plane, bits = frame.planes[3], frame.format.components[3].bits
                values = np.frombuffer(bytes(plane), np.uint8 if bits == 8 else np.uint16)
                planes.append(values.reshape(plane.height, -1)[:, : plane.width] / np.float32((1 << bits) - 1))
    return np.stack(planes)


def test_a_layer_may_be_named_as_a_part_is(tmp_path: Path) -> None:
    clip = replace(make_clip(size=(96, 64), frames=2, seed=1), names=("exr", "background"))
    export(make_truth_project(tmp_path, clip), tmp_path / "parts", ["exr", "textures"])
    files = sorted(path.name for path in (tmp_path / "parts" / "exr").iterdir())
    assert files == ["00000.exr", "00001.exr", "texture.png"]
