"""Objects picked by hand: hints hold exactly, spread in time, meet each other, and say what is wrong with them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from real_clips import CLIPS

from layerloom.core.errors import LayerloomError
from layerloom.data.selection import Hint, ObjectHints, Selection
from layerloom.evaluate.measures import intersection_over_union
from layerloom.prepare.select.geodesic import geodesic_distance
from layerloom.prepare.select.hints import draw_hints
from layerloom.prepare.select.selector import Found, Selector
from layerloom.prepare.select.settle import settle
from layerloom.prepare.select.track import met

SIZE = (160, 96)
FRAMES = 10


def picked(*hints: Hint, name: str = "ball") -> Selection:
    return Selection((ObjectHints(name, hints),))


class Balls:
    """A textured ground over which two balls of one look roll, crossing in the middle of the clip at other heights."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        noise = generator.integers(60, 130, (SIZE[1] // 4, SIZE[0] // 4, 3), np.uint8)
        self.ground = cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC)
        self.skin = cv2.resize(generator.integers(150, 255, (9, 9, 3), np.uint8), (41, 41))
        self.skin[..., 2] //= 3
        self.centres = [[(30 + 10 * t, 30), (130 - 10 * t, 68)] for t in range(FRAMES)]
        self.frames = np.stack([self._frame(t) for t in range(FRAMES)])

    def _frame(self, t: int) -> np.ndarray:
        frame = self.ground.copy()
        for ball in range(2):
            x, y = self.centres[t][ball]
            inside = self.mask(ball, t)
            rows, columns = np.nonzero(inside)
            frame[rows, columns] = self.skin[rows - y + 20, columns - x + 20]
        return frame

    def mask(self, ball: int, t: int) -> np.ndarray:
        y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
        centre = self.centres[t][ball]
        return np.hypot(x - centre[0], y - centre[1]) < 15

    def box(self, ball: int, t: int) -> tuple[float, float, float, float]:
        x, y = self.centres[t][ball]
        return x - 15, y - 15, 31, 31


@pytest.fixture(scope="module")
def balls() -> Balls:
    return Balls()


@pytest.fixture(scope="module")
def selector(balls: Balls) -> Selector:
    return Selector(balls.frames)


def last_masks(found: Iterator[Found]) -> dict[tuple[str, int], np.ndarray]:
    return {(each.name, each.frame): each.mask for each in found}


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return intersection_over_union(mask > 127, truth)


def test_a_box_is_answered_in_its_frame(balls: Balls, selector: Selector) -> None:
    masks = selector.frame(picked(Hint(5, box=balls.box(0, 5))), 5)
    assert overlap(masks["ball"], balls.mask(0, 5)) > 0.85


def test_boxes_spread_to_all_frames_and_likes_are_kept_apart(balls: Balls, selector: Selector) -> None:
    selection = Selection(
        tuple(ObjectHints(name, (Hint(2, box=balls.box(i, 2)),)) for i, name in enumerate(("one", "other")))
    )
    found = list(selector.spread(selection))
    order = [abs(each.frame - 2) for each in found]
    assert order == sorted(order)
    masks = last_masks(iter(found))
    assert len(masks) == 2 * FRAMES
    for t in range(FRAMES):
        assert overlap(masks["one", t], balls.mask(0, t)) > 0.7
        assert overlap(masks["other", t], balls.mask(1, t)) > 0.7
        assert (masks["one", t].astype(int) + masks["other", t]).max() <= 255


def test_what_is_said_holds_exactly_in_its_frame(balls: Balls, selector: Selector, tmp_path: Path) -> None:
    painted = np.zeros(SIZE[::-1], np.uint8)
    painted[20:50, 40:77] = 255
    assert cv2.imwrite(str(tmp_path / "painted.png"), painted)
    hints = (
        Hint(3, mask=tmp_path / "painted.png"),
        Hint(6, include=((10.5, 80.5),), exclude=((90.5, 30.5),), radius=3),
        Hint(9, absent=True),
    )
    masks = last_masks(selector.spread(picked(*hints)))
    assert np.array_equal(masks["ball", 3], painted)
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]] + 0.5
    assert (masks["ball", 6][np.hypot(x - 10.5, y - 80.5) <= 3] == 255).all()
    assert (masks["ball", 6][np.hypot(x - 90.5, y - 30.5) <= 3] == 0).all()
    assert not masks["ball", 9].any()


def test_a_correction_wins_in_its_frame_and_spreads(balls: Balls, selector: Selector, tmp_path: Path) -> None:
    """One frame's mask is the wrong ball; a mask on a later frame brings the right one, and the two meet between."""
    files = [tmp_path / name for name in ("wrong.png", "right.png")]
    for file, (ball, t) in zip(files, ((1, 1), (0, 8)), strict=True):
        assert cv2.imwrite(str(file), balls.mask(ball, t).astype(np.uint8) * 255)
    masks = last_masks(selector.spread(picked(Hint(1, mask=files[0]), Hint(8, mask=files[1]))))
    for t in (7, 8, 9):
        assert overlap(masks["ball", t], balls.mask(0, t)) > 0.7
    for t in (0, 1, 2):
        assert overlap(masks["ball", t], balls.mask(1, t)) > 0.7


