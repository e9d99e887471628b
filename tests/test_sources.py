"""What sources declare: read rightly, kept in the project, carried to every output that can hold it, else said."""

import contextlib
import struct
import zipfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image
from truth_project import make_truth_project

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.edits.canvas import Overlay
from layerloom.media.colour import linear_light
from layerloom.media.description import Encoding, Mastering, SourceDescription
from layerloom.media.layered_documents import read_picture
from layerloom.media.scene_linear import decode, display_scale, encode, encoding_for
from layerloom.prepare.cuts import cut_notes
from layerloom.prepare.masks.files import load_masks
from layerloom.prepare.prepare import prepare
from layerloom.render.stream import render_images
from layerloom.render.video import write_video
from layerloom.synthetic.clip import make_clip

SIZE, FPS, RATE = (64, 48), Fraction(24), 48000
BT2020_ON_P3 = Mastering((34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450), (50, 10_000_000), (1000, 400))


def grey_levels(count: int, shape: tuple[int, ...] = (48, 64, 3)) -> list[np.ndarray]:
    return [np.full(shape, 20 + 4 * index, np.uint8) for index in range(count)]


def numbers(path: Path) -> list[int]:
    """Of frames made by `grey_levels`."""
    return [round((float(media.to_float(frame)[..., :3].mean()) * 255 - 20) / 4) for frame in media.read_frames(path)]


