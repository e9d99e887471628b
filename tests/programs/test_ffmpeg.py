"""FFmpeg's own program reads what its libraries wrote, and the maps."""

from pathlib import Path

import numpy as np
import pytest
from programs import FRAMES, SIZE, Program, find

from layerloom import media
from layerloom.data.project import Project


@pytest.fixture(scope="module")
def ffmpeg() -> Program:
    program = find("ffmpeg", version=("-version",))
    return Program("ffmpeg", (*program.command, "-hide_banner", "-loglevel", "error", "-nostdin"))


def planes(file: Path, channels: int, dtype: str = "<f4") -> np.ndarray:
    """Raw video as t channels h w."""
    return np.frombuffer(file.read_bytes(), dtype).reshape(len(FRAMES), channels, SIZE[1], SIZE[0])


def test_st_maps_are_read(ffmpeg: Program, project: Project, exported: Path, tmp_path: Path) -> None:
    """As three planes of floats, in the order green, blue, red."""
    out = tmp_path / "st.raw"
    # The folder's name holds a %, which FFmpeg would take for a number's place.
    ffmpeg.run("-i", "st/%05d.exr", "-f", "rawvideo", "-pix_fmt", "gbrpf32le", out, cwd=exported / "object1")
    green, blue, red = planes(out, 3).transpose(1, 0, 2, 3)
    st = media.read_image(exported / "object1" / "st" / "00002.exr")
    np.testing.assert_array_equal(red[2], st[..., 0])
    np.testing.assert_array_equal(green[2], st[..., 1])
    assert not blue.any()


@pytest.mark.parametrize(("name", "words"), [("layer.mov", ()), ("layer.webm", ("-c:v", "libvpx-vp9"))])
def test_layers_lie_over_one_another(
    name: str, words: tuple[str, ...], ffmpeg: Program, project: Project, exported: Path, tmp_path: Path
) -> None:
    """The object's alpha is the exported matte; what is drawn over black is its colour times that."""
    out = tmp_path / "alpha.raw"
    source = exported / "object1" / name
    ffmpeg.run(*words, "-i", source, "-vf", "alphaextract", "-f", "rawvideo", "-pix_fmt", "gray", out)
    alpha = planes(out, 1, "u1")[:, 0] / 255
    matte = np.stack(
        [media.to_float(media.read_grey(exported / "object1" / "matte" / f"{n:05d}.png")) for n in range(len(FRAMES))]
    )
    assert np.abs(alpha - matte).mean() < 0.01
