"""Reading and writing of footage: pixels, colour, times, sound, and an error for everything that can be wrong."""

import contextlib
import io
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from layerloom.core.device import has_driver
from layerloom.core.errors import LayerloomError
from layerloom.media import (
    Colour,
    OutputOptions,
    ReadOptions,
    SourceDescription,
    SourceRange,
    check_output,
    check_several_frames,
    open_writer,
    probe,
    quantise,
    read_frames,
    read_image,
    to_float,
    usual_colour,
    write_image,
)
from layerloom.media.encoders import ENCODERS
from layerloom.media.nvenc import chosen_encoder, obstacle_to

FPS = Fraction(24)
SIZE = (64, 48)
RATE = 48000


def times(count: int, fps: Fraction = FPS) -> list[Fraction]:
    return [index / fps for index in range(count)]


def grey_levels(count: int) -> list[np.ndarray]:
    """Frame i is flat grey 20 + 4 i: it survives any codec, and tells its number."""
    return [np.full((SIZE[1], SIZE[0], 3), 20 + 4 * index, np.uint8) for index in range(count)]


def number_of(frame: np.ndarray) -> int:
    return round((float(to_float(frame).mean()) * 255 - 20) / 4)


def numbers(path: Path, start: int = 0, stop: int | None = None) -> list[int]:
    return [number_of(frame) for frame in read_frames(path, start, stop)]


def how(**options: Any) -> OutputOptions:
    """Options of an output; `audio_from` a file, and `colour` alone, stand for what they are part of."""
    if "audio_from" in options:
        cut = options.pop("audio_start", Fraction(0)), options.pop("audio_duration", None)
        options["tracks"] = SourceRange(options.pop("audio_from"), *cut)
    if "colour" in options:
        options["description"] = SourceDescription(options.pop("colour"))
    return OutputOptions(**options)


def write_video(path: Path, frames: list[np.ndarray], **options: object) -> Path:
    size = (frames[0].shape[1], frames[0].shape[0])
    with open_writer(path, size, times(len(frames)), FPS, how(**options)) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def encode(
    path: Path, count: int = 12, codec: str = "libx264", pixel_format: str = "yuv420p", **settings: object
) -> Path:
    """A video made by PyAV alone: grey levels at 24 fps. `settings`: rotation, aspect, pts, clicks, options."""
    pts = settings.get("pts", range(count))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options=settings.get("options", {}))
        stream.width, stream.height, stream.pix_fmt = *SIZE, pixel_format
        stream.codec_context.time_base = Fraction(1, 24)
        if "rotation" in settings:
            stream.set_display_rotation(*settings["rotation"])
        if "aspect" in settings:
            stream.codec_context.sample_aspect_ratio = settings["aspect"]
        sound = container.add_stream(settings["clicks"], rate=RATE) if "clicks" in settings else None
        for number, level in zip(pts, settings.get("frames", grey_levels(count)), strict=True):
            frame = av.VideoFrame.from_ndarray(level, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(click_track()))
            container.mux(sound.encode(None))
    return path


