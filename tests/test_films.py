"""Films: which frame is shown when, in whatever order it is asked for, and how many are kept."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerloom import media
from layerloom.compose.timed_video import KEPT_FRAMES, TimedVideo, is_timed_video
from layerloom.core.errors import LayerloomError

FRAMES = 60
FPS = Fraction(12)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame i is flat grey 4 i."""
    path = tmp_path_factory.mktemp("film") / "film.mov"
    with media.open_writer(path, (16, 8), [number / FPS for number in range(FRAMES)], FPS, "prores") as writer:
        for number in range(FRAMES):
            writer.write(np.full((8, 16, 3), 4 * number, np.uint8))
    return path


def shown(film: TimedVideo, seconds: float) -> int:
    picture = film.at(seconds)
    assert picture.shape == (8, 16, 4) and (picture[..., 3] == 1).all()
    return round(float(picture[..., :3].mean()) * 255 / 4)


@given(frame=st.integers(0, 3 * FRAMES), fraction=st.floats(0, 0.97))
def test_the_frame_that_began_last_is_shown(path: Path, frame: int, fraction: float) -> None:
    seconds = (frame + fraction) / float(FPS)
    assert TimedVideo(path, "loop").number_at(seconds) == frame % FRAMES
    assert TimedVideo(path, "hold").number_at(seconds) == min(frame, FRAMES - 1)


def test_a_film_at_half_the_rate_shows_each_frame_twice(path: Path) -> None:
    film = TimedVideo(path, "loop")
    assert [shown(film, number / 24) for number in range(6)] == [0, 0, 1, 1, 2, 2]


def test_frames_come_in_any_order_and_few_are_kept(path: Path) -> None:
    film = TimedVideo(path, "loop")
    random = np.random.default_rng(0)
    for number in [0, 1, 3, 2, 59, 60, 61, *random.integers(0, 200, 20).tolist()]:
        assert shown(film, number / float(FPS)) == number % FRAMES
        assert len(film._kept) <= KEPT_FRAMES


def test_a_folder_of_images_keeps_its_alpha(tmp_path: Path) -> None:
    for number in range(3):
        media.write_image(tmp_path / f"{number}.png", np.full((8, 16, 4), (10, 20, 30, 80 * number), np.uint8))
    assert is_timed_video(tmp_path)
    picture = TimedVideo(tmp_path, "hold").at(2 / 24)
    np.testing.assert_allclose(picture[0, 0] * 255, (10, 20, 30, 160), atol=1e-3)


def test_what_is_a_film() -> None:
    assert is_timed_video(Path("a.mp4")) and is_timed_video(Path("a.mov"))
    assert not any(is_timed_video(Path(name)) for name in ("a.png", "a.WEBP", "a.psd", "a.exr", "a.ora"))
    with pytest.raises(LayerloomError, match=r"absent.mp4: no such file"):
        TimedVideo(Path("absent.mp4"), "loop")