def test_points_correct_what_a_box_came_to(balls: Balls, selector: Selector) -> None:
    """A point on the other ball takes it in, there and in frames beside; one beside the object leaves the mask."""
    box = Hint(2, box=balls.box(0, 2))
    alone = last_masks(selector.spread(picked(box)))
    assert overlap(alone["ball", 7], balls.mask(0, 7)) > 0.7
    point = tuple(float(value) for value in balls.centres[7][1])
    both = last_masks(selector.spread(picked(box, Hint(7, include=(point,)))))
    both_balls = balls.mask(0, 7) | balls.mask(1, 7)
    assert overlap(both["ball", 7], both_balls) > overlap(alone["ball", 7], both_balls) + 0.05
    assert (both["ball", 8] > 127)[balls.mask(1, 8)].mean() > 0.1
    assert overlap(both["ball", 2], balls.mask(0, 2)) > 0.7


def test_absence_meets_presence_between_them(balls: Balls, selector: Selector) -> None:
    masks = last_masks(selector.spread(picked(Hint(1, box=balls.box(0, 1)), Hint(9, absent=True))))
    assert not masks["ball", 9].any() and not (masks["ball", 8] > 127).any()
    assert overlap(masks["ball", 2], balls.mask(0, 2)) > 0.7


def test_what_passes_behind_something_keeps_its_name(balls: Balls) -> None:
    frames = balls.frames.copy()
    frames[:, :, 72:88] = (40, 90, 30)  # a post
    masks = last_masks(Selector(frames).spread(picked(Hint(1, box=balls.box(0, 1)))))
    for t in (0, 1, 8, 9):
        truth = balls.mask(0, t)
        truth[:, 72:88] = False
        assert overlap(masks["ball", t], truth) > 0.6


def test_it_can_be_stopped(balls: Balls, selector: Selector) -> None:
    spreading = selector.spread(picked(Hint(4, box=balls.box(0, 4))))
    assert next(spreading).frame == 4
    spreading.close()
    assert next(selector.spread(picked(Hint(4, box=balls.box(0, 4))))).frame == 4


def test_a_changed_hint_leaves_what_it_cannot_change(balls: Balls) -> None:
    selector = Selector(balls.frames)
    first, last = Hint(1, box=balls.box(0, 1)), Hint(8, box=balls.box(0, 8))
    before = last_masks(selector.spread(picked(first, Hint(5, box=balls.box(0, 5)), last)))
    made = count_chain_steps(selector, picked(first, Hint(5, box=balls.box(0, 5)), last))
    assert made == 0
    moved = picked(first, Hint(5, box=(*balls.box(0, 5)[:2], 30, 29)), last)
    steps = count_chain_steps(selector, moved)
    assert 0 < steps <= 2 * 5  # between the first and the last hint, from both sides
    after = last_masks(selector.spread(moved))
    for t in (0, 9):
        assert np.array_equal(before["ball", t], after["ball", t])


def count_chain_steps(selector: Selector, selection: Selection) -> int:
    from layerloom.prepare.select import spread

    made: list[int] = []
    step = spread.Chain.step

    def counted(chain: spread.Chain) -> None:
        made.append(1)
        step(chain)

    spread.Chain.step = counted
    try:
        list(selector.spread(selection))
    finally:
        spread.Chain.step = step
    return len(made)


