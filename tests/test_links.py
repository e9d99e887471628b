"""Links: what another frame shows, brought here; and flow that lost an object's rim, led to what looks alike."""

import numpy as np
import pytest

from layerloom.data.clip import FlowField
from layerloom.prepare.flow.links import links_of

WIDTH, HEIGHT, SIDE, SPEED = 96, 64, 24, 6


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def square_that_moves() -> tuple[np.ndarray, np.ndarray]:
    """Two frames (noise on noise), and where the square is in them."""
    frames = np.repeat(noise(HEIGHT, WIDTH, 0)[None], 2, 0)
    inside = np.zeros((2, HEIGHT, WIDTH), bool)
    for frame in range(2):
        shown = np.s_[frame, 20 : 20 + SIDE, 30 + SPEED * frame : 30 + SPEED * frame + SIDE]
        frames[shown], inside[shown] = noise(SIDE, SIDE, 1), True
    return frames, inside


def flow_that_loses(rim: int, inside: np.ndarray) -> FlowField:
    """Right in the square but for its rim, which seems to stand still as the background does."""
    flow = np.zeros((2, HEIGHT, WIDTH, 2), np.float16)
    for frame in range(2):
        rows, columns = np.nonzero(inside[frame])
        flow[frame, rows.min() + rim : rows.max() + 1 - rim, columns.min() + rim : columns.max() + 1 - rim, 0] = (
            SPEED * (1 - 2 * frame)
        )
    sure = np.full((1, HEIGHT, WIDTH), 255, np.uint8)
    return FlowField(1, flow[:1], flow[1:], sure, sure)


@pytest.mark.parametrize("rim", [0, 4, 7])
def test_a_rim_that_the_flow_lost_is_led_back_by_its_looks(rim: int) -> None:
    frames, inside = square_that_moves()
    (link,) = links_of(1, [flow_that_loses(rim, inside)], (WIDTH, HEIGHT))
    led = link.led_by_appearance(frames[1], frames[0])
    columns = np.broadcast_to(np.arange(WIDTH, dtype=np.float32) - SPEED, (HEIGHT, WIDTH))
    assert (link.x == columns)[inside[1]].sum() == (SIDE - 2 * rim) ** 2
    assert ((led.bring(np.float32(inside[0])) > 0.5) == inside[1])[inside[1]].mean() > 0.97
    inner = np.s_[21 : 19 + SIDE, 31 + SPEED : 29 + SPEED + SIDE]  # neighbourhoods without background
    np.testing.assert_array_equal(led.x[inner], columns[inner])
    assert (led.confidence[inner] == 1).all()


def test_flow_is_kept_where_nothing_around_looks_more_alike() -> None:
    frames, inside = square_that_moves()
    (link,) = links_of(1, [flow_that_loses(0, inside)], (WIDTH, HEIGHT))
    flat = np.full_like(frames[0], 90)
    led = link.led_by_appearance(flat, flat + np.uint8(3))
    np.testing.assert_array_equal(led.x, link.x)
    np.testing.assert_allclose(led.confidence, (1 + 27 / 36) ** -2, rtol=1e-5)


def test_a_part_of_a_link_is_led_like_the_whole_away_from_the_parts_border() -> None:
    frames, inside = square_that_moves()
    (link,) = links_of(1, [flow_that_loses(4, inside)], (WIDTH, HEIGHT))
    window = np.s_[0:HEIGHT, 8:90]
    whole, part = (
        link.led_by_appearance(frames[1], frames[0]),
        link.within(window).led_by_appearance(frames[1][window], frames[0]),
    )
    np.testing.assert_array_equal(whole.x[20:44, 36:60], part.x[20:44, 28:52])