def encode_video(path: Path, pts: Sequence[int] = range(12), codec: str = "libx264", **settings: Any) -> Path:
    """A video by PyAV alone. settings: options, pixel_format, sounds (languages), metadata, tags, pictures."""
    with av.open(str(path), "w") as container:
        container.metadata.update(settings.get("metadata", {}))
        stream = container.add_stream(codec, rate=24, options=settings.get("options", {}))
        pictures = settings.get("pictures", grey_levels(len(pts)))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = settings.get("pixel_format", "yuv420p")
        stream.codec_context.time_base = Fraction(1, 24)
        stream.metadata.update(settings.get("tags", {}))
        sounds = []
        for language in settings.get("sounds", ()):
            sound = container.add_stream(settings.get("sound_codec", "aac"), rate=RATE)
            sound.metadata["language"] = language
            sounds.append(sound)
        for number, picture in zip(pts, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format={3: "rgb24", 4: "rgba"}[picture.shape[2]])
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for index, sound in enumerate(sounds):
            wave = np.full((2, RATE // 2), 0.1 * (index + 1), np.float32)
            piece = av.AudioFrame.from_ndarray(wave, "fltp", "stereo")
            piece.sample_rate, piece.pts, piece.time_base = RATE, 0, Fraction(1, RATE)
            container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    return path


@contextlib.contextmanager
def fails(*words: object) -> Iterator[None]:
    """One line, holding all `words`."""
    with pytest.raises(LayerloomError) as caught:
        yield
    assert "\n" not in str(caught.value)
    for word in words:
        assert str(word) in str(caught.value), str(caught.value)


@pytest.fixture(scope="module")
def small_clip() -> Any:
    return make_clip(SIZE, 4, seed=2)


def project_of(folder: Path, clip: Any, source: Path) -> Project:
    return make_truth_project(folder, clip, source=source)


# --------------------------------------------------------------------------------------------- times (A1 to A3)


def trim(path: Path, begin: Fraction, seconds: Fraction) -> None:
    """What QuickTime does to trim: every track's edit list begins later, and ends sooner."""
    data = bytearray(path.read_bytes())
    movie = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    at = data.index(b"moov")
    while (at := data.find(b"mdhd", at + 1)) >= 0:
        clock = struct.unpack_from(">I", data, at + 16)[0]
        entry = data.rindex(b"elst", 0, at) + 12
        duration, start = struct.unpack_from(">Ii", data, entry)
        assert duration and start >= 0
        struct.pack_into(">Ii", data, entry, int(seconds * movie), int(start + begin * clock))
    path.write_bytes(data)


def test_a_trimmed_mov_has_the_frames_of_its_edit_list(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", range(36), options={"g": "8", "bf": "2"})
    trim(path, Fraction(3, 4), Fraction(1, 2))
    assert media.probe(path).timestamps == tuple(Fraction(n, 24) for n in range(12))
    assert numbers(path) == list(range(18, 30))


@pytest.mark.parametrize(
    ("codec", "format_", "options"), [("mjpeg", "yuvj420p", {}), ("libx264", "yuv420p", {"bf": "2"})]
)
def test_an_avi_with_dropped_frames_keeps_its_times(
    codec: str, format_: str, options: dict[str, str], tmp_path: Path
) -> None:
    kept = [0, 1, 2, 3, 7, 8, 9, 10, 11]
    path = encode_video(tmp_path / "a.avi", kept, codec, pixel_format=format_, options=options)
    assert media.probe(path).timestamps == tuple(Fraction(n, 24) for n in kept)
    assert media.probe(path).fps == 24
    assert numbers(path) == list(range(9))


def test_times_in_milliseconds_lie_on_the_exact_grid(tmp_path: Path) -> None:
    assert media.probe(encode_video(tmp_path / "a.mkv")).timestamps == tuple(Fraction(n, 24) for n in range(12))
    gap = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]
    assert media.probe(encode_video(tmp_path / "b.mkv", gap)).timestamps == tuple(Fraction(n, 24) for n in gap)


# ----------------------------------------------------------------------------------------------------- HDR (A4)


def hdr_source(path: Path, transfer: int, codec: str = "hevc") -> Path:
    colour = media.Colour(matrix=9, full_range=False, primaries=9, transfer=transfer)
    options = media.OutputOptions(codec=codec, description=SourceDescription(colour, BT2020_ON_P3))
    with media.open_writer(path, SIZE, [n / FPS for n in range(4)], FPS, options) as writer:
        for level in grey_levels(4):
            writer.write((level.astype(np.uint16) * 257) + 100)
    return path


@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize(
    ("codec", "name"),
    [("hevc", "a.mp4"), ("hevc", "a.mkv"), ("prores", "a.mov"), ("prores4444", "a.mov"), ("h264", "a.mp4")],
)
def test_hdr_keeps_colours_and_mastering_data(transfer: int, codec: str, name: str, tmp_path: Path) -> None:
    info = media.probe(hdr_source(tmp_path / name, transfer, codec))
    assert info.colour == media.Colour(9, full_range=False, primaries=9, transfer=transfer)
    assert info.description.mastering == BT2020_ON_P3
    assert info.bit_depth == (8 if codec == "h264" else 16)


def test_hdr_is_carried_through_a_project_or_a_line_says_what_is_lost(small_clip: Any, tmp_path: Path) -> None:
    source = hdr_source(tmp_path / "hdr.mov", 16)
    project = project_of(tmp_path, small_clip, source)
    told: list[str] = []
    write_video(project, [], tmp_path / "out.mp4", on_progress=lambda p: told.append(p.message or ""))
    out = media.probe(tmp_path / "out.mp4")
    assert (out.codec, out.bit_depth, out.colour) == ("hevc", 16, media.probe(source).colour)
    assert out.description.mastering == BT2020_ON_P3
    assert any("encoded as hevc" in line for line in told)
    pair = zip(media.read_frames(source), media.read_frames(tmp_path / "out.mp4"), strict=True)
    assert all(np.abs(a.astype(int) - b).mean() < 300 for a, b in pair)
    options = media.OutputOptions(codec="h264", description=project.source.description)
    assert any("8 bits" in line and "PQ" in line for line in media.output_notes("a.mp4", options))


def test_png_of_hdr_says_what_it_holds(tmp_path: Path) -> None:
    colour = media.Colour(9, full_range=False, primaries=9, transfer=18)
    options = media.OutputOptions(description=SourceDescription(colour, BT2020_ON_P3))
    with media.open_writer(tmp_path / "f" / "%d.png", SIZE, [Fraction(0)], FPS, options) as writer:
        writer.write(grey_levels(1)[0])
    data = (tmp_path / "f" / "0.png").read_bytes()
    assert data[data.index(b"cICP") + 4 :][:4] == bytes([9, 18, 0, 1])
    assert struct.unpack(">8H2I", data[data.index(b"mDCV") + 4 :][:24])[:2] == (34000, 16000)
    assert (media.read_image(tmp_path / "f" / "0.png") == 20).all()


def test_linear_light_of_pq_and_hlg() -> None:
    """PQ 0.5807 is 203 cd/m² (BT.2408), 0.7518 is 1000; HLG 0.75 is the same white."""
    light = linear_light(np.array([0.5807, 0.7518], np.float32), 16)
    assert np.allclose(light, [1, 1000 / 203], rtol=2e-3)
    assert np.allclose(linear_light(np.array([0.75, 1], np.float32), 18), [1, 1 / 0.26496], rtol=1e-3)


# -------------------------------------------------------------------------------------------- scene-linear (A5)


@pytest.mark.parametrize("white", [1.0, 4.0, 64.0, 1024.0])
def test_extended_srgb_can_be_undone(white: float) -> None:
    encoding = Encoding("extended-srgb", white)
    codes = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(encode(decode(codes, encoding), encoding), codes)
    light = np.geomspace(1e-3, white, 200).astype(np.float32)
    assert np.allclose(decode(encode(light, encoding), encoding), light, rtol=2e-2 if white == 1024 else 6e-3)
    # A display's white is the scale; the slope goes on across it.
    assert abs(int(encode(np.float32([1]), encoding)[0]) / 65535 - display_scale(encoding)) < 1e-4
    if white > 1:
        below, at, above = (float(v) for v in encode(np.float32([0.99, 1, 1.01]), encoding).astype(float))
        assert abs((above - at) / (at - below) - 1) < 0.05


def test_the_encoding_holds_the_brightest_light() -> None:
    assert [encoding_for(value).white for value in (0.0, 0.7, 1.0, 1.5, 4.0, 5.0, 1e9)] == [1, 1, 1, 2, 4, 8, 1024]


def linear_frames(folder: Path, dtype: type, channels: int = 3) -> list[np.ndarray]:
    folder.mkdir()
    random, frames = np.random.default_rng(0), []
    for number in range(4):
        light = random.random((48, 64, channels)).astype(np.float32) * 0.8
        light[4:12, 4:12, :3], light[20:24, 20:24, :3], light[0, 0, :3] = (
            4.0,
            -0.25,
            7e4 if dtype == np.float32 else 6e4,
        )
        frames.append(light.astype(dtype))
        media.write_image(folder / f"{number:05d}.exr", frames[-1])
    return frames


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("channels", [3, 4])
def test_unedited_scene_linear_frames_come_back_bit_for_bit(
    dtype: type, channels: int, small_clip: Any, tmp_path: Path
) -> None:
    frames = linear_frames(tmp_path / "source", dtype, channels)
    project = project_of(tmp_path, small_clip, tmp_path / "source")
    assert project.source.description is not None
    assert project.source.description.encoding == Encoding("extended-srgb", 1024.0)
    write_video(project, [], tmp_path / "out" / "%05d.exr")
    for number, frame in enumerate(frames):
        with OpenEXR.File(str(tmp_path / "out" / f"{number:05d}.exr"), separate_channels=True) as file:
            planes = [file.channels()[name].pixels for name in "RGBA"[:channels]]
        assert all(plane.dtype == dtype for plane in planes)
        np.testing.assert_array_equal(np.stack(planes, -1), frame)


def test_scene_linear_light_is_shown_on_a_display_and_that_is_said(small_clip: Any, tmp_path: Path) -> None:
    linear_frames(tmp_path / "source", np.float32)
    project = project_of(tmp_path, small_clip, tmp_path / "source")
    told: list[str] = []
    write_video(project, [], tmp_path / "out" / "%05d.png", on_progress=lambda p: told.append(p.message or ""))
    assert any("clipped at 1" in line for line in told)
    shown = media.to_float(media.read_image(tmp_path / "out" / "00000.png"))
    light = media.read_image(tmp_path / "source" / "00000.exr")
    inside = (light > 0.05) & (light < 1)
    expected = 1.055 * np.clip(light, 0.0031308, 1) ** (1 / 2.4) - 0.055
    assert np.abs(shown - expected)[inside].max() < 1e-3
    assert (shown[6:10, 6:10] == 1).all()


def test_display_footage_is_written_to_exr_as_light_unless_display_is_asked_for(
    small_clip: Any, tmp_path: Path
) -> None:
    project = make_truth_project(tmp_path, small_clip)
    options = {"linear": media.OutputOptions(), "display": media.OutputOptions(space="display")}
    for name, how in options.items():
        with media.open_writer(tmp_path / name / "%d.exr", SIZE, [Fraction(0)], FPS, how) as writer:
            writer.write(np.full((48, 64, 3), 128, np.uint8))
    assert np.allclose(media.read_image(tmp_path / "linear" / "0.exr"), 0.21586, atol=1e-4)
    assert np.allclose(media.read_image(tmp_path / "display" / "0.exr"), 128 / 255, atol=1e-6)
    with OpenEXR.File(str(tmp_path / "linear" / "0.exr")) as file:
        assert file.header()["colorInteropID"] == "lin_rec709_scene"
    told: list[str] = []
    write_video(project, [], tmp_path / "out" / "%d.exr", on_progress=lambda p: told.append(p.message or ""))
    assert any("linear light" in line for line in told)


# --------------------------------------------------------------------------------- fields and alpha (A6 and A7)


def test_interlaced_footage_is_deinterlaced_and_said(tmp_path: Path) -> None:
    """A bar moves by 8 pixels from field to field: stored, its rows alternate; made progressive, they do not."""
    pictures = []
    for number in range(6):
        picture = np.full((48, 64, 3), 16, np.uint8)
        for field in (0, 1):
            left = 4 + 4 * (2 * number + field)
            picture[field::2, left : left + 8] = 235
        pictures.append(picture)
    flags = {"flags": "+ildct+ilme", "top": "1", "qscale": "2", "field_order": "tt"}
    path = encode_video(tmp_path / "a.mkv", range(6), "mpeg2video", pictures=pictures, options=flags)
    info = media.probe(path)
    assert info.description.interlaced
    assert any("interlaced" in note for note in info.notes)
    frames = list(media.read_frames(path))
    assert len(frames) == 6

    def combing(frame: np.ndarray) -> float:
        rows = frame[..., 1].astype(float)
        return float(np.abs(rows[2:-2:2] - (rows[1:-3:2] + rows[3:-1:2]) / 2).mean())

    assert combing(pictures[3]) > 20
    assert combing(frames[3]) < combing(pictures[3]) / 3
    assert np.array_equal(next(media.read_frames(path, 3, 4)), frames[3])


@pytest.mark.parametrize(
    ("name", "codec"),
    [("out.mov", "prores4444"), ("out.mkv", "ffv1"), ("out.webm", None), ("out/%d.png", None), ("out/%d.exr", None)],
)
def test_alpha_is_kept_where_the_output_holds_it(name: str, codec: str | None, small_clip: Any, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for number, frame in enumerate(small_clip.frames):
        alpha = np.full((48, 64), 255, np.uint8)
        alpha[:, :16], alpha[:, 16:32] = 0, 128
        media.write_image(folder / f"{number}.png", np.dstack([frame, alpha]))
    project = project_of(tmp_path, small_clip, folder)
    write_video(project, [], tmp_path / name, codec=codec)
    written = next(media.read_frames((tmp_path / name).parent if "%" in name else tmp_path / name, alpha=True))
    got = media.to_float(written)[24, [4, 24, 48], 3]
    assert np.allclose(got, [0, 128 / 255, 1], atol=0.03)
    lost = media.OutputOptions(description=project.source.description)
    assert any("alpha is left out" in line for line in media.output_notes("a.mp4", lost))


# ------------------------------------------------------------------------- sound, subtitles, timecode (A8, A16)


def test_all_sound_tracks_come_along_with_their_languages(tmp_path: Path) -> None:
    source = encode_video(tmp_path / "a.mp4", sounds=("deu", "fra"))
    for name in ("b.mp4", "b.mkv", "b.mov", "b.webm"):
        options = media.OutputOptions(tracks=media.SourceRange(source))
        with media.open_writer(tmp_path / name, SIZE, [n / FPS for n in range(12)], FPS, options) as writer:
            for level in grey_levels(12):
                writer.write(level)
        tracks = media.probe(tmp_path / name).description.sounds
        german = "ger" if name == "b.mov" else "deu"  # as QuickTime calls it
        assert [(track.language, track.default, track.decodable) for track in tracks] == [
            (german, True, True),
            ("fra", False, True),
        ]


def test_a_track_that_cannot_be_decoded_gives_way_to_the_one_that_can(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", sounds=("deu", "fra"))
    data = path.read_bytes()
    at = data.index(b"mp4a", data.index(b"stsd", data.index(b"soun")))
    data = data[:at] + b"apac" + data[at + 4 :]
    at = data.index(b"esds", at)
    path.write_bytes(data[:at] + b"dapa" + data[at + 4 :])
    info = media.probe(path)
    assert [track.decodable for track in info.description.sounds] == [False, True]
    assert any("sound track 1" in note and "left out" in note for note in info.notes)
    options = media.OutputOptions(tracks=media.SourceRange(path))
    with media.open_writer(tmp_path / "b.mp4", SIZE, [n / FPS for n in range(12)], FPS, options) as writer:
        for level in grey_levels(12):
            writer.write(level)
    assert [track.language for track in media.probe(tmp_path / "b.mp4").description.sounds] == ["fra"]


def with_subtitles(folder: Path) -> Path:
    """A Matroska file with a film and a line of text from 0.2 to 0.4 s."""
    film = encode_video(folder / "film.mp4")
    (folder / "lines.srt").write_text("1\n00:00:00,200 --> 00:00:00,400\nhello\n")
    both_path = folder / "both.mkv"
    with av.open(str(film)) as video, av.open(str(folder / "lines.srt")) as text, av.open(str(both_path), "w") as both:
        streams = [(video, video.streams.video[0]), (text, text.streams.subtitles[0])]
        targets = [both.add_stream_from_template(stream) for _, stream in streams]
        targets[1].metadata["language"] = "fra"
        for (container, stream), target in zip(streams, targets, strict=True):
            for packet in container.demux(stream):
                if packet.size:
                    packet.stream = target
                    both.mux(packet)
    return both_path


def test_subtitles_come_along_or_a_line_says_that_they_do_not(tmp_path: Path) -> None:
    source = with_subtitles(tmp_path)
    description = media.probe(source).description
    assert [(track.kind, track.language) for track in description.tracks] == [("subtitles", "fra")]
    part = media.SourceRange(source, Fraction(1, 12), Fraction(1, 4))
    options = media.OutputOptions(description=description, tracks=part)
    with media.open_writer(tmp_path / "out.mkv", SIZE, [n / FPS for n in range(6)], FPS, options) as writer:
        for level in grey_levels(6):
            writer.write(level)
    assert media.probe(tmp_path / "out.mkv").description.tracks[0].language == "fra"
    with av.open(str(tmp_path / "out.mkv")) as container:
        (packet,) = (p for p in container.demux(container.streams.subtitles[0]) if p.size)
        begin, length = (float(ticks * packet.time_base) for ticks in (packet.pts, packet.duration))
    assert bytes(packet) == b"hello"
    assert abs(begin - (0.2 - 1 / 12)) < 0.002 and abs(begin + length - 0.25) < 0.002
    assert media.output_notes("out.mkv", options) == []
    for name in ("out.mp4", "out.webm"):
        assert any("subtitles" in line and "fra" in line for line in media.output_notes(name, options))


@pytest.mark.parametrize("output", ["ffv1 a.mkv", "vp9 a.webm"])
def test_where_mastering_data_cannot_be_held_colours_are_and_a_line_says_so(output: str, tmp_path: Path) -> None:
    codec, name = output.split()
    path = hdr_source(tmp_path / name, 16, codec)
    colour = media.probe(path).colour
    assert (colour.primaries, colour.transfer) == (9, 16)
    options = media.OutputOptions(codec=codec, description=SourceDescription(colour, BT2020_ON_P3))
    assert any("no mastering data" in line for line in media.output_notes(path, options))


def test_what_a_sequence_cannot_hold_is_said(tmp_path: Path) -> None:
    source = encode_video(tmp_path / "a.mov", sounds=("deu",), tags={"timecode": "01:00:00:00"})
    description = media.probe(source).description
    options = media.OutputOptions(description=description, tracks=media.SourceRange(source), timecode="01:00:00:00")
    lines = media.output_notes(tmp_path / "%d.png", options)
    assert any("sound" in line for line in lines) and any("timecode" in line for line in lines)


def test_timecode_is_kept_and_counts_on(tmp_path: Path) -> None:
    source = encode_video(tmp_path / "a.mov", tags={"timecode": "01:00:59:20"})
    description = media.probe(source).description
    assert description.timecode == "01:00:59:20"
    for name in ("b.mov", "b.mp4", "b.mkv"):
        options = media.OutputOptions(timecode=media.timecode_after(description.timecode, 6, FPS))
        with media.open_writer(tmp_path / name, SIZE, [Fraction(0), 1 / FPS], FPS, options) as writer:
            for level in grey_levels(2):
                writer.write(level)
        assert media.probe(tmp_path / name).description.timecode == "01:01:00:02"


@pytest.mark.parametrize(
    ("timecode", "frames", "fps", "later"),
    [
        ("01:00:59;29", 1, Fraction(30000, 1001), "01:01:00;02"),  # two numbers a minute are left out, …
        ("01:09:59;29", 1, Fraction(30000, 1001), "01:10:00;00"),  # … but not every tenth
        ("00:00:00;00", 17982, Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("", 5, Fraction(25), ""),
    ],
)
def test_drop_frame_timecode(timecode: str, frames: int, fps: Fraction, later: str) -> None:
    assert media.timecode_after(timecode, frames, fps) == later


def test_metadata_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", metadata={"title": "Aquarelle"})
    path.write_bytes(
        path.read_bytes().replace(b"Aquarelle", b"Aqu\xff\xferell").replace(b"VideoHandler", b"Video\xff\xfendler")
    )
    assert numbers(path) == list(range(12))


def test_an_error_in_the_middle_is_one_line_or_fewer_frames(tmp_path: Path) -> None:
    whole = encode_video(tmp_path / "a.mp4", options={"g": "4"}).read_bytes()
    random = np.random.default_rng(0)
    for number in range(40):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 12):
            data[place] = random.integers(256)
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(data)
        with contextlib.suppress(LayerloomError):
            for _ in media.read_frames(path):
                pass


# --------------------------------------------------------------------------------------------------- masks (A9)


def square(left: int) -> np.ndarray:
    mask = np.zeros((36, 64), np.uint8)
    mask[10:20, left : left + 10] = 255
    return mask


def test_masks_are_matched_by_the_names_of_the_frames(tmp_path: Path) -> None:
    names = [f"{number:05d}" for number in range(1, 13)]
    for number in (1, 6, 11):
        media.write_image(tmp_path / f"{number:05d}.png", square(number))
    masks = load_masks(tmp_path, range(12), (64, 36), 12, names)
    assert [frame for frame in range(12) if masks.trust[0, frame].any()] == [0, 5, 10]
    assert (masks.coverage[0, 5] == square(6)).all()


def test_masks_are_matched_by_the_numbers_of_frames_with_a_gap(tmp_path: Path) -> None:
    own = [1001, 1002, 1005, 1006]
    for number in own:
        media.write_image(tmp_path / f"mask.{number}.png", square(number - 1000))
    masks = load_masks(tmp_path, range(4), (64, 36), 4, [f"plate.{number}" for number in own])
    assert [int(np.flatnonzero(coverage.any(0))[0]) for coverage in masks.coverage[0]] == [1, 2, 5, 6]


def test_masks_of_a_matte_video_of_exr_and_of_float_tiff(tmp_path: Path) -> None:
    mattes = [square(4 + index) for index in range(4)]
    with media.open_writer(tmp_path / "matte.mkv", (64, 36), [n / FPS for n in range(4)], FPS, "ffv1") as writer:
        for matte in mattes:
            writer.write(np.dstack([matte] * 3))
    for name in ("exr", "tiff", "named"):
        (tmp_path / name).mkdir()
    for index, matte in enumerate(mattes):
        light = matte.astype(np.float32) / 255
        media.write_image(tmp_path / "exr" / f"{index}.exr", light)
        tifffile.imwrite(tmp_path / "tiff" / f"{index}.tif", light)
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"matte": light}).write(str(tmp_path / "named" / f"{index}.exr"))
    for name in ("matte.mkv", "exr", "tiff", "named"):
        masks = load_masks(tmp_path / name, range(1, 4), (64, 36), 4)
        assert masks.names == ("object",)
        assert np.array_equal(masks.coverage[0], mattes[1:]), name


def write_indices(path: Path, indices: np.ndarray) -> None:
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [5, 6, 7] * 252)
    path.parent.mkdir(exist_ok=True)
    image.save(path)


def test_undecided_and_stray_indices_are_said(tmp_path: Path) -> None:
    indices = np.zeros((360, 640), np.uint8)
    indices[50:250, 100:300] = 1
    indices[50:250, 300:303], indices[10, 10], indices[60:64, 99] = 255, 7, 3
    for frame in range(2):
        write_indices(tmp_path / f"{frame}.png", indices)
    told: list[str] = []
    masks = load_masks(tmp_path, range(2), (640, 360), on_note=told.append)
    assert masks.names == ("object1",)
    assert (masks.trust[0, 0] == 0).sum() == 600 + 1 + 4
    assert any("255" in line for line in told) and any("3, 7" in line for line in told)


def test_masks_that_cannot_be_learned_are_refused_in_one_line(tmp_path: Path) -> None:
    write_indices(tmp_path / "void" / "0.png", square(4))
    with fails("empty", "255 marks undecided"):
        load_masks(tmp_path / "void", range(1), (64, 36))
    for name, mask in {
        "faint": square(4) // 2,
        "speck": np.where(square(4) * 0 + np.eye(36, 64) * (np.arange(64) == 5), 255, 0).astype(np.uint8),
    }.items():
        (tmp_path / name).mkdir()
        media.write_image(tmp_path / name / "0.png", mask)
    with fails("only 127 of 255"):
        load_masks(tmp_path / "faint", range(1), (64, 36))
    with fails("covers 1 pixels", "at least 16"):
        load_masks(tmp_path / "speck", range(1), (64, 36))
    for name in ("a", "b"):
        (tmp_path / "hidden" / name).mkdir(parents=True)
        media.write_image(tmp_path / "hidden" / name / "0.png", square(4))
    with fails("'b' lies wholly behind"):
        load_masks(tmp_path / "hidden", range(1), (64, 36))


# ------------------------------------------------------------------------------------------- formats (A10, A11)


def animation(path: Path, kind: str) -> Path:
    pictures = [Image.fromarray(np.dstack([level, level[..., 0] * 0 + 200])) for level in grey_levels(5)]
    options = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=40, **options)
    return path


