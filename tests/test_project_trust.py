"""A stored project may come from anywhere: whatever it holds, it is read as it was written or refused with one line."""

import hashlib
import json
import random
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_project import FRAMES, make_small_project
from truth_project import make_truth_project

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.render.stream import render
from layerloom.synthetic.clip import make_clip

Header = dict[str, Any]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_project(tmp_path_factory.mktemp("stored")).path


@pytest.fixture
def project(stored: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(stored, tmp_path / "clip.loom"))


def edit_header(project: Path, change: Callable[[Header], object]) -> None:
    """Change project.json as someone would who means harm: without checksums, as layerloom 0.1 wrote it."""
    file = project / "project.json"
    header = json.loads(file.read_text())
    for name in ("minor_version", "files", "checksum"):
        header.pop(name, None)
    change(header)
    file.write_text(json.dumps(header))


def strip_checksums(project: Path) -> None:
    edit_header(project, lambda header: None)


def read_everything(path: Path) -> None:
    """All that is stored, as edits and exports read it."""
    project = Project.open(path)
    project.weights()
    for index, layer in enumerate(project.layers):
        assert np.isfinite(layer.texture).all()
        for frame in range(project.source.frames):
            assert np.isfinite(project.uv(index, frame)).all()
            assert np.isfinite(project.lighting(index, frame)).all()
            assert np.isfinite(project.own_alpha(index, frame)).all()
            assert np.isfinite(project.maps(index).positions(frame, project.uv(index, frame))).all()


def refused(path: Path) -> str:
    with pytest.raises(LayerloomError) as caught:
        read_everything(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


def test_a_project_of_version_0_1_is_read(project: Path) -> None:
    """It has no checksums."""
    strip_checksums(project)
    read_everything(project)


MAPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "lighting of one channel": lambda maps: maps[..., :1],
    "lighting of four channels": lambda maps: np.concatenate([maps, maps[..., :1]], -1),
    "lighting in other types": lambda maps: maps.astype(np.float64),
    "lighting of integers": lambda maps: maps.astype(np.uint16),
    "lighting of one node": lambda maps: maps[:, :1],
    "lighting of another number of frames": lambda maps: maps[:-1],
    "lighting without a dimension": lambda maps: maps[..., 0],
    "lighting that is not finite": lambda maps: np.where(np.arange(3) == 1, np.nan, maps).astype(np.float16),
    "uv_offset of one axis": lambda maps: maps[..., :1],
    "uv_offset of floats": lambda maps: maps.astype(np.float32),
    "uv_offset of signed levels": lambda maps: maps.astype(np.int16),
    "uv_offset of bytes": lambda maps: maps.astype(np.uint8),
    "uv_offset of no nodes": lambda maps: maps[:, :0],
    "uv_offset_scale of halves": lambda maps: maps.astype(np.float16),
    "uv_offset_scale of one axis": lambda maps: maps[..., :1],
    "uv_offset_scale that is not finite": lambda maps: np.full_like(maps, np.inf),
    "uv_offset_scale far beyond": lambda maps: np.full_like(maps, 1e30),
    "uv_affine of single precision": lambda maps: maps.astype(np.float32),
    "uv_affine of two columns": lambda maps: maps[..., :2],
    "uv_affine that is not finite": lambda maps: np.full_like(maps, np.nan),
    "uv_affine that is flat": lambda maps: np.zeros_like(maps),
    "uv_affine far beyond": lambda maps: maps * 1e300,
}


@pytest.mark.parametrize("case", MAPS)
def test_maps_of_other_kinds_are_refused(project: Path, case: str) -> None:
    """Compiled loops read them by their addresses."""
    file = project / "layers" / "dog" / "maps.safetensors"
    maps = load_file(file)
    name = case.split()[0]
    maps[name] = np.ascontiguousarray(MAPS[case](maps[name]))
    save_file(maps, file)
    assert "not as it was written (its checksum differs)" in refused(project) or "damaged project" in refused(project)
    strip_checksums(project)
    assert f"maps.safetensors: damaged project: {name} is" in refused(project)


