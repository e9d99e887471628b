"""Flow of all steps lies together, as learning reads it; what was made apart is brought together."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from layerloom.clip import empty_fields, stack_fields


def arrays_of(field: object) -> list[np.ndarray]:
    names = ("forward", "backward", "forward_confidence", "backward_confidence")
    return [getattr(field, name) for name in names]


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(2, 7), steps=st.sets(st.integers(1, 8), min_size=1), apart=st.booleans())
def test_fields_are_stacked_by_the_frame_they_live_on(frames: int, steps: set[int], apart: bool) -> None:
    fields = empty_fields(sorted(steps | {1}), frames, (6, 4))
    assert [field.step for field in fields] == sorted(step for step in steps | {1} if step < frames)
    rng = np.random.default_rng(0)
    for field in fields:
        for array in arrays_of(field):
            array[:] = rng.integers(0, 200, array.shape)
    if apart:
        fields = tuple(replace(field, forward=field.forward.copy()) for field in fields)
    flow, confidence = stack_fields(fields, frames)
    for index, field in enumerate(fields):
        for t in range(frames - field.step):
            np.testing.assert_array_equal(flow[index, 0, t], field.forward[t])
            np.testing.assert_array_equal(flow[index, 1, t + field.step], field.backward[t])
            np.testing.assert_array_equal(confidence[index, 0, t], field.forward_confidence[t])
            np.testing.assert_array_equal(confidence[index, 1, t + field.step], field.backward_confidence[t])
        assert not flow[index, 0, frames - field.step :].any() and not confidence[index, 1, : field.step].any()
    assert np.shares_memory(flow, fields[0].backward) is not apart


def test_fields_in_another_order_are_not_taken_for_the_common_array() -> None:
    fields = empty_fields([1, 2], 5, (6, 4))
    fields[1].forward[:] = 7
    flow, _ = stack_fields(fields[::-1], 5)
    assert (flow[0, 0, :3] == 7).all() and not flow[1].any()
    some, _ = stack_fields(fields[1:], 5)
    assert some.shape[0] == 1 and (some[0, 0, :3] == 7).all()