@pytest.mark.parametrize(("name", "kind"), [("a.webp", "WEBP"), ("a.png", "PNG")])
def test_animations_are_footage_and_move_as_stickers(name: str, kind: str, tmp_path: Path) -> None:
    path = animation(tmp_path / name, kind)
    assert media.is_moving(path)
    info = media.probe(path)
    assert (info.size, info.frames) == (SIZE, 5)
    assert list(info.timestamps) == [Fraction(n, 25) for n in range(5)]
    assert numbers(path) == list(range(5))
    assert (next(media.read_frames(path, alpha=True))[..., 3] == 200).all()
    still = tmp_path / f"still_{name}"
    Image.fromarray(grey_levels(1)[0]).save(still, kind)
    assert not media.is_moving(still)


def test_bigtiff_frames_and_frames_by_a_pattern(tmp_path: Path) -> None:
    for number in range(3):
        tifffile.imwrite(tmp_path / f"big_{number}.tif", grey_levels(3)[number], bigtiff=True, photometric="rgb")
        media.write_image(tmp_path / f"shot.{number + 1001}.png", grey_levels(3)[number])
    assert numbers(tmp_path / "big_%d.tif") == [0, 1, 2]
    info = media.probe(tmp_path / "shot.%04d.png", media.ReadOptions(fps=(25, 1)))
    assert (info.fps, info.description.numbers) == (25, (1001, 1002, 1003))
    assert info.timestamps[2] == Fraction(2, 25)
    with fails("no%05d.png", "no files of this pattern"):
        media.probe(tmp_path / "no%05d.png")