def test_maps_at_the_limits_are_drawn(tmp_path: Path) -> None:
    """No loop looks outside of a texture, wherever a map leads to."""
    path = make_truth_project(tmp_path, make_clip((64, 48), 2, seed=1)).path
    strip_checksums(path)
    file = path / "layers" / "background" / "maps.safetensors"
    whole = load_file(file)
    for scale, shift in ((1e7, 0.0), (1.0, 9e6), (1.0, -9e6), (-3e4, 1e7)):
        maps = {name: array.copy() for name, array in whole.items()}
        maps["uv_affine"][..., :2] = np.clip(maps["uv_affine"][..., :2] * scale, -1e7, 1e7)
        maps["uv_affine"][..., 2] = shift
        maps["uv_offset_scale"][:, 0] = -1e7
        maps["lighting"][:] = 65504
        save_file(maps, file)
        frames = list(render(Project.open(path), mode="synthesis"))
        assert len(frames) == 2 and frames[0].image.shape == (48, 64, 3)


def test_a_flipped_bit_anywhere_is_found(stored: Path, tmp_path: Path) -> None:
    draw = random.Random(3)
    files = sorted(file.relative_to(stored) for file in stored.rglob("*") if file.is_file())
    assert len(files) == 2 + 2 * 2 + FRAMES
    for file in files:
        for _ in range(3):
            path = Path(shutil.copytree(stored, tmp_path / "copy"))
            data = bytearray((path / file).read_bytes())
            bit = draw.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
            (path / file).write_bytes(data)
            if not moves_the_footage(stored, path):
                refused(path)
            shutil.rmtree(path)


def moves_the_footage(stored: Path, path: Path) -> bool:
    """Whether the header differs only in where the footage is said to be: that may be changed by hand."""

    def rest(folder: Path) -> str:
        text = (folder / "project.json").read_text("utf-8", "replace")
        return re.sub(r'"(relative_)?path": ".*"', "", text)

    whole = (path / "project.json").read_bytes() == (stored / "project.json").read_bytes()
    return not whole and rest(path) == rest(stored)


@pytest.mark.parametrize(
    "name", ["layers/dog/texture.png", "layers/dog/alpha/00001.png", "layers/background/maps.safetensors"]
)
def test_links_are_not_followed(project: Path, name: str) -> None:
    strip_checksums(project)
    file = project / name
    elsewhere = project.parent / file.name
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert f"{name}: damaged project: not a file of its own; links are not followed" in refused(project)


@pytest.mark.parametrize("name", ["layers", "layers/dog", "layers/dog/alpha"])
def test_nor_are_linked_folders(project: Path, name: str) -> None:
    strip_checksums(project)
    (project / name).rename(project.parent / "elsewhere")
    (project / name).symlink_to(project.parent / "elsewhere")
    assert "links are not followed" in refused(project)


@pytest.mark.parametrize(
    "name", ["a[exec id]", 'a"b', "a\nb", "a\n", "../dog", "..", "", ".dog", "a/b", "a\\b", "a b", "a" * 300]
)
def test_names_that_are_no_names_are_refused(project: Path, name: str) -> None:
    edit_header(project, lambda header: header["layers"][0].update(name=name))
    assert "layers[0].name: must be a layer's name" in refused(project)


def change(*path: str | int, to: object) -> Callable[[Header], None]:
    def apply(header: Header) -> None:
        entry: Any = header
        for step in path[:-1]:
            entry = entry[step]
        entry[path[-1]] = to

    return apply


