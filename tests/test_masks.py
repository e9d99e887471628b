"""Masks: every layout a user may bring, every way it can be wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layerloom.core.errors import LayerloomError
from layerloom.prepare.masks.files import load_masks

SIZE = (64, 36)


def square(left: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[10:20, left : left + 10] = 255
    return mask


def write(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def write_indexed(path: Path, indices: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [5, 6, 7] * 252)
    image.save(path)


def test_folder_per_object(tmp_path: Path) -> None:
    for frame in range(3):
        write(tmp_path / "rider" / f"{frame:05d}.png", square(5 + frame))
        write(tmp_path / "horse" / f"{frame:05d}.png", square(10 + frame))
    masks = load_masks(tmp_path, range(3), SIZE)
    assert masks.names == ("horse", "rider")
    assert (masks.coverage[0, 1] == square(11)).all()
    assert (masks.coverage[1, 1] == np.where(square(11) > 0, 0, square(6))).all(), "the first by name is in front"
    assert (masks.trust == 255).all()


def test_one_folder_is_one_object_and_keeps_softness(tmp_path: Path) -> None:
    soft = np.tile(np.arange(64, dtype=np.uint8) * 4, (36, 1))
    for frame in range(2):
        write(tmp_path / f"mask_{frame}.png", soft)
    masks = load_masks(tmp_path, range(2), SIZE)
    assert masks.names == ("object",)
    assert (masks.coverage[0, 1] == soft).all()


def test_indexed_palette(tmp_path: Path) -> None:
    indices = np.zeros((36, 64), np.uint8)
    indices[3:9, 4:20] = 1
    indices[9:15, 4:20] = 3
    indices[20:22, 30:33] = 255
    for frame in range(2):
        write_indexed(tmp_path / f"{frame:05d}.png", indices)
    masks = load_masks(tmp_path, range(2), SIZE)
    assert masks.names == ("object1", "object3")
    assert ((masks.coverage[0, 0] == 255) == (indices == 1)).all()
    assert ((masks.coverage[1, 1] == 255) == (indices == 3)).all()
    assert ((masks.trust[0, 0] == 0) == (indices == 255)).all()


def test_other_pixel_formats(tmp_path: Path) -> None:
    grey = square(7)
    transparent = np.dstack([np.full((36, 64, 3), 90, np.uint8), grey])
    for name, image in {
        "bit": Image.fromarray(grey).convert("1"),
        "colour": Image.fromarray(np.dstack([grey] * 3)),
        "deep": Image.fromarray(grey.astype(np.uint16) * 257),
        "transparent": Image.fromarray(transparent),
    }.items():
        (tmp_path / name / "one").mkdir(parents=True)
        image.save(tmp_path / name / "one" / "0.png")
        assert (load_masks(tmp_path / name, range(1), SIZE).coverage[0, 0] == grey).all(), name


def test_resized_by_area(tmp_path: Path) -> None:
    large = np.zeros((72, 128), np.uint8)
    large[:, :65] = 255
    write(tmp_path / "0.png", large)
    row = load_masks(tmp_path, range(1), SIZE).coverage[0, 0, 5]
    assert list(row[31:34]) == [255, 128, 0]


@pytest.mark.parametrize("first", [0, 1, 1001])
def test_numbers_count_from_the_first_when_complete(tmp_path: Path, first: int) -> None:
    for frame in range(5):
        write(tmp_path / f"{frame + first}.png", square(frame))
    masks = load_masks(tmp_path, range(2, 5), SIZE, source_frames=5)
    assert (masks.coverage[0, 0] == square(2)).all()
    assert (masks.trust == 255).all()


def test_missing_frames_are_untrusted(tmp_path: Path) -> None:
    for frame in (1, 3, 4):
        write(tmp_path / f"{frame:05d}.png", square(frame))
    masks = load_masks(tmp_path, range(6), SIZE)
    assert list(masks.trust[0].reshape(6, -1).max(1)) == [0, 255, 0, 255, 255, 0]
    assert (masks.coverage[0, 3] == square(3)).all()
    assert not masks.coverage[0, [0, 2, 5]].any()


def test_unnumbered_in_order(tmp_path: Path) -> None:
    for i, name in enumerate("abc"):
        write(tmp_path / f"{name}.png", square(i))
    assert (load_masks(tmp_path, range(7, 10), SIZE).coverage[0, 2] == square(2)).all()


def nothing(folder: Path) -> None: ...


def no_folder(folder: Path) -> None:
    folder.rmdir()


def other_shape(folder: Path) -> None:
    write(folder / "0.png", square(0, (64, 48)))


def mixed_sizes(folder: Path) -> None:
    write(folder / "0.png", square(0))
    write(folder / "1.png", square(0, (128, 72)))


def wrong_count(folder: Path) -> None:
    for name in "abcd":
        write(folder / f"{name}.png", square(0))


def past_the_end(folder: Path) -> None:
    for frame in range(4):
        write(folder / f"{frame}.png", square(0))


def other_frames(folder: Path) -> None:
    write(folder / "7.png", square(0))


def twice(folder: Path) -> None:
    write(folder / "0.png", square(0))
    write(folder / "00.png", square(0))


def empty_object(folder: Path) -> None:
    for frame in range(3):
        write(folder / "horse" / f"{frame}.png", square(0))
        write(folder / "rider" / f"{frame}.png", square(0) * 0)


def empty_indices(folder: Path) -> None:
    write_indexed(folder / "0.png", np.zeros((36, 64), np.uint8))


def zero_and_one(folder: Path) -> None:
    write(folder / "0.png", square(0) // 255)


def named_background(folder: Path) -> None:
    write(folder / "Background" / "0.png", square(0))


def spaced_name(folder: Path) -> None:
    write(folder / "my horse" / "0.png", square(0))


def both_kinds(folder: Path) -> None:
    write(folder / "0.png", square(0))
    write(folder / "horse" / "0.png", square(0))


def damaged(folder: Path) -> None:
    write(folder / "0.png", square(0))
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:60])


def colourful(folder: Path) -> None:
    write(folder / "0.png", np.dstack([square(0), square(9), square(3)]))


def one_not_indexed(folder: Path) -> None:
    write_indexed(folder / "0.png", square(0) // 255)
    write(folder / "1.png", square(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_folder, "no such folder"),
        (nothing, "no mask images"),
        (other_shape, "64×48.*64×36"),
        (mixed_sizes, "1.png: 128×72, but 0.png is 64×36"),
        (wrong_count, "4 masks for 3 frames"),
        (past_the_end, "frame 3, but the source's last frame is 2"),
        (other_frames, "last frame is 2"),
        (twice, "second mask for frame 0"),
        (empty_object, "'rider' are empty"),
        (empty_indices, "all masks are empty"),
        (zero_and_one, "only 1 of 255"),
        (named_background, "reserved"),
        (spaced_name, "my horse"),
        (both_kinds, "both images and folders"),
        (damaged, "not a readable image"),
        (colourful, "colour image"),
        (one_not_indexed, "not an indexed-palette image"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, make, message: str) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    make(folder)
    with pytest.raises(LayerloomError, match=message) as caught:
        load_masks(folder, range(3), SIZE, source_frames=3)
    assert "\n" not in str(caught.value)


def test_numbers_outside_the_frames_used(tmp_path: Path) -> None:
    write(tmp_path / "0.png", square(0))
    with pytest.raises(LayerloomError, match="numbered 0 to 0, but the frames used are 3 to 5"):
        load_masks(tmp_path, range(3, 6), SIZE)