def test_content_and_not_the_name_tells_the_kind(tmp_path: Path) -> None:
    Image.fromarray(grey_levels(1)[0]).save(tmp_path / "a.png", "TIFF")
    assert (media.read_image(tmp_path / "a.png") == 20).all()
    (tmp_path / "b.exr").write_bytes((tmp_path / "a.png").read_bytes())
    assert (media.read_image(tmp_path / "b.exr") == 20).all()


def test_parts_and_layers_of_an_exr(tmp_path: Path) -> None:
    def plane(value: float) -> np.ndarray:
        return np.full((6, 8), value, np.float32)

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    depth = OpenEXR.Part(dict(header), {"Z": plane(90)}, "depth")
    beauty = OpenEXR.Part(dict(header), {name: plane(0.25) for name in "RGB"}, "beauty")
    OpenEXR.File([depth, beauty]).write(str(tmp_path / "parts.exr"))
    assert (media.read_image(tmp_path / "parts.exr") == 0.25).all()
    layers = {f"{layer}.{name}": plane(value) for layer, value in (("diffuse", 0.5), ("spec", 0.125)) for name in "RGB"}
    OpenEXR.File(header, layers).write(str(tmp_path / "layers.exr"))
    assert (media.read_image(tmp_path / "layers.exr", "spec") == 0.125).all()
    assert (media.read_image(tmp_path / "layers.exr") == 0.5).all()
    with fails("no layer 'none'", "diffuse, spec"):
        media.read_image(tmp_path / "layers.exr", "none")
    OpenEXR.File(header, {"Z": plane(1)}).write(str(tmp_path / "z.exr"))
    with fails("z.exr", "no channels", "Z"):
        media.read_image(tmp_path / "z.exr")