BACKGROUND = {"name": "background", "kind": "background", "canvas": [70, 50]}
DOG = {"name": "dog", "kind": "object", "canvas": [70, 50]}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("layers", to=[DOG, {**BACKGROUND, "name": "dog2"}, BACKGROUND]), "layers: must end with the one"),
        (change("layers", to=[DOG]), "layers: must end with the one background"),
        (change("layers", to=[BACKGROUND, DOG]), "layers: must end with the one background"),
        (change("layers", to=[]), "layers: must be a list"),
        (change("layers", to=[DOG, {**DOG, "name": "DOG"}, BACKGROUND]), "layers: names repeat"),
        (change("layers", 0, "canvas", to=[20000, 20000]), r"layers\[0\].canvas: must be at most \d+ pixels"),
        (
            change("layers", 0, "canvas", to=[70, 10**9]),
            r"layers\[0\].canvas\[1\]: must be a whole number from 1",
        ),
        (change("layers", 0, "canvas", to=[70.5, 50]), r"layers\[0\].canvas\[0\]: must be a whole number"),
        (change("layers", 0, "kind", to="sky"), r"layers\[0\].kind: must be one of background, object"),
        (change("layers", 0, "kind", to=[]), r"layers\[0\].kind: must be one of"),
        (change("source", "size", to=[20000, 20000]), "source.size: must be at most"),
        (change("source", "size", to=[0, 40]), r"source.size\[0\]: must be a whole number from 1"),
        (change("source", "frames", to=10**9), "source.frames: must be at most 100000"),
        (change("source", "frames", to=0), "source.frames: must be a whole number from 1"),
        (change("source", "frames", to=2), "source.timestamps: there are 3 for 2 frames"),
        (change("source", "first_frame", to=-1), "source.first_frame: must be a frame's number"),
        (change("source", "fps", to="1e999999999"), "source.fps: must be a fraction"),
        (change("source", "fps", to="1/0"), "source.fps: must be a fraction, not one over 0"),
        (change("source", "fps", to="0/1"), "source.fps: must be from 1/10000"),
        (change("source", "fps", to="1/100000"), "source.fps: must be from 1/10000"),
        (change("source", "fps", to="9999999/1"), "source.fps: must be from 1/10000"),
        (change("source", "fps", to=24), "source.fps: must be a fraction"),
        (change("source", "fps", to="9" * 5000), "source.fps: must be a fraction"),
        (
            change("source", "timestamps", to=["0", "1/24", "1/24"]),
            r"source.timestamps\[2\]: must be later",
        ),
        (change("source", "timestamps", to=["0", "1/0", "1"]), r"source.timestamps\[1\]: must be a fraction"),
        (change("source", "timestamps", to=["0", "1", "99999999999"]), r"source.timestamps\[2\]: must be at most"),
        (change("source", "timestamps", to=["0", "inf", "1"]), r"source.timestamps\[1\]: must be a fraction"),
        (change("source", "path", to="a\0b"), "source.path: must be the name of a file"),
        (change("source", "path", to=3), "source.path: must be the name of a file, not 3"),
        (change("source", "colour", to=3), "source: 'colour' is not known here"),
        (change("settings", to=[]), "settings: must be an object"),
        (change("settings", to=json.loads("[" * 40 + "]" * 40)), "settings: must be an object"),
        (change("settings", to={"a": json.loads("[" * 40 + "]" * 40)}), "settings: lists or objects lie more than 16"),
        (change("figures", to={"psnr": "high"}), "figures.psnr: must be a number or null"),
        (change("figures", to={"history": [{}]}), r"figures.history\[0\]: lacks 'step'"),
        (change("version", to=True), "it has no version"),
        (change("version", to=7), "written by a newer layerloom"),
        (change("minor_version", to=7), "written by a newer layerloom"),
        (change("extra", to=7), "'extra' is not known here"),
        (change("training_size", to=[64, 40, 3]), "training_size: must be a list of 2"),
        (change("training_size", to=[40, 64]), "not a PNG of 40x64 with 1 channels"),
    ],
)
def test_headers_that_cannot_be_are_refused(project: Path, edit: Callable[[Header], None], message: str) -> None:
    edit_header(project, edit)
    assert re.search(message, refused(project))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000 + "]" * 200_000, "lists or objects lie too deep"),
        ('{"format": "layerloom-project", "version": ' + "9" * 9000 + "}", "damaged project"),
        ('{"format": "layerloom-project", "version": 1, "source": NaN}', "not valid JSON"),
        ('{"format": "layerloom-project", "version": 1}', "lacks 'source'"),
        ("[]", "not a layerloom project"),
        ("3", "not a layerloom project"),
        ("", "not valid JSON"),
        ("\udcff", "not text in UTF-8"),
    ],
    ids=range(8),
)
def test_what_is_no_header_is_refused(project: Path, text: str, message: str) -> None:
    (project / "project.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert message in refused(project)


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG that says what it is told to."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texture.png", png(30000, 30000, 16, 6, b"")),
        ("texture.png", png(70, 50, 16, 2, bytes(50 * (1 + 70 * 6)))),
        ("texture.png", png(70, 50, 16, 6, b"")),
        ("texture.png", b"GIF89a"),
        ("texture.png", b""),
        ("alpha/00000.png", png(64, 41, 8, 0, bytes(41 * 65))),
        ("alpha/00000.png", png(64, 40, 1, 0, bytes(40 * 9))),
        ("alpha/00000.png", png(64, 40, 8, 3, bytes(40 * 65))),
        ("alpha/00000.png", png(64, 40, 8, 0, bytes(40 * 65)) + bytes(10**6)),
    ],
    ids=range(9),
)
def test_pictures_of_other_kinds_are_refused_before_they_are_decoded(project: Path, name: str, content: bytes) -> None:
    strip_checksums(project)
    (project / "layers" / "dog" / name).write_bytes(content)
    assert f"{name}: damaged project" in refused(project)


