"""Masks alone: what is written, that it is read back, and what is refused in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from footage import write_footage
from PIL import Image

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.data.clip import Masks, SourceReference
from layerloom.data.selection import Hint, ObjectHints, Selection
from layerloom.evaluate.measures import intersection_over_union
from layerloom.prepare.flow.compute import DIS
from layerloom.prepare.key import clip_key
from layerloom.prepare.mask_output import MaskOutput, check_mask_output, write_masks
from layerloom.prepare.masks.contact_sheet import COLOURS, contact_sheet
from layerloom.prepare.masks.files import load_masks
from layerloom.prepare.prepare import MasksAlone, find_masks, prepare
from layerloom.synthetic.clip import SyntheticClip, make_clip

SIZE, FRAMES = (96, 64), 5


@pytest.fixture(scope="module")
def truth() -> SyntheticClip:
    return make_clip(SIZE, FRAMES, seed=2)


@pytest.fixture(scope="module")
def footage(truth: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_footage(tmp_path_factory.mktemp("footage"), truth)


@pytest.fixture(scope="module")
def selection(footage: Path, truth: SyntheticClip) -> Selection:
    """The ball by its mask; a spot of one pixel of the ground."""
    rows, columns = np.nonzero(truth.masks[0, 2] == 0)
    spot = np.zeros_like(truth.masks[0, 0])
    spot[rows[0], columns[0]] = 255
    media.write_image(footage / "spot.png", spot)
    ball = ObjectHints("ball", (Hint(2, mask=footage / "masks" / "ball" / "00002.png"), Hint(4, absent=True)))
    return Selection((ball, ObjectHints("spot", (Hint(2, mask=footage / "spot.png"),))))


@pytest.fixture(scope="module")
def made(footage: Path, selection: Selection) -> MasksAlone:
    return find_masks(footage / "frames", selection, frames=(1, 5))


def test_masks_are_written_as_hints_say_them(
    made: MasksAlone, footage: Path, selection: Selection, truth: SyntheticClip, tmp_path: Path
) -> None:
    assert write_masks(made, selection, MaskOutput(tmp_path / "out")) == [tmp_path / "out"]
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert files == [f"{name}/{number:05d}.png" for name in ("ball", "spot") for number in range(1, 5)]
    ball = [media.read_grey(tmp_path / "out" / "ball" / f"{number:05d}.png") for number in range(1, 5)]
    assert np.array_equal(ball[1] > 127, truth.masks[0, 2] > 127)
    assert not ball[3].any()
    assert set(np.unique(np.stack(ball))) == {0, 255}
    assert intersection_over_union(ball[0] > 127, truth.masks[0, 1] > 127) > 0.6
    spot = media.read_grey(tmp_path / "out" / "spot" / "00002.png")
    assert (spot > 127).sum() == 1


def test_indexed_images_are_read_back(made: MasksAlone, selection: Selection, tmp_path: Path) -> None:
    write_masks(made, selection, MaskOutput(tmp_path / "indexed", "indexed"))
    back = load_masks(tmp_path / "indexed", range(1, 5), SIZE, FRAMES, made.info.names)
    assert back.names == ("object1",)  # one pixel is a stray
    assert np.array_equal(back.coverage[0, 1] > 127, made.masks.coverage[0, 1] > 127)


def test_an_exr_has_a_channel_of_each_name(made: MasksAlone, selection: Selection, tmp_path: Path) -> None:
    write_masks(made, selection, MaskOutput(tmp_path / "exr", "exr", soft=True))
    with OpenEXR.File(str(tmp_path / "exr" / "00002.exr"), separate_channels=True) as file:
        channels = {name: channel.pixels.copy() for name, channel in file.channels().items()}
    assert sorted(channels) == ["ball", "spot"]
    assert channels["ball"].dtype == np.float16 and channels["ball"].max() == 1


def test_a_matte_video_for_each_object(made: MasksAlone, selection: Selection, tmp_path: Path) -> None:
    written = write_masks(made, selection, MaskOutput(matte=tmp_path / "matte.mov"))
    assert [path.name for path in written] == ["matte-ball.mov", "matte-spot.mov"]
    assert media.probe(written[0]).frames == 4


def test_hints_are_drawn_on_the_contact_sheet() -> None:
    frames = np.zeros((40, 90, 160, 3), np.uint8)
    nothing = find_nothing(40)
    box = Selection((ObjectHints("a", (Hint(107, box=(20, 20, 40, 40)),)),))
    sheet = contact_sheet(frames, nothing, box, (160, 90), 100)
    assert (sheet == np.array(COLOURS[0])).all(-1).sum() > 100


def find_nothing(frames: int) -> Masks:
    return Masks((), np.zeros((0, frames, 90, 160), np.uint8), np.zeros((0, frames, 90, 160), np.uint8))


def hint(**values: object) -> Callable[[Path], Selection]:
    return lambda folder: Selection((ObjectHints("ball", (Hint(**{"frame": 1, **values}),)),))  # type: ignore[arg-type]


def empty_mask(folder: Path) -> Selection:
    media.write_image(folder / "empty.png", np.zeros((SIZE[1], SIZE[0]), np.uint8))
    return hint(mask=folder / "empty.png")(folder)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (hint(box=(200, 10, 5, 5)), "outside of the frame"),
        (hint(include=((-3, 4),)), "outside of the frame"),
        (hint(frame=9, box=(1, 1, 5, 5)), "a hint in frame 9, but there are frames 0 to 4"),
        (hint(include=((5, 5),), exclude=((5, 5),)), "both inside and outside"),
        (empty_mask, "is empty"),
    ],
)
def test_hints_that_do_not_fit_are_one_line(
    make: Callable[[Path], Selection], words: str, footage: Path, tmp_path: Path
) -> None:
    given = make(tmp_path)
    for call in (lambda: find_masks(footage / "frames", given), lambda: prepare(footage / "frames", masks=given)):
        with pytest.raises(LayerloomError, match=words) as refusal:
            call()
        assert "\n" not in str(refusal.value)


def test_outputs_are_checked_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    for output, words in (
        (MaskOutput(tmp_path / "there"), "exists already"),
        (MaskOutput(), "nothing to write"),
        (MaskOutput(tmp_path / "new", "indexed", soft=True), "no soft outlines"),
        (MaskOutput(matte=tmp_path / "matte.txt"), "matte.txt"),
    ):
        with pytest.raises(LayerloomError, match=words):
            check_mask_output(output)


def test_forty_objects_of_any_size_are_written(made: MasksAlone, tmp_path: Path) -> None:
    names = tuple(f"o{number}" for number in range(40))
    coverage = np.zeros((40, 4, SIZE[1], SIZE[0]), np.uint8)
    for number in range(40):
        side = 4 if number % 2 else 1
        row, column = 4 + 14 * (number // 10), 2 + 9 * (number % 10)
        coverage[number, :, row : row + side, column : column + side] = 255
    many = made._replace(masks=Masks(names, coverage, np.full_like(coverage, 255)))
    write_masks(many, None, MaskOutput(tmp_path / "out"))
    write_masks(many, None, MaskOutput(tmp_path / "indexed", "indexed"))
    for number, name in enumerate(names):
        back = media.read_grey(tmp_path / "out" / name / "00001.png")
        assert np.array_equal(back, coverage[number, 0])
    with Image.open(tmp_path / "indexed" / "00001.png") as image:
        assert image.mode == "P"
        assert set(np.unique(np.asarray(image))) == set(range(41))


def test_a_clip_is_prepared_from_hints_and_known_by_them(
    footage: Path, selection: Selection, truth: SyntheticClip
) -> None:
    ball = Selection(selection.objects[:1])
    clip = prepare(footage / "frames", masks=ball, device="cpu", cache="off")
    assert clip.layer_names == ("ball", "background")
    assert intersection_over_union(clip.masks.coverage[0, 2] > 127, truth.masks[0, 2] > 127) > 0.95
    assert not clip.masks.coverage[0, 4].any()
    source: SourceReference = clip.source
    others = [ball, selection, Selection((ObjectHints("ball", ball.objects[0].hints[:1]),)), None]
    keys = [clip_key(source, SIZE, each, DIS) for each in others]
    assert len(set(keys)) == len(keys)
    assert clip_key(source, SIZE, Selection(selection.objects[:1]), DIS) == keys[0]
