"""LPIPS is the authors' own distance, whatever the trunk; files that are no trunk are refused in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from trunks import formula, trunk_state

from layerloom.core.errors import LayerloomError
from layerloom.evaluate import lpips
from layerloom.evaluate.lpips import TRUNKS, Lpips


def picture(size: tuple[int, int], seed: int) -> np.ndarray:
    height, width = size
    y, x = np.mgrid[0:height, 0:width] + 0.5
    waves = [np.sin(x / (3 + seed) + c) * np.cos(y / (5 + c) + seed) for c in range(3)]
    return (0.5 + 0.35 * np.stack(waves, -1) + 0.3 * (formula((height, width, 3), seed) - 0.5)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lpips")
    for name in TRUNKS:
        torch.save(trunk_state(name), folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in TRUNKS}


@pytest.fixture(scope="module")
def metric(files: dict[str, Path]) -> Lpips:
    return Lpips(files["alexnet"])


# What the authors' own package (lpips 0.1.4, with torchvision 0.29.2's networks) says of these weights and pictures.
AUTHORS = {
    ("alexnet", (67, 90)): (0.08511385321617126, 0.09801627695560455),
    ("alexnet", (48, 40)): (0.0991944819688797, 0.09987109154462814),
    ("vgg16", (67, 90)): (0.16045844554901123, 0.16300907731056213),
    ("vgg16", (48, 40)): (0.16255120933055878, 0.15887653827667236),
}


@pytest.mark.parametrize(("name", "size"), AUTHORS)
def test_it_agrees_with_the_authors_package(name: str, size: tuple[int, int], files: dict[str, Path]) -> None:
    first, second, third = (picture(size, seed) for seed in range(3))
    assert Lpips(files[name]).distances(first, [second, third]) == pytest.approx(AUTHORS[name, size], rel=1e-5)


def test_it_is_the_formula(metric: Lpips) -> None:
    """AlexNet and the distance once more, in NumPy and doubles."""
    first, second = picture((35, 44), 0), picture((35, 44), 3)
    assert metric.distances(first, [second])[0] == pytest.approx(plain_distance(first, second), rel=1e-5)


def plain_distance(first: np.ndarray, second: np.ndarray) -> float:
    heads = load_file(lpips.HEADS)
    total = 0.0
    for stage, (f, g) in enumerate(zip(plain_stages(first), plain_stages(second), strict=True)):
        f, g = (features / np.linalg.norm(features, axis=2, keepdims=True).clip(1e-10) for features in (f, g))
        total += ((f - g) ** 2 @ heads[f"alexnet.{stage}"].astype(np.float64)).mean()
    return float(total)


def plain_stages(colours: np.ndarray) -> list[np.ndarray]:
    """h w c of AlexNet's five stages."""
    state = {key: value.double().numpy() for key, value in trunk_state("alexnet").items()}
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    features, stages = (colours.astype(np.float64) - mean) / deviation, []
    for index, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
        if index in (3, 6):
            windows = np.lib.stride_tricks.sliding_window_view(features, (3, 3), (0, 1))
            features = windows[::2, ::2].max((-2, -1))
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        padded = np.pad(features, ((padding, padding), (padding, padding), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (0, 1))[::stride, ::stride]
        features = np.maximum(np.tensordot(windows, weight, ((2, 3, 4), (1, 2, 3))) + bias, 0)
        stages.append(features)
    return stages


def test_the_scaling_takes_colours_to_what_the_trunks_were_trained_on() -> None:
    """Of colours in [0, 1], torchvision's networks want (x − mean) / deviation."""
    shift, scale = np.array(lpips.SHIFT), np.array(lpips.SCALE)
    for colour in (0.0, 0.5, 1.0):
        wanted = (colour - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        np.testing.assert_allclose((2 * colour - 1 - shift) / scale, wanted, atol=1e-12)


def test_a_picture_is_at_no_distance_from_itself_and_as_far_as_it_is_seen_from(metric: Lpips) -> None:
    first, second = picture((40, 52), 0), picture((40, 52), 1)
    there, same = metric.distances(first, [second, first.copy()])
    (back,) = metric.distances(second, [first])
    assert same == 0 < there == pytest.approx(back, rel=1e-6)


def test_noise_and_blur_take_a_picture_farther_away(metric: Lpips) -> None:
    start = picture((64, 64), 0)
    noise = (formula(start.shape, 9.0) - 0.5).astype(np.float32)
    noisy = metric.distances(start, [start + strength * noise for strength in (0.02, 0.1, 0.4)])
    spread = torch.nn.functional.avg_pool2d
    planes = torch.from_numpy(start).permute(2, 0, 1)
    blurred = metric.distances(
        start, [spread(planes, side, 1, side // 2).permute(1, 2, 0).numpy() for side in (3, 7, 15)]
    )
    for distances in (noisy, blurred):
        assert 0 < distances[0] < distances[1] < distances[2]


HEAD_SUMS = {
    "alexnet": [2.3495323, 16.1430275, 39.2684392, 27.1971784, 20.3171771],
    "vgg16": [6.9259917, 8.8583340, 17.5150060, 51.5213230, 47.0348538],
}


def test_the_heads_are_the_authors() -> None:
    """Weights of channels, none negative; their sums stand for all of them."""
    heads = load_file(lpips.HEADS)
    assert (
        lpips.HEADS.with_suffix(".LICENSE").read_text(encoding="utf-8").startswith("Copyright (c) 2018, Richard Zhang")
    )
    assert all((weights >= 0).all() for weights in heads.values())
    for name, sums in HEAD_SUMS.items():
        assert [float(heads[f"{name}.{stage}"].sum(dtype=np.float64)) for stage in range(5)] == pytest.approx(sums)


def test_a_state_dict_may_be_a_safetensors_file(files: dict[str, Path], tmp_path: Path) -> None:
    save_file(trunk_state("alexnet"), tmp_path / "alexnet.safetensors")
    first, second = picture((32, 40), 0), picture((32, 40), 1)
    stored, plain = Lpips(tmp_path / "alexnet.safetensors"), Lpips(files["alexnet"])
    assert stored.distances(first, [second]) == plain.distances(first, [second])


def test_files_that_are_no_trunk_are_refused(tmp_path: Path) -> None:
    state = trunk_state("alexnet")

    def refused(name: str, held: object, words: str) -> None:
        torch.save(held, tmp_path / name)
        with pytest.raises(LayerloomError, match=words) as caught:
            Lpips(tmp_path / name)
        assert "\n" not in str(caught.value) and name in str(caught.value)

    refused("other.pth", {"conv1.weight": torch.zeros(3)}, r"no entries features\.\*")
    refused("list.pth", [1, 2], r"no entries features\.\*")
    fewer = {key: value for key, value in state.items() if key != "features.8.bias"}
    refused("fewer.pth", fewer, "its 9 entries")
    narrow = state | {"features.3.weight": torch.zeros(192, 64, 3, 3)}
    refused("narrow.pth", narrow, r"features\.3\.weight is \(192, 64, 3, 3\).*\(192, 64, 5, 5\)")
    refused("whole.pth", state | {"features.0.bias": torch.zeros(64, dtype=torch.int64)}, "int64")
    refused("code.pth", {"features.0.weight": Path("x")}, "not a state dict")
    (tmp_path / "words.safetensors").write_text("no tensors at all", encoding="utf-8")
    with pytest.raises(LayerloomError, match="not a state dict"):
        Lpips(tmp_path / "words.safetensors")
    for name in ("absent.pth", "absent.safetensors"):
        with pytest.raises(LayerloomError, match="cannot read weights: No such file"):
            Lpips(tmp_path / name)
