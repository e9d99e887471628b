"""Given masks made whole: filled, corrected where they are wrong and only there, trusted as far as they are right."""

import cv2
import numpy as np
import pytest

from layerloom.data.clip import FlowField, Masks
from layerloom.prepare.flow.compute import compute_flow
from layerloom.prepare.masks.edges import lay_on_edges, outline_offset
from layerloom.prepare.masks.outlines import FARTHEST_PIXELS, signed_distance
from layerloom.prepare.masks.repair import complete_masks
from layerloom.synthetic.clip import make_clip

WIDTH, HEIGHT, FRAMES = 96, 64, 12
SPEED = 2  # pixels a frame, to the right


def moving_flow() -> tuple[FlowField, ...]:
    """The whole picture moves by SPEED; what leaves it is not seen again."""
    fields = []
    for step in (1, 2, 4, 8):
        vectors = np.zeros((FRAMES - step, HEIGHT, WIDTH, 2), np.float16)
        vectors[..., 0] = SPEED * step
        sure = np.full(vectors.shape[:3], 255, np.uint8)
        fields.append(FlowField(step, vectors, -vectors, sure, sure))
    return tuple(fields)


def square(left: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:44, left : left + 24] = 255
    return mask


def moving_square() -> Masks:
    coverage = np.stack([square(10 + SPEED * frame) for frame in range(FRAMES)])[None]
    return Masks(("object",), coverage, np.full_like(coverage, 255))


def pictures(masks: Masks) -> np.ndarray:
    """What the masks cover in colours of its own, before a background of other ones."""
    noise = np.random.default_rng(0).integers(0, 30, (HEIGHT, WIDTH, 3), np.uint8)
    colours = np.array([[70, 90, 60], [190, 120, 80], [60, 60, 190]], np.uint8)
    label = sum(((number + 1) * (mask > 127) for number, mask in enumerate(masks.coverage)), np.zeros((), int))
    return colours[label] + noise


def disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def eroded(masks: Masks) -> Masks:
    return Masks(masks.names, np.stack([[cv2.erode(m, disc(3)) for m in o] for o in masks.coverage]), masks.trust)


def dilated(masks: Masks) -> Masks:
    """Grown by 3 pixels; where objects overlap the one in front keeps the pixel, as masks are read."""
    coverage = np.stack([[cv2.dilate(m, disc(3)) for m in o] for o in masks.coverage])
    for i in range(1, len(coverage)):
        coverage[i][coverage[:i].max(0) > 0] = 0
    return Masks(masks.names, coverage, masks.trust)


def jittered(masks: Masks) -> Masks:
    shifts = np.random.default_rng(1).integers(-3, 4, (len(masks.names), masks.coverage.shape[1], 2))
    rolled = [
        [np.roll(m, s, (0, 1)) for m, s in zip(o, ss, strict=True)]
        for o, ss in zip(masks.coverage, shifts, strict=True)
    ]
    return Masks(masks.names, np.array(rolled), masks.trust)