def test_any_damage_ends_in_one_line(stored: Path, tmp_path: Path) -> None:
    """Seeded mutations of what has no checksums; the count is kept small, as each reads a whole project."""
    draw = random.Random(18)
    plain = Path(shutil.copytree(stored, tmp_path / "plain"))
    strip_checksums(plain)
    files = sorted(file.relative_to(plain) for file in plain.rglob("*") if file.is_file())
    outcomes = {True: 0, False: 0}
    for _ in range(60):
        path = Path(shutil.copytree(plain, tmp_path / "copy"))
        file = path / draw.choice(files)
        file.write_bytes(mutate(file.read_bytes(), draw))
        try:
            read_everything(path)
            outcomes[True] += 1
        except LayerloomError as error:
            assert "\n" not in str(error)
            outcomes[False] += 1
        shutil.rmtree(path)
    assert outcomes[False] > 15, outcomes


def mutate(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    place = draw.randrange(len(data))
    match draw.randrange(5):
        case 0:
            changed[place] ^= 1 << draw.randrange(8)
        case 1:
            del changed[place:]
        case 2:
            changed[place : place + draw.randrange(1, 64)] = draw.randbytes(draw.randrange(64))
        case 3:
            changed[: min(200, len(changed))] = draw.sample(changed[:200], len(changed[:200]))
        case _:
            for found in list(re.finditer(rb"[0-9]+", data))[:40]:
                if draw.random() < 0.1:
                    changed[found.start() : found.end()] = b"9" * (found.end() - found.start())
    return bytes(changed)


def test_every_file_has_its_checksum_and_the_rights_of_new_files(stored: Path, tmp_path: Path) -> None:
    header = json.loads((stored / "project.json").read_text())
    files = {file.relative_to(stored).as_posix(): file for file in stored.rglob("*") if file.is_file()}
    del files["project.json"]
    assert header["files"] == {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    (tmp_path / "new").touch()
    assert {oct(file.stat().st_mode) for file in files.values()} == {oct((tmp_path / "new").stat().st_mode)}


def test_the_footage_can_be_told_to_lie_elsewhere(tmp_path: Path) -> None:
    clip = make_clip((64, 48), 2, seed=1)
    path = make_truth_project(tmp_path / "here", clip).path
    (tmp_path / "here" / "frames").rename(tmp_path / "frames")
    file = path / "project.json"
    file.write_text(file.read_text().replace(str(tmp_path / "here" / "frames"), str(tmp_path / "frames")))
    assert Project.open(path).source_path == tmp_path / "frames"
    assert media.probe(Project.open(path).source_path).frames == 2


def test_footage_that_is_no_file_is_not_opened(project: Path) -> None:
    """A device or a pipe would be waited for."""
    edit_header(project, change("source", "path", to="/dev/zero"))
    opened = Project.open(project)
    assert not opened.source_exists
    with pytest.raises(LayerloomError, match="the project's source is gone"):
        _ = opened.source_path