def click_track(seconds: float = 1.0) -> av.AudioFrame:
    """Silence with clicks at 0.25 and 0.75 s."""
    samples = np.zeros((2, int(RATE * seconds)), np.float32)
    for click in (RATE // 4, 3 * RATE // 4):
        samples[:, click : click + 300] = 0.9 * np.sin(np.arange(300) * 0.4)
    frame = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    return frame


def clicks(path: Path) -> list[float]:
    """Seconds of the clicks after the first video frame."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        zero = first.pts * first.time_base
    found: list[float] = []
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "mono", RATE)
        for frame in (piece for whole in container.decode(audio=0) for piece in resampler.resample(whole)):
            for sample in np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.3):
                seconds = float(frame.pts * frame.time_base - zero) + sample / RATE
                if not found or seconds - found[-1] > 0.1:
                    found.append(seconds)
    return found


@contextlib.contextmanager
def fails(*words: object) -> Iterator[None]:
    """One line, holding all `words`."""
    with pytest.raises(LayerloomError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


# ------------------------------------------------------------------------------------------------------ integers


@pytest.mark.parametrize(("bit_depth", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_quantise_undoes_to_float(bit_depth: int, dtype: type) -> None:
    every = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    assert np.array_equal(quantise(to_float(every), bit_depth), every)


@given(arrays.arrays(np.float32, (7,), elements=st.floats(-1, 2, width=32)))
def test_quantise_rounds_to_the_nearest_level(values: np.ndarray) -> None:
    error = np.abs(to_float(quantise(values, 8)) - np.clip(values, 0, 1))
    assert error.max() <= 0.5 / 255 + 1e-6


def test_quantise_rounds_half_up() -> None:
    assert quantise(np.array([0.5], np.float32), 8)[0] == 128


# ------------------------------------------------------------------------------------------------------ still images


@settings(max_examples=20)
@given(image=arrays.arrays(st.sampled_from([np.uint8, np.uint16]), st.sampled_from([(5, 7), (5, 7, 3), (5, 7, 4)])))
def test_png_keeps_every_bit(image: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("png") / "image.png"
    write_image(path, image)
    want = np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image
    got = read_image(path)
    assert got.dtype == image.dtype
    assert np.array_equal(got, want)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_exr_keeps_every_float(channels: int, tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(5, 7, channels)).astype(np.float32)
    write_image(tmp_path / "image.exr", image)
    assert np.array_equal(read_image(tmp_path / "image.exr"), image)


def test_exr_of_halves_is_stored_as_halves(tmp_path: Path) -> None:
    write_image(tmp_path / "image.exr", np.full((5, 7, 3), 1.25, np.float16))
    with OpenEXR.File(str(tmp_path / "image.exr"), separate_channels=True) as file:
        assert {name: channel.pixels.dtype for name, channel in file.channels().items()} == dict.fromkeys(
            "RGB", np.float16
        )
    assert (read_image(tmp_path / "image.exr") == 1.25).all()


def test_exr_is_read_in_its_display_window(tmp_path: Path) -> None:
    window = (np.array([2, 1], np.int32), np.array([4, 3], np.int32))
    header = {"dataWindow": window, "displayWindow": (np.zeros(2, np.int32), np.array([3, 4], np.int32))}
    OpenEXR.File(header, {"Y": np.ones((3, 3), np.float32)}).write(str(tmp_path / "image.exr"))
    want = np.zeros((5, 4), np.float32)
    want[1:4, 2:4] = 1
    assert np.array_equal(read_image(tmp_path / "image.exr")[..., 1], want)


def test_jpeg_keeps_colours(tmp_path: Path) -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:] = (200, 100, 30)
    write_image(tmp_path / "image.jpg", image)
    assert np.abs(read_image(tmp_path / "image.jpg").astype(int) - image).max() <= 2


def test_floats_go_into_a_png_at_16_bit(tmp_path: Path) -> None:
    write_image(tmp_path / "image.png", np.full((3, 3, 3), 0.3, np.float32))
    assert (read_image(tmp_path / "image.png") == 19661).all()


def test_images_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a png")
    (tmp_path / "broken.exr").write_bytes(b"not an exr")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("broken.png", "broken.exr", "empty.jpg"):
        with fails(name, "not a readable image"):
            read_image(tmp_path / name)
    with fails("gone.png", "no such image"):
        read_image(tmp_path / "gone.png")
    with fails(".psd", ".png, .jpg, .jpeg, .exr"):
        write_image(tmp_path / "image.psd", np.zeros((3, 3, 3), np.uint8))
    with fails(".jpg", "4 channels"):
        write_image(tmp_path / "image.jpg", np.zeros((3, 3, 4), np.uint8))
    with fails("missing", "does not exist"):
        write_image(tmp_path / "missing" / "image.png", np.zeros((3, 3, 3), np.uint8))


# ------------------------------------------------------------------------------------------------ frames and numbers


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "bit_depth"),
    [
        ("clip.mp4", "libx264", "yuv420p", 8),
        ("clip.mkv", "libx265", "yuv420p10le", 16),
        ("clip.mov", "prores_ks", "yuv422p10le", 16),
        ("clip.mkv", "ffv1", "yuv444p", 8),
        ("clip.avi", "mjpeg", "yuvj420p", 8),
        ("clip.avi", "libx264", "yuv420p", 8),
        ("clip.webm", "libvpx", "yuv420p", 8),
        ("clip.ts", "libx264", "yuv420p", 8),
        ("clip.h264", "libx264", "yuv420p", 8),
    ],
)
def test_every_frame_is_found_whatever_the_container(
    name: str, codec: str, pixel_format: str, bit_depth: int, tmp_path: Path
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = encode(tmp_path / name, 12, codec, pixel_format, options=options)
    info = probe(path)
    assert (info.kind, info.size, info.frames, info.bit_depth) == ("video", SIZE, 12, bit_depth)
    frames = list(read_frames(path))
    assert {frame.dtype for frame in frames} == {np.dtype(f"uint{bit_depth}")}
    assert [number_of(frame) for frame in frames] == list(range(12))


def test_a_range_is_frame_exact_at_every_start(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", 50, options={"g": "10", "bf": "3"})
    assert all(numbers(path, start, start + 2) == [start, start + 1] for start in range(49))
    assert numbers(path, 3, 3) == []
    with fails("0:50", "40:51"):
        numbers(path, 40, 51)


def test_rotation_is_applied(tmp_path: Path) -> None:
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    picture[:16, :16] = 255
    for degrees, mirrored in ((90, False), (180, False), (-90, False), (0, True), (90, True)):
        path = encode(tmp_path / "turned.mp4", 2, rotation=(degrees, mirrored), frames=[picture] * 2)
        want = np.rot90(picture, degrees // 90)
        want = want[:, ::-1] if mirrored else want
        frame = next(read_frames(path))
        assert probe(path).size == (want.shape[1], want.shape[0])
        assert np.abs(frame.astype(int) - want).mean() < 3, (degrees, mirrored)
        path.unlink()


def test_anamorphic_footage_is_stretched_to_square_pixels(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mp4", aspect=Fraction(3, 2))
    assert probe(path).size == (96, 48)
    assert next(read_frames(path)).shape == (48, 96, 3)
    path = encode(tmp_path / "tall.mp4", aspect=Fraction(3, 4), rotation=(90, False))
    assert probe(path).size == (64, 64)


def test_size_resamples_by_area(tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, ::2] = 200
    write_video(tmp_path / "f" / "%d.png", [image] * 2)
    frame = next(read_frames(tmp_path / "f", size=(32, 24)))
    assert frame.shape == (24, 32, 3)
    assert (frame == 100).all()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov"])
def test_variable_frame_times_are_exact(name: str, tmp_path: Path) -> None:
    """With sound, and with times that no common frame rate has."""
    source = encode(tmp_path / "source.mkv", clicks="aac")
    seconds = [Fraction(0), Fraction(1001, 30000), Fraction(1, 7), Fraction(1, 4), Fraction(2, 3), Fraction(3, 4)]
    with open_writer(tmp_path / name, SIZE, seconds, Fraction(6), how(audio_from=source)) as writer:
        for frame in grey_levels(6):
            writer.write(frame)
    assert list(probe(tmp_path / name).timestamps) == seconds
    assert numbers(tmp_path / name) == list(range(6))
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(3, 4) + Fraction(1, 6)


def test_matroska_keeps_times_to_its_millisecond(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mkv", 4, pts=[0, 1, 5, 6])
    want = [Fraction(n, 24) for n in (0, 1, 5, 6)]
    assert all(abs(a - b) <= Fraction(1, 2000) for a, b in zip(probe(path).timestamps, want, strict=True))


def test_a_range_of_timestamps_starts_at_zero(tmp_path: Path) -> None:
    with open_writer(tmp_path / "cut.mp4", SIZE, times(12)[5:], FPS) as writer:
        for frame in grey_levels(7):
            writer.write(frame)
    info = probe(tmp_path / "cut.mp4")
    assert list(info.timestamps) == times(7)
    assert info.fps == FPS


def test_ntsc_rate_survives(tmp_path: Path) -> None:
    fps = Fraction(30000, 1001)
    with open_writer(tmp_path / "clip.mp4", SIZE, times(5, fps), fps) as writer:
        for frame in grey_levels(5):
            writer.write(frame)
    assert probe(tmp_path / "clip.mp4").fps == fps
    assert list(probe(tmp_path / "clip.mp4").timestamps) == times(5, fps)


# ------------------------------------------------------------------------------------------------------ colour

PATCHES = np.array(
    [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 120, 40], [16, 90, 230], [128, 128, 128]],
    np.uint8,
)


def patch_frame() -> np.ndarray:
    """Eight patches of 16×32 pixels."""
    return np.repeat(np.repeat(PATCHES.reshape(2, 4, 3), 32, 0), 16, 1)


def patch_colours(frame: np.ndarray) -> np.ndarray:
    """The middles of the patches, in 8-bit levels."""
    return (to_float(frame)[16::32, 8::16] * 255).reshape(8, 3)


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("h264", "c.mp4"),
        ("hevc", "c.mov"),
        ("prores", "c.mov"),
        ("prores4444", "c.mov"),
        ("vp9", "c.webm"),
        ("ffv1", "c.mkv"),
    ],
)
def test_colours_survive_a_round_trip(matrix: int, full_range: bool, codec: str, name: str, tmp_path: Path) -> None:
    colour = Colour(matrix, full_range, primaries=1, transfer=1)
    for frame in (patch_frame(), to_float(patch_frame())):
        path = write_video(tmp_path / name, [frame] * 2, codec=codec, colour=colour, overwrite=True)
        got = patch_colours(next(read_frames(path)))
        # At full range pure blue and red lie half a level beyond what 8 bits hold.
        assert np.abs(got - PATCHES).max() <= (3 if full_range else 2)
    if codec != "ffv1":
        assert probe(path).colour == Colour(matrix, full_range and not codec.startswith("prores"), 1, 1)


@pytest.mark.parametrize(
    ("size", "luma"), [((64, 64), (0.299, 0.587, 0.114)), ((64, 720), (0.2126, 0.7152, 0.0722))], ids=["601", "709"]
)
@pytest.mark.parametrize("bits", [8, 10])
def test_untagged_yuv_is_decoded_by_the_usual_matrix(
    size: tuple[int, int], luma: tuple[float, float, float], bits: int, tmp_path: Path
) -> None:
    """Y, Cb, Cr are written as computed here from ITU-R BT.601 and BT.709; no library's matrix is involved."""
    pixel_format, dtype, scale = {8: ("yuv444p", np.uint8, 1), 10: ("yuv444p10le", np.uint16, 4)}[bits]
    path = tmp_path / "untagged.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        for rgb in PATCHES / 255.0:
            y = rgb @ luma
            blue, red = (rgb[2] - y) / (2 - 2 * luma[2]), (rgb[0] - y) / (2 - 2 * luma[0])
            levels = np.array([16 + 219 * y, 128 + 224 * blue, 128 + 224 * red]) * scale
            frame = av.VideoFrame(*size, pixel_format)
            for plane, level in zip(frame.planes, np.round(levels).astype(dtype), strict=True):
                plane.update(np.full(plane.buffer_size // level.itemsize, level).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(path).colour.matrix == usual_colour(size).matrix
    for frame, patch in zip(read_frames(path), PATCHES, strict=True):
        assert np.abs(to_float(frame) * 255 - patch).max() <= (1.5 if bits == 8 else 0.5)


def test_ffv1_is_lossless_at_8_and_16_bit_and_with_alpha(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for dtype, channels in ((np.uint8, 3), (np.uint16, 3), (np.uint8, 4), (np.uint16, 4)):
        frame = random.integers(0, np.iinfo(dtype).max + 1, (47, 63, channels)).astype(dtype)
        path = write_video(tmp_path / "clip.mkv", [frame] * 2, codec="ffv1", overwrite=True)
        assert np.array_equal(next(read_frames(path)), frame[..., :3])
        with av.open(str(path)) as container:
            alpha = next(container.decode(video=0)).to_ndarray(format="rgba" if dtype == np.uint8 else "rgba64le")[
                ..., 3:
            ]
        assert channels == 3 or np.array_equal(alpha, frame[..., 3:])


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("h264", "c.mp4"),
        ("hevc", "c.mp4"),
        ("prores", "c.mov"),
        ("prores4444", "c.mov"),
        ("vp9", "c.webm"),
        ("ffv1", "c.mkv"),
    ],
)
def test_odd_sizes_keep_every_column(codec: str, name: str, tmp_path: Path) -> None:
    frame = np.zeros((47, 63, 3), np.uint8)
    frame[:, -1], frame[-1] = 255, 255
    path = write_video(tmp_path / name, [frame] * 2, codec=codec)
    got = to_float(next(read_frames(path)))
    assert got.shape == (47, 63, 3)
    assert got[:, -1].min() > 0.8
    assert got[-1].min() > 0.8
    assert got[:-2, :-2].max() < 0.2


@pytest.mark.parametrize(("codec", "name"), [("prores4444", "c.mov"), ("vp9", "c.webm")])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_alpha_is_stored_straight_and_at_full_range(
    codec: str, name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    width, height = size
    frame = np.full((height, width, 4), (200, 60, 40, 0), np.uint8)
    frame[8:40, 8:32, 3], frame[8:40, 32:56, 3] = 255, 128
    path = write_video(tmp_path / name, [frame] * 2, codec=codec)
    assert np.abs(to_float(next(read_frames(path))) * 255 - (200, 60, 40)).max() < 3  # also where nothing covers
    with av.open(str(path)) as container:
        # FFmpeg's own VP9 decoder leaves alpha out; the library's gives it.
        stream = container.streams.video[0]
        decoder = stream.codec_context if codec != "vp9" else av.CodecContext.create("libvpx-vp9", "r")
        assert codec != "vp9" or stream.metadata["ALPHA_MODE"] == "1"
        decoded = next(picture for packet in container.demux(stream) for picture in decoder.decode(packet))
    plane = decoded.planes[3]
    bits = decoded.format.components[3].bits
    values = np.frombuffer(bytes(plane), np.uint8 if bits == 8 else np.uint16)
    alpha = values.reshape(plane.height, -1)[:, : plane.width] / ((1 << bits) - 1)
    tolerance = 0.001 if codec == "prores4444" else 0.02
    inner = np.abs(alpha - frame[..., 3] / 255)[[12, 20, 30, 4]][:, [3, 12, 20, 28, 36, 44, 60]]
    assert inner.max() < tolerance


def test_deep_frames_gain_from_hevc_and_prores(tmp_path: Path) -> None:
    """A ramp of a few 8-bit levels is smoother than 8 bits could hold."""
    ramp = np.broadcast_to(np.linspace(0.4, 0.42, 64, dtype=np.float32)[None, :, None], (48, 64, 3))
    for name, codec in (("c.mov", "hevc"), ("d.mov", "prores")):
        path = write_video(tmp_path / name, [np.ascontiguousarray(ramp)] * 2, codec=codec)
        assert probe(path).bit_depth == 16
        assert np.abs(to_float(next(read_frames(path))) - ramp).mean() < 0.5 / 255


# ------------------------------------------------------------------------------------------------------ sound


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.webm"])
@pytest.mark.parametrize(("source_name", "codec"), [("s.mp4", "aac"), ("s.mkv", "aac"), ("s.mkv", "flac")])
def test_sound_keeps_its_place(source_name: str, codec: str, name: str, tmp_path: Path) -> None:
    """The whole clip, and the range from frame 3 (at 0.125 s) on for half a second, which holds one click."""
    source = encode(tmp_path / source_name, 24, clicks=codec)
    write_video(tmp_path / name, grey_levels(24), audio_from=source)
    assert np.allclose(clicks(tmp_path / name), [0.25, 0.75], atol=0.0015)
    write_video(
        tmp_path / name,
        grey_levels(12),
        audio_from=source,
        audio_start=Fraction(3, 24),
        audio_duration=Fraction(1, 2),
        overwrite=True,
    )
    assert np.allclose(clicks(tmp_path / name), [0.125], atol=0.0015)
    assert numbers(tmp_path / name) == list(range(12))


def test_sound_is_copied_bit_for_bit_where_the_container_takes_it(tmp_path: Path) -> None:
    source = encode(tmp_path / "source.mp4", 24, clicks="aac")
    write_video(tmp_path / "out.mov", grey_levels(24), audio_from=source)

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    assert packets(tmp_path / "out.mov") == packets(source)


def test_a_source_without_sound_gives_none(tmp_path: Path) -> None:
    source = encode(tmp_path / "source.mp4")
    write_video(tmp_path / "frames" / "%d.png", grey_levels(2))
    for silent in (source, tmp_path / "frames"):
        write_video(tmp_path / "out.mp4", grey_levels(2), audio_from=silent, overwrite=True)
        assert not probe(tmp_path / "out.mp4").has_audio
    assert probe(encode(tmp_path / "loud.mp4", clicks="aac")).has_audio


# ------------------------------------------------------------------------------------------------------ image sequences


def test_a_sequence_is_numbered_from_zero_and_read_in_natural_order(tmp_path: Path) -> None:
    write_video(tmp_path / "frames" / "shot%d.png", grey_levels(12))
    assert sorted(f.name for f in (tmp_path / "frames").iterdir()) == sorted(f"shot{n}.png" for n in range(12))
    info = probe(tmp_path / "frames")
    assert (info.kind, info.size, info.frames, info.bit_depth) == ("images", SIZE, 12, 8)
    frames = list(read_frames(tmp_path / "frames"))
    assert all(np.array_equal(a, b) for a, b in zip(frames, grey_levels(12), strict=True))


def test_overwriting_a_sequence_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    write_video(tmp_path / "%03d.png", grey_levels(5))
    (tmp_path / "notes.txt").write_text("mine")
    write_video(tmp_path / "%03d.png", grey_levels(2), overwrite=True)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["000.png", "001.png", "notes.txt"]


def test_exr_sequences_hold_floats_and_are_read_as_linear_light(tmp_path: Path) -> None:
    """0.3 of light is 0.58383 by sRGB's curve (IEC 61966-2-1)."""
    frame = np.full((4, 6, 3), 0.3, np.float32)
    write_video(tmp_path / "f" / "%05d.exr", [frame] * 2)
    assert np.array_equal(read_image(tmp_path / "f" / "00001.exr"), frame)
    assert np.abs(to_float(next(read_frames(tmp_path / "f"))) - 0.58383).max() < 1e-4
    as_stored = ReadOptions(linear=False)
    assert (next(read_frames(tmp_path / "f", options=as_stored)) == 19661).all()


def test_one_deep_image_makes_the_folder_deep(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", np.full((4, 6, 3), 255, np.uint8))
    write_image(tmp_path / "2.png", np.full((4, 6, 3), 1234, np.uint16))
    first, second = read_frames(tmp_path)
    assert (first == 65535).all()
    assert (second == 1234).all()


def test_frames_may_lie_in_an_obvious_sub_folder(tmp_path: Path) -> None:
    write_video(tmp_path / "video_frames" / "%d.png", grey_levels(3))
    write_video(tmp_path / "masks" / "%d.png", grey_levels(2))
    assert probe(tmp_path).path == tmp_path / "video_frames"
    assert numbers(tmp_path) == [0, 1, 2]
    write_video(tmp_path / "images" / "%d.png", grey_levels(3))
    with fails("video_frames, images"):
        probe(tmp_path)


def test_the_fingerprint_is_the_contents(tmp_path: Path) -> None:
    a = write_video(tmp_path / "a.mkv", grey_levels(3), codec="ffv1")
    (tmp_path / "b.mkv").write_bytes(a.read_bytes())
    assert probe(a).fingerprint == probe(tmp_path / "b.mkv").fingerprint
    write_video(a, grey_levels(4), codec="ffv1", overwrite=True)
    assert probe(a).fingerprint != probe(tmp_path / "b.mkv").fingerprint
    write_video(tmp_path / "f" / "%d.png", grey_levels(3))
    before = probe(tmp_path / "f").fingerprint
    write_image(tmp_path / "f" / "2.png", grey_levels(9)[8])
    assert probe(tmp_path / "f").fingerprint != before


# ------------------------------------------------------------------------------------------------------ wrong inputs


def test_missing_and_empty_inputs(tmp_path: Path) -> None:
    with fails("gone.mp4", "no such file or folder"):
        probe(tmp_path / "gone.mp4")
    with fails(tmp_path, "no images"):
        probe(tmp_path)
    (tmp_path / "empty.mp4").touch()
    with fails("empty.mp4", "empty"):
        probe(tmp_path / "empty.mp4")


def test_files_without_video(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video here\n" * 50)
    with fails("notes.txt", "no video"):
        probe(tmp_path / "notes.txt")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(4096))
    with fails("noise.mp4", "not a readable video"):
        probe(tmp_path / "noise.mp4")
    data = io.BytesIO()
    with wave.open(data, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    (tmp_path / "sound.wav").write_bytes(data.getvalue())
    with fails("sound.wav", "no video", "audio"):
        probe(tmp_path / "sound.wav")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv"])
@pytest.mark.parametrize("index_first", [True, False])
def test_truncated_video(name: str, index_first: bool, tmp_path: Path) -> None:
    options = {"movflags": "faststart"} if index_first else {}
    noise = [np.random.default_rng(n).integers(0, 256, (48, 64, 3)).astype(np.uint8) for n in range(48)]
    path = encode(tmp_path / "whole.mkv", 48, frames=noise)
    if name != "clip.mkv":
        path = tmp_path / name
        with av.open(str(path), "w", options=options) as container:
            stream = container.add_stream("libx264", rate=24)
            stream.width, stream.height = SIZE
            for level in noise:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
            container.mux(stream.encode(None))
    assert probe(path).frames == 48
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with fails(path.name, "cut short"):
        probe(path)


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mkv", 8, options={"g": "1", "bf": "0"})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    begin, length = packets[5]
    data[begin + 12 : begin + length] = bytes(length - 12)
    path.write_bytes(data)
    assert numbers(path, 0, 5) == list(range(5))
    with fails("frame 5", "cannot be decoded"):
        numbers(path)
    assert numbers(path, 6) == [6, 7]


def test_one_frame_is_readable_but_not_a_clip(tmp_path: Path) -> None:
    write_image(tmp_path / "only.png", grey_levels(1)[0])
    info = probe(tmp_path)
    assert (info.frames, info.timestamps) == (1, (0,))
    with fails(tmp_path, "1 frame", "at least 2"):
        check_several_frames(info)
    check_several_frames(probe(encode(tmp_path / "two.mp4", 2)))


def test_images_of_different_sizes_or_unreadable(tmp_path: Path) -> None:
    write_video(tmp_path / "%02d.png", grey_levels(3))
    write_image(tmp_path / "01.png", np.zeros((10, 12, 3), np.uint8))
    with fails("01.png", "12x10", "00.png", "64x48"):
        probe(tmp_path)
    (tmp_path / "01.png").write_bytes(b"not a png")
    with fails("01.png", "not a readable image"):
        probe(tmp_path)


# ------------------------------------------------------------------------------------------------------ wrong outputs


def test_outputs_of_an_unknown_kind() -> None:
    with fails("clip.avi", ".mp4, .mov, .mkv", "%05d.png"):
        check_output("clip.avi")
    with fails("clip", ".mp4"):
        check_output("clip")
    with fails("av1", "h264, hevc, prores, prores4444, vp9, ffv1"):
        check_output("clip.mp4", codec="av1")
    with fails("prores", ".mov", ".mp4"):
        check_output("clip.mp4", codec="prores")
    with fails("ffv1", ".mkv"):
        check_output("clip.mov", codec="ffv1")
    with fails("%05d.gif", ".png, .jpg, .jpeg, .exr"):
        check_output("frames/%05d.gif")
    with fails("%s.png", "frames/%05d.png"):
        check_output("frames/%s.png")
    with fails("hevc", "no codec"):
        check_output("frames/%05d.png", codec="hevc")


def test_outputs_in_the_way_or_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"precious")
    with fails("clip.mp4", "exists"), open_writer(tmp_path / "clip.mp4", SIZE, times(1), FPS):
        pass
    assert (tmp_path / "clip.mp4").read_bytes() == b"precious"
    check_output(tmp_path / "clip.mp4", overwrite=True)
    write_image(tmp_path / "00007.png", grey_levels(1)[0])
    with fails("00007.png", "exists"):
        check_output(tmp_path / "%05d.png")
    with fails("missing", "does not exist"):
        check_output(tmp_path / "missing" / "clip.mp4")
    with fails("missing", "does not exist"):
        check_output(tmp_path / "missing" / "frames" / "%05d.png")
    (tmp_path / "folder.mp4").mkdir()
    with fails("folder.mp4", "folder"):
        check_output(tmp_path / "folder.mp4", overwrite=True)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_an_output_folder_that_cannot_be_written_to() -> None:
    with fails("/proc", "cannot be written to"):
        check_output("/proc/clip.mp4")


def test_too_little_room_on_the_disk(tmp_path: Path) -> None:
    with fails("GB free", "needs about"):
        check_output(tmp_path / "%05d.exr", size=(8192, 8192), frames=10**7)
    check_output(tmp_path / "%05d.exr", size=(64, 64), frames=10)


@pytest.mark.parametrize("output", ["clip.mp4", "clip.mkv", "frames/%05d.png", "%05d.png"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_output_leaves_nothing(output: str, error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), open_writer(tmp_path / output, SIZE, times(30), FPS) as writer:
        for frame in grey_levels(20):
            writer.write(frame)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_overwrite_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", grey_levels(3))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), open_writer(path, SIZE, times(30), FPS, how(overwrite=True)) as writer:
        writer.write(grey_levels(1)[0])
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_frames_unlike_those_announced(tmp_path: Path) -> None:
    for frames, count in ((grey_levels(2), 3), (grey_levels(3), 2), ([np.zeros((10, 10, 3), np.uint8)], 1)):
        with pytest.raises(ValueError), open_writer(tmp_path / "clip.mp4", SIZE, times(count), FPS) as writer:
            for frame in frames:
                writer.write(frame)
    with fails("alpha"), open_writer(tmp_path / "clip.mp4", SIZE, times(1), FPS) as writer:
        writer.write(np.zeros((48, 64, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------ real footage


@pytest.mark.footage
def test_a_real_video(clips_directory: Path, tmp_path: Path) -> None:
    path = clips_directory / "juggle-720p.mp4"
    info = probe(path)
    assert (info.size, info.frames, info.fps, info.colour.matrix) == ((1280, 720), 247, 24, 1)
    assert info.timestamps == tuple(times(247))
    some = list(read_frames(path, 120, 124, size=(320, 180)))
    assert np.array_equal(some[2], next(read_frames(path, 122, 123, size=(320, 180))))
    source = next(read_frames(path, 120, 121))
    back = next(read_frames(write_video(tmp_path / "out.mp4", [source] * 2, colour=info.colour)))
    assert np.abs(back.astype(int) - source).mean() < 3


@pytest.mark.footage
def test_a_real_folder(clips_directory: Path) -> None:
    info = probe(clips_directory / "blackswan")
    assert (info.path.name, info.size, info.frames) == ("video_frames", (854, 480), 50)


def test_what_no_gpu_encodes_is_encoded_in_software_or_refused(tmp_path: Path) -> None:
    auto, forced = (OutputOptions(codec="prores", encoder=name) for name in ("auto", "nvenc"))
    assert chosen_encoder(".mov", auto) == (ENCODERS["prores"], "")
    with pytest.raises(LayerloomError, match="it encodes h264 and hevc, not prores; auto and software can"):
        chosen_encoder(".mov", forced)
    obstacle = obstacle_to("h264_nvenc")
    if not obstacle:
        pytest.skip("this GPU encodes")
    with (
        pytest.raises(LayerloomError, match=f"NVENC cannot encode this: {obstacle}"),
        open_writer(tmp_path / "a.mp4", (64, 48), [Fraction(0)], Fraction(25), OutputOptions(encoder="nvenc")),
    ):
        pass
    encoder, line = chosen_encoder(".mp4", OutputOptions(encoder="auto"))
    assert encoder is ENCODERS["h264"] and bool(line) == has_driver()
    assert obstacle_to("no_nvenc") == "this PyAV has no no_nvenc" and not list(tmp_path.iterdir())
