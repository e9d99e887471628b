"""What sets an object's look apart is learned, though some of its examples are wrong."""

import numpy as np

from layerloom.prepare.discover.appearance import appearance_features, appearance_log_odds


def striped_scene() -> tuple[np.ndarray, np.ndarray]:
    """Frames with a striped patch on a plain ground of the same mean colour, and where it is."""
    rng = np.random.default_rng(0)
    frames = rng.normal(120, 4, (4, 48, 64, 3))
    where = np.zeros((4, 48, 64), bool)
    for t in range(4):
        where[t, 12:36, 8 + 8 * t : 32 + 8 * t] = True
    frames += 40 * where[..., None] * np.sign(np.sin(np.arange(64) * np.pi / 2 + 0.5))[:, None]
    return np.clip(frames, 0, 255).astype(np.uint8), where


def test_texture_tells_an_object_though_a_fifth_of_the_examples_are_wrong() -> None:
    frames, where = striped_scene()
    wrong = np.random.default_rng(1).random(where.shape) < 0.2
    logits = appearance_log_odds(appearance_features(frames), where ^ wrong, np.ones(where.shape, np.float32))
    assert ((logits > 0) == where).mean() > 0.95


def test_pixels_without_weight_teach_nothing() -> None:
    frames, where = striped_scene()
    weights = np.ones(where.shape, np.float32)
    weights[2:] = 0
    objects = where.copy()
    objects[2:] = ~where[2:]
    logits = appearance_log_odds(appearance_features(frames), objects, weights)
    assert ((logits > 0) == where).mean() > 0.95


def test_the_same_examples_teach_the_same() -> None:
    frames, where = striped_scene()
    features, weights = appearance_features(frames), np.ones(where.shape, np.float32)
    assert (appearance_log_odds(features, where, weights) == appearance_log_odds(features, where, weights)).all()