def every_third_missing(masks: Masks) -> Masks:
    coverage, trust = masks.coverage.copy(), masks.trust.copy()
    coverage[:, 1::3] = trust[:, 1::3] = 0
    return Masks(masks.names, coverage, trust)


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union, the mean over frames."""
    found, truth = found > 127, truth > 127
    return float(((found & truth).sum((-2, -1)) / (found | truth).sum((-2, -1))).mean())


def outline_distance(mask: np.ndarray) -> np.ndarray:
    """By brute force: pixels to the nearest pixel on the other side."""
    inside = mask > 127
    others = [np.argwhere(~inside), np.argwhere(inside)]
    distances = [np.hypot(*(others[not inside[i, j]] - (i, j)).T).min() for i, j in np.ndindex(*mask.shape)]
    return np.reshape(distances, mask.shape)


def test_precise_masks_stay_and_are_trusted_up_to_their_outline() -> None:
    masks = moving_square()
    completed = complete_masks(masks, pictures(masks), moving_flow())
    assert (completed.coverage == masks.coverage).all()
    distance = outline_distance(masks.coverage[0, 5])
    assert (completed.trust[0, 5][distance >= 3] == 255).all()
    assert (completed.trust[0, 5][distance < 1.1] == 64).all(), "a quarter: a hard mask says nothing about softness"


@pytest.mark.parametrize("missing", [[5], [0, 1, 2], [4, 5, 6, 7], list(range(1, 12))])
def test_missing_frames_are_filled_along_the_flow(missing: list[int]) -> None:
    truth, masks = moving_square(), moving_square()
    masks.coverage[0, missing] = masks.trust[0, missing] = 0
    completed = complete_masks(masks, pictures(truth), moving_flow())
    assert (completed.coverage == truth.coverage).all()
    assert (completed.trust[0, missing].max((1, 2)) == 128).all(), "filled frames are trusted by half"


def test_missing_frames_are_filled_to_the_outline_where_the_flow_loses_it() -> None:
    truth, masks, flow = moving_square(), moving_square(), moving_flow()
    masks.coverage[0, 1::3] = masks.trust[0, 1::3] = 0
    for field in flow:
        for frame in range(len(field.forward)):
            outside = cv2.erode(truth.coverage[0, frame], disc(5)) == 0
            field.forward[frame][outside] = 0
            outside = cv2.erode(truth.coverage[0, frame + field.step], disc(5)) == 0
            field.backward[frame][outside] = 0
    completed = complete_masks(masks, pictures(truth), flow)
    assert overlap(completed.coverage[0, 1::3], truth.coverage[0, 1::3]) > 0.97


def test_a_frame_that_disagrees_is_corrected() -> None:
    truth, masks = moving_square(), moving_square()
    masks.coverage[0, 6] = np.roll(masks.coverage[0, 6], 5, axis=1)
    completed = complete_masks(masks, pictures(truth), moving_flow())
    assert overlap(masks.coverage[0, 6], truth.coverage[0, 6]) < 0.7
    assert overlap(completed.coverage[0], truth.coverage[0]) > 0.95
    far = outline_distance(truth.coverage[0, 6]) > 6
    assert (completed.trust[0, 6][far] == 255).all()


def test_where_masks_disagree_and_the_picture_cannot_tell_trust_is_lost() -> None:
    masks = moving_square()
    masks.coverage[0, 6, 26:36, 28:38] = 0  # a hole in one frame: neither a shift nor a swelling
    completed = complete_masks(masks, pictures(moving_square()), moving_flow())
    assert (completed.coverage == masks.coverage).all()
    assert (completed.trust[0, 6, 26:36, 28:38] == 0).all()
    assert (completed.trust[0, 5][outline_distance(masks.coverage[0, 5]) >= 3] > 127).all(), (
        "outvoting it, they keep theirs"
    )


def test_unsure_flow_takes_no_trust() -> None:
    masks = moving_square()
    masks.coverage[0, 6, 26:36, 28:38] = 0
    for field in (flow := moving_flow()):
        field.forward_confidence[:] = field.backward_confidence[:] = 0
    completed = complete_masks(masks, pictures(moving_square()), flow)
    assert (completed.trust[0, 6][outline_distance(masks.coverage[0, 6]) >= 3] == 255).all()


def test_a_filled_mask_gives_way_to_a_given_one() -> None:
    front, behind = moving_square().coverage[0], np.roll(moving_square().coverage[0], 12, axis=2)
    behind = np.where(front > 0, 0, behind).astype(np.uint8)
    truth = Masks(("a", "b"), np.stack([front, behind]), np.full((2, FRAMES, HEIGHT, WIDTH), 255, np.uint8))
    masks = Masks(truth.names, truth.coverage.copy(), truth.trust.copy())
    masks.coverage[0, 6] = masks.trust[0, 6] = 0
    completed = complete_masks(masks, pictures(truth), moving_flow())
    assert (completed.coverage[1] == behind).all()
    assert not ((completed.coverage[0] > 0) & (completed.coverage[1] > 0)).any()


@pytest.mark.parametrize("degrade", [eroded, dilated, jittered])
@pytest.mark.parametrize("missing", [False, True])
def test_degraded_masks_of_a_synthetic_clip_are_corrected(degrade, missing: bool) -> None:
    clip = make_clip((192, 108), frames=12)
    truth = Masks(clip.names[:-1], clip.masks, np.full_like(clip.masks, 255))
    given = degrade(truth)
    given = every_third_missing(given) if missing else given
    completed = complete_masks(given, clip.frames, compute_flow(clip.frames))
    assert overlap(given.coverage[0, ::3], truth.coverage[0, ::3]) < 0.91
    assert overlap(completed.coverage[0], truth.coverage[0]) > 0.95


@pytest.mark.parametrize("degrade", [eroded, dilated, jittered])
def test_objects_that_touch_keep_what_is_theirs(degrade) -> None:
    left = moving_square().coverage[0]
    right = np.roll(left, 24, axis=2)
    truth = Masks(("left", "right"), np.stack([left, right]), np.full((2, FRAMES, HEIGHT, WIDTH), 255, np.uint8))
    given = degrade(truth)
    completed = complete_masks(given, pictures(truth), moving_flow())
    for number in range(2):
        assert overlap(completed.coverage[number], truth.coverage[number]) > 0.93
        inner = np.stack([cv2.erode(m, disc(4)) for m in truth.coverage[number]]) > 0
        assert (completed.coverage[1 - number][inner] < 128).all(), "no pixel inside one goes to the other"


def shifted(masks: Masks, x: int, y: int) -> Masks:
    return Masks(masks.names, np.roll(masks.coverage, (y, x), (2, 3)), masks.trust)


@pytest.mark.parametrize(("x", "y"), [(2, 0), (-1, 2), (0, -2)])
def test_outlines_that_all_lie_off_by_the_same_are_laid_on_the_edges(x: int, y: int) -> None:
    truth = moving_square()
    distances = np.stack([signed_distance(mask > 127) for mask in shifted(truth, x, y).coverage[0]])
    nothing, known = np.full_like(distances, -FARTHEST_PIXELS), np.ones(FRAMES, bool)
    laid = lay_on_edges(pictures(truth), distances, nothing, nothing, known, moving_flow())
    assert overlap(distances[None] * 255, truth.coverage) < 0.9
    assert overlap(np.where(laid > 0, 255, 0)[None], truth.coverage) > 0.99


def test_outlines_along_another_object_are_not_laid_on_edges() -> None:
    truth = moving_square()
    distances = np.stack([signed_distance(mask > 127) for mask in shifted(truth, 2, 0).coverage[0]])
    everywhere, nowhere = np.zeros_like(distances), np.full_like(distances, -FARTHEST_PIXELS)
    laid = lay_on_edges(pictures(truth), distances, everywhere, nowhere, np.ones(FRAMES, bool), moving_flow())
    np.testing.assert_allclose(laid, distances, atol=0.01)


def test_what_a_swollen_mask_in_front_covered_in_one_frame_is_taken_from_the_others() -> None:
    truth = moving_square()
    given = dilated(truth).coverage[0]
    given[6, :, : 10 + 6 * SPEED + 3] = 0  # its left rim and 3 pixels inside, thinner than a piece taken for an error
    distances = np.stack([signed_distance(mask > 127) for mask in given])
    nothing, in_front = np.full((2, *distances.shape), -FARTHEST_PIXELS, np.float32)
    in_front[6, :, : 10 + 6 * SPEED + 3] = 1
    arguments = (np.ones(FRAMES, bool), moving_flow())
    without, laid = (lay_on_edges(pictures(truth), distances, nothing, f, *arguments)[6] for f in (nothing, in_front))
    swollen = dilated(truth).coverage[0, 6] > 127
    assert (without > 0)[swollen].mean() < 0.85
    assert (laid > 0)[swollen].mean() > 0.93


def with_limb(masks: Masks) -> Masks:
    """A limb of 4 × 12 pixels above the square that swings from side to side, which the flow does not tell."""
    coverage = masks.coverage.copy()
    for frame, mask in enumerate(coverage[0]):
        left = 10 + SPEED * frame + (0, 10, 20, 10)[frame % 4]
        mask[8:20, left : left + 4] = 255
    return Masks(masks.names, coverage, masks.trust)


def test_frames_that_jump_keep_their_own_limbs() -> None:
    truth = with_limb(moving_square())
    completed = complete_masks(jittered(truth), pictures(truth), moving_flow())
    assert overlap(jittered(truth).coverage[0, :, :20], truth.coverage[0, :, :20]) < 0.5
    assert overlap(completed.coverage[0, :, :20], truth.coverage[0, :, :20]) > 0.9


@pytest.mark.parametrize("piece", [np.s_[:, :36], np.s_[26:40, 26:40]])
def test_a_piece_that_one_jumping_frame_lacks_comes_back(piece: tuple[slice, slice]) -> None:
    truth, given = moving_square(), jittered(moving_square())
    given.coverage[0, 6][piece] = 0  # its left half and more, or a hole
    completed = complete_masks(given, pictures(truth), moving_flow())
    assert overlap(given.coverage[0, 6], truth.coverage[0, 6]) < 0.5
    assert overlap(completed.coverage[0, 6], truth.coverage[0, 6]) > 0.88


@pytest.mark.parametrize("growth", [-2.25, 1.5, 2.75])
def test_how_far_outlines_lie_off_is_told_to_a_part_of_a_pixel(growth: float) -> None:
    y, x = np.mgrid[:96, :96].astype(np.float32)
    disc_distance = 30 - np.hypot(x - 47.5, y - 47.5)
    frames = np.stack([np.repeat(40 + 20 * np.clip(disc_distance + 0.5, 0, 1)[..., None], 3, 2)] * 2).astype(np.uint8)
    distances = np.stack([disc_distance + np.float32(growth)] * 2).clip(-FARTHEST_PIXELS, FARTHEST_PIXELS)
    assert outline_offset(frames, distances) == pytest.approx(growth, abs=0.1)


def test_one_object_that_passes_over_another_does_not_make_it_jump() -> None:
    clip = make_clip((192, 108), frames=16, objects=2, seed=4)
    truth = Masks(clip.names[:-1], clip.masks, np.full_like(clip.masks, 255))
    assert (complete_masks(truth, clip.frames, compute_flow(clip.frames)).coverage == truth.coverage).all()


def texture(size: tuple[int, int], grain: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (size[1], size[0], 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), grain)
    return np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("grain", "speed"), [(1, 3), (1, 16), (4, 30)])
def test_exact_masks_stay_though_texture_looks_like_edges_or_the_flow_loses_the_object(grain: int, speed: int) -> None:
    """What is mistaken for an error of the masks is left alone if the picture's edges lie where the masks say."""
    size, side, count = (320, 192), 80, 8
    frames = np.repeat(texture(size, 2 * grain, 0)[None], count, 0)
    coverage = np.zeros((1, count, size[1], size[0]), np.uint8)
    for frame in range(count):
        left = 20 + speed * frame
        shown = (slice(56, 56 + side), slice(left, min(left + side, size[0])))
        frames[(frame, *shown)] = texture((side, side), grain, 1)[:, : max(size[0] - left, 0)]
        coverage[(0, frame, *shown)] = 255
    masks = Masks(("box",), coverage, np.full_like(coverage, 255))
    np.testing.assert_array_equal(complete_masks(masks, frames, compute_flow(frames)).coverage, coverage)


def test_an_object_that_has_left_the_picture_is_surely_absent() -> None:
    coverage = np.stack([square(WIDTH - SPEED * left) for left in reversed(range(FRAMES))])[None]
    masks = Masks(("object",), coverage, np.full_like(coverage, 255))
    done = complete_masks(masks, pictures(masks), moving_flow())
    assert coverage[0, -2].any() and not coverage[0, -1].any()
    assert (done.coverage == coverage).all() and (done.trust[0, -1] == 255).all()