COLOUR, OPACITY = np.array([41, 164, 232]) / 255, 0.4


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("sample", ["assocalpha", "unassalpha"])
def test_tiff_alpha_is_told_by_its_extra_samples(depth: type, sample: str, tmp_path: Path) -> None:
    stored = np.dstack(
        [np.full((6, 8, 3), COLOUR * (OPACITY if sample == "assocalpha" else 1)), np.full((6, 8), OPACITY)]
    )
    full = 1 if depth == np.float32 else np.iinfo(depth).max
    pixels = (stored * full + (0 if full == 1 else 0.5)).astype(depth)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[sample])
    got = media.to_float(media.read_image(tmp_path / "a.tif"))
    assert np.abs(got[..., :3] - COLOUR).max() < (0.006 if depth == np.uint8 else 1e-4)
    assert np.abs(got[..., 3] - OPACITY).max() < 0.003


@pytest.mark.parametrize(("stored", "background"), [(OPACITY, 0), (1, 0)], ids=["associated", "straight"])
def test_exr_alpha_is_associated_unless_colours_exceed_it(stored: float, background: float, tmp_path: Path) -> None:
    picture = np.full((6, 8, 4), background, np.float32)
    picture[2:4, 2:6] = (*(COLOUR * stored), OPACITY)
    media.write_image(tmp_path / "a.exr", picture)
    got = media.read_image(tmp_path / "a.exr")
    assert np.allclose(got[2:4, 2:6, :3], COLOUR, atol=1e-5)
    assert np.allclose(got[2:4, 2:6, 3], OPACITY)


