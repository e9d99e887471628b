"""The inverse of uv maps leads back to the texels, and is that of Newton's method step by step."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from layerloom.core.geometry import pixel_centres
from layerloom.data.inverse_map import STEPS, invert_map
from layerloom.data.layer_maps import LayerMaps
from layerloom.data.layer_store import Layer

SIZE = (200, 120)


class BentLayer(Layer):
    """Maps of one frame, as a stored layer gives them."""

    def __init__(self, seed: int, bend: float) -> None:
        rng = np.random.default_rng(seed)
        angle = rng.uniform(-0.3, 0.3)
        turn = rng.uniform(0.7, 1.6) * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.uv_affine = np.concatenate([turn, rng.uniform(-20, 20, (2, 1))], 1)[None]
        self._offset = (bend * rng.standard_normal((13, 21, 2))).astype(np.float32)

    def uv_offset(self, frame: int) -> np.ndarray:
        return self._offset


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), bend=st.sampled_from([0.0, 0.5, 2.0]))
def test_positions_lead_back_to_the_texels(seed: int, bend: float) -> None:
    layer = BentLayer(seed, bend)
    maps = LayerMaps(layer, SIZE)
    centres = pixel_centres(SIZE)
    uv = maps.uv_at(0, centres)
    xy, error = invert_map(uv, layer.uv_affine[0], layer.uv_offset(0), SIZE)
    np.testing.assert_allclose(error, uv - maps.uv_at(0, xy), atol=1e-4)
    assert np.median(np.abs(xy - centres)) < 0.05
    _, found = maps.find_xy(0, uv)
    assert found.mean() > 0.9


def test_stopping_early_is_as_good_as_all_steps() -> None:
    layer = BentLayer(3, 1.0)
    maps = LayerMaps(layer, SIZE)
    uv = maps.uv_at(0, pixel_centres(SIZE))
    inverse = np.linalg.inv(layer.uv_affine[0, :, :2]).astype(np.float32)
    xy = (uv - layer.uv_affine[0, :, 2].astype(np.float32)) @ inverse.T
    for _ in range(STEPS - 1):
        xy = xy + (uv - maps.uv_at(0, xy)) @ inverse.T
    stopped, _ = invert_map(uv, layer.uv_affine[0], layer.uv_offset(0), SIZE)
    np.testing.assert_allclose(stopped, xy, atol=2e-4)
