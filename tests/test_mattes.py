"""Mattes sum to one, refinement brings them closer to the truth, and what is hidden goes to the layers behind."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from truth_project import make_truth_project

from layerloom.core.compositing import composite
from layerloom.data.mattes import mattes, reveal, stream_mattes
from layerloom.data.project import Project
from layerloom.synthetic.clip import SyntheticClip, make_clip


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(size=(320, 180), frames=3, seed=3, objects=2)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("full"), clip)


@pytest.fixture(scope="module")
def small(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("small"), clip, training_size=(106, 60))


@given(arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1, width=32)))
def test_shares_sum_to_one_and_follow_the_order(own: np.ndarray) -> None:
    shares = composite(list(own))
    np.testing.assert_allclose(shares.sum(0), 1, atol=1e-6)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares[1], (1 - own[0]) * own[1], atol=1e-6)


def test_mattes_at_equal_size_are_the_truth(project: Project, clip: SyntheticClip) -> None:
    for frame in range(3):
        np.testing.assert_allclose(mattes(project, frame, clip.frames[frame]), clip.alpha[:, frame], atol=1e-4)


def test_refinement_against_the_source_halves_the_error(small: Project, clip: SyntheticClip) -> None:
    for frame in range(3):
        refined, plain = mattes(small, frame, clip.frames[frame]), mattes(small, frame)
        np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
        assert refined.min() >= 0
        errors = [np.abs(shares - clip.alpha[:, frame]).mean() for shares in (refined, plain)]
        assert errors[0] < 0.6 * errors[1]
        undecided = np.abs(plain - plain.round()).max(0) > 0
        far = cv2.dilate(undecided.astype(np.uint8), np.ones((9, 9))) == 0
        assert far.mean() > 0.5
        np.testing.assert_allclose(refined[:, far], plain[:, far], atol=1e-6)


def test_streamed_mattes_are_refined_while_the_source_is_there(small: Project, clip: SyntheticClip) -> None:
    streamed = list(stream_mattes(small, range(1, 3)))
    for frame, shares in zip((1, 2), streamed, strict=True):
        np.testing.assert_array_equal(shares, mattes(small, frame, clip.frames[frame]))


def test_streamed_mattes_go_without_a_source(tmp_path: Path, clip: SyntheticClip) -> None:
    project = make_truth_project(tmp_path, clip, training_size=(160, 90))
    (tmp_path / "frames").rename(tmp_path / "elsewhere")
    np.testing.assert_array_equal(next(stream_mattes(project, range(3))), mattes(project, 0))


@pytest.mark.parametrize("hidden", [[0], [1], [0, 1]])
def test_what_a_hidden_layer_had_goes_to_those_behind(project: Project, hidden: list[int]) -> None:
    shares = mattes(project, 1)
    own = [np.zeros_like(shares[0]) if layer in hidden else project.own_alpha(layer, 1) for layer in range(3)]
    np.testing.assert_allclose(reveal(project, 1, shares, hidden), composite(own), atol=1e-5)


def test_a_hidden_background_leaves_nothing(project: Project) -> None:
    shares = mattes(project, 1)
    revealed = reveal(project, 1, shares, [2])
    np.testing.assert_array_equal(revealed[:2], shares[:2])
    assert (revealed[2] == 0).all()