def test_an_overlay_with_associated_alpha_is_the_same_edit(small_clip: Any, tmp_path: Path) -> None:
    project = make_truth_project(tmp_path, small_clip)
    width, height = project.layers[0].canvas
    straight = np.zeros((height, width, 4), np.float32)
    straight[height // 4 : height // 2, width // 4 : width // 2] = (*COLOUR, OPACITY)
    associated = np.dstack([straight[..., :3] * straight[..., 3:], straight[..., 3]])
    media.write_image(tmp_path / "plain.png", media.quantise(straight, 16))
    tifffile.imwrite(tmp_path / "a.tif", media.quantise(associated, 16), photometric="rgb", extrasamples=["assocalpha"])
    media.write_image(tmp_path / "a.exr", associated)
    expected = np.stack(list(render_images(project, [Overlay(project.layers[0].name, tmp_path / "plain.png")])))
    for name in ("a.tif", "a.exr"):
        got = np.stack(list(render_images(project, [Overlay(project.layers[0].name, tmp_path / name)])))
        assert np.abs(got.astype(int) - expected).max() <= 1


# ------------------------------------------------------------------------ sequences and outputs (A12, A13, A15)


def test_outputs_keep_the_numbers_of_their_source(small_clip: Any, tmp_path: Path) -> None:
    (tmp_path / "plates").mkdir()
    for number, frame in zip((1001, 1002, 1004, 1005), small_clip.frames, strict=True):
        media.write_image(tmp_path / "plates" / f"plate.{number}.png", frame)
    assert any("1003" in note for note in media.probe(tmp_path / "plates").notes)
    project = project_of(tmp_path, small_clip, tmp_path / "plates")
    write_video(project, [], tmp_path / "out" / "%04d.png", frames=range(1, 4))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["1002.png", "1004.png", "1005.png"]


def test_a_per_cent_sign_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "50% off").mkdir()
    for name in ("50% off/edited.mp4", "50% off/100%.mp4", "50% off/%03d.png"):
        with media.open_writer(tmp_path / name, SIZE, [Fraction(0)], FPS) as writer:
            writer.write(grey_levels(1)[0])
    assert sorted(file.name for file in (tmp_path / "50% off").iterdir()) == ["000.png", "100%.mp4", "edited.mp4"]


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (2000, 4)])
def test_footage_too_small_to_be_learned_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    for number in range(3):
        media.write_image(tmp_path / f"{number}.png", np.full((size[1], size[0], 3), number, np.uint8))
    assert media.probe(tmp_path).size == size
    with fails(f"{size[0]}x{size[1]}", "at least 12"):
        prepare(tmp_path, device="cpu", cache="off")