def test_many_objects_and_the_smallest(balls: Balls, selector: Selector, tmp_path: Path) -> None:
    """40 objects, of which the last is one pixel: none overlap, and the pixel is where it was said to be."""
    boxes = [(4.0 + 15 * (i % 10), 4.0 + 22 * (i // 10), 12.0, 18.0) for i in range(39)]
    objects = [ObjectHints(f"o{i}", (Hint(5, box=box),)) for i, box in enumerate(boxes)]
    pixel = np.zeros(SIZE[::-1], np.uint8)
    pixel[90, 156] = 255
    assert cv2.imwrite(str(tmp_path / "pixel.png"), pixel)
    selection = Selection((*objects, ObjectHints("pixel", (Hint(5, mask=tmp_path / "pixel.png"),))))
    found = selector.frame(selection, 5)
    assert len(found) == 40 and np.array_equal(found["pixel"], pixel)
    assert np.sum([mask.astype(int) for mask in found.values()], 0).max() <= 255 + 20  # rounding, of 40
    alone = last_masks(selector.spread(Selection((selection.objects[-1],))))
    assert len(alone) == FRAMES


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ((Hint(10, box=(1, 1, 5, 5)),), "'ball': a hint in frame 10, but there are frames 0 to 9"),
        (
            (Hint(3, box=(200, 1, 5, 5)),),
            "'ball', frame 3: the box 200,1,5,5 lies outside of the frame, which is 160x96",
        ),
        ((Hint(3, include=((5, 97),)),), "'ball', frame 3: the point 5,97 lies outside of the frame, which is 160x96"),
        (
            (Hint(3, box=(1, 1, 50, 50), include=((20, 20),), exclude=((20, 20),)),),
            "'ball', frame 3: the point 20,20 is said to be both inside and outside of the object",
        ),
        ((Hint(3, mask=Path("nowhere.png")),), "nowhere.png"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(selector: Selector, hints: Sequence[Hint], message: str) -> None:
    with pytest.raises(LayerloomError) as caught:
        list(selector.spread(picked(*hints)))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_masks_of_another_shape_and_empty_ones_are_refused(selector: Selector, tmp_path: Path) -> None:
    for name, shape in (("small.png", (10, 10)), ("empty.png", SIZE[::-1])):
        assert cv2.imwrite(str(tmp_path / name), np.zeros(shape, np.uint8))
        with pytest.raises(LayerloomError, match=rf"frame 3: .*{name} is "):
            selector.frame(picked(Hint(3, mask=tmp_path / name)), 3)


def test_hints_are_in_pixels_of_the_source_and_frames_of_it(balls: Balls) -> None:
    selector = Selector(balls.frames, source_size=(320, 192), mask_size=(320, 192), first_frame=100)
    left, top, width, height = balls.box(0, 5)
    masks = selector.frame(picked(Hint(105, box=(2 * left, 2 * top, 2 * width, 2 * height))), 105)
    assert masks["ball"].shape == (192, 320)
    assert overlap(masks["ball"][::2, ::2], balls.mask(0, 5)) > 0.85


def test_dots_share_what_both_cover() -> None:
    hint = Hint(0, include=((10, 10),), exclude=((16, 10),), radius=5)
    pinned = draw_hints("a", [hint], (32, 20), (32, 20)).pinned
    assert pinned[9, 12] == 1 and pinned[9, 13] == -1
    assert pinned[9, 4] == 0 and pinned[9, 5] == 1 and pinned[9, 20] == -1


def test_geodesic_distance_goes_around_what_differs() -> None:
    frame = np.full((9, 21, 3), 90, np.uint8)
    frame[:7, 10] = 250
    start = np.zeros((9, 21), bool)
    start[0, 8] = True
    distance = geodesic_distance(frame, start)
    assert distance[0, 8] == 0 and distance[0, 0] == 8
    assert 14 < distance[0, 12] < 18


def test_two_sides_meet_in_the_middle() -> None:
    yes, no = np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)
    shares = [float(met(t, (0, yes), (10, no))[0, 0]) for t in range(1, 10)]
    assert shares == sorted(shares, reverse=True) and shares[4] == pytest.approx(0.5, abs=1e-3)
    assert met(3, (0, yes), None) is yes and met(3, None, (9, no)) is no


def test_settled_scores_have_one_owner_and_pins_hold() -> None:
    generator = np.random.default_rng(1)
    scores = generator.normal(0, 3, (3, 12, 14)).astype(np.float32)
    pinned = np.zeros((3, 12, 14), np.int8)
    pinned[0, 2, 3], pinned[1, 4, 5] = 1, -1
    shares = settle(scores, pinned, generator.integers(0, 255, (12, 14, 3), np.uint8), 0.5)
    assert shares.sum(0).max() < 1 + 1e-5
    assert shares[0, 2, 3] == 1 and shares[1:, 2, 3].max() < 1e-6 and shares[1, 4, 5] == 0


def small(file: Path) -> np.ndarray:
    return cv2.resize(cv2.imread(str(file)), (384, 216), interpolation=cv2.INTER_AREA)


@pytest.mark.footage
def test_a_car_is_selected_by_one_box() -> None:
    folder = CLIPS / "car-shadow"
    if not folder.is_dir():
        pytest.skip(f"no footage at {CLIPS}")
    names = [file.stem for file in sorted((folder / "video_frames").iterdir())[14:26]]
    frames = np.stack([small(folder / "video_frames" / f"{name}.jpg")[..., ::-1] for name in names])
    truths = [small(folder / "masks" / "fg" / f"{name}.png")[..., 0] > 127 for name in names]
    box = cv2.boundingRect(truths[6].astype(np.uint8))
    masks = last_masks(Selector(frames).spread(picked(Hint(6, box=box))))
    assert np.mean([overlap(masks["ball", t], truth) for t, truth in enumerate(truths)]) > 0.9
