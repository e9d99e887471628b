"""Flow of all steps lies together, as learning reads it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from layerloom.data.clip import FlowFields

NAMES = ("forward", "backward", "forward_confidence", "backward_confidence")


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(2, 7), steps=st.sets(st.integers(1, 8), min_size=1))
def test_fields_lie_by_the_frame_they_live_on(frames: int, steps: set[int]) -> None:
    flow = FlowFields.empty(sorted(steps | {1}), frames, (6, 4))
    assert list(flow.steps) == sorted(step for step in steps | {1} if step < frames) and flow.size == (6, 4)
    rng = np.random.default_rng(0)
    for field in flow.fields:
        for name in NAMES:
            array = getattr(field, name)
            array[:] = rng.integers(1, 200, array.shape)
    for index, field in enumerate(flow.fields):
        for t in range(frames - field.step):
            np.testing.assert_array_equal(flow.vectors[index, 0, t], field.forward[t])
            np.testing.assert_array_equal(flow.vectors[index, 1, t + field.step], field.backward[t])
            np.testing.assert_array_equal(flow.confidence[index, 0, t], field.forward_confidence[t])
            np.testing.assert_array_equal(flow.confidence[index, 1, t + field.step], field.backward_confidence[t])
        assert not flow.vectors[index, 0, frames - field.step :].any()
        assert not flow.confidence[index, 1, : field.step].any()


def test_fields_are_brought_together_in_their_order() -> None:
    flow = FlowFields.empty([1, 2], 5, (6, 4))
    flow.vectors[1], flow.confidence[1] = 7, 9
    turned = FlowFields.of(flow.fields[::-1], 5)
    assert turned.steps == (2, 1) and not np.shares_memory(turned.vectors, flow.vectors)
    assert (turned.vectors[0, 0, :3] == 7).all() and (turned.confidence[0, 1, 2:] == 9).all()
    assert not turned.vectors[1].any() and not turned.vectors[0, 0, 3:].any()