def test_cuts_and_flashes_are_told() -> None:
    first, second = make_clip((64, 48), 8, seed=1).frames, make_clip((64, 48), 8, seed=9).frames
    assert cut_notes(first, 0) == []
    assert "a cut at frame 108" in cut_notes(np.concatenate([first, 255 - second]), 100)[0]
    flashed = first.copy()
    flashed[4] = np.clip(flashed[4].astype(int) + 90, 0, 255)
    assert cut_notes(flashed, 0) == ["a flash at frame 4: it may be learned badly"]


# -------------------------------------------------------------------------------------------------- limits (C4)


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises more than is there."""
    picture = cv2.imencode(".png", np.zeros((2, 2), np.uint8))[1].tobytes()
    body = b"IHDR" + struct.pack(">II", width, height) + picture[24:29]
    import zlib

    return picture[:12] + body + struct.pack(">I", zlib.crc32(body)) + picture[33:]


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of(30000, 30000))
    with fails("30000x30000", "LAYERLOOM_MAX_PIXELS"):
        media.read_image(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 2), np.uint8))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages.first.tags[tag].overwrite(20000)
    with fails("20000x20000"):
        media.read_image(tmp_path / "a.tif")
    with zipfile.ZipFile(tmp_path / "a.ora", "w") as archive:
        archive.writestr("mimetype", "image/openraster")
        archive.writestr("stack.xml", '<image w="30000" h="30000"><stack/></image>')
    with fails("a.ora", "30000x30000"):
        read_picture(tmp_path / "a.ora")
    with zipfile.ZipFile(tmp_path / "b.ora", "w") as archive:
        archive.writestr("mimetype", "image/openraster")
        archive.writestr("stack.xml", '<image w="8" h="8"><stack>' + '<layer src="a.png"/>' * 3000 + "</stack></image>")
    with fails("b.ora", "3000 layers"):
        read_picture(tmp_path / "b.ora")
    header = bytearray(26)
    header[:6], header[12:26] = b"8BPS\0\1", struct.pack(">HIIHH", 3, 30000, 30000, 8, 3)
    (tmp_path / "a.psd").write_bytes(header + bytes(200))
    with fails("a.psd", "30000x30000"):
        read_picture(tmp_path / "a.psd")


def test_limits_can_be_raised_and_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media.write_image(tmp_path / "a.png", grey_levels(1)[0])
    monkeypatch.setenv("LAYERLOOM_MAX_PIXELS", "3000")
    with fails("64x48", "at most 3000"):
        media.read_image(tmp_path / "a.png")
    monkeypatch.setenv("LAYERLOOM_MAX_PIXELS", "3072")
    assert media.read_image(tmp_path / "a.png").shape == (48, 64, 3)
    monkeypatch.setenv("LAYERLOOM_MAX_PIXELS", "many")
    with fails("LAYERLOOM_MAX_PIXELS=many", "whole number"):
        media.read_image(tmp_path / "a.png")


def test_a_list_of_other_files_is_no_footage(tmp_path: Path) -> None:
    encode_video(tmp_path / "a.ts", codec="libx264")
    (tmp_path / "b.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\na.ts\n#EXT-X-ENDLIST\n")
    with fails("b.mp4"):
        media.probe(tmp_path / "b.mp4")
