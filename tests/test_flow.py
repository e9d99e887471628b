"""Flow against known motion, its confidence at occlusions, flow files, and RAFT where its weights lie beside us."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import rescale_positions
from layerloom.prepare.flow.compute import FlowSource, compute_flow
from layerloom.prepare.flow.consistency import agreement, chain_flow, sample_flow
from layerloom.prepare.flow.files import read_flow
from layerloom.prepare.flow.on_device import agreement_on_device
from layerloom.prepare.flow.raft import RaftMatcher
from layerloom.prepare.flow.raft_network import LEVELS, RADIUS, RaftSmall, correlate, load_raft, look_up

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "weights" / "raft-small.pth"


def noise(size, seed=0):
    """A picture with detail at many scales."""
    rng = np.random.default_rng(seed)
    width, height = size
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (4, 8, 16, 32, 64):
        coarse = rng.random((cells, cells, 3), np.float32) - 0.5
        picture += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 60 * picture, 0, 255).astype(np.uint8)


def panned(picture, size, shift, frames):
    """Frames of a camera for which the picture moves by `shift` (whole pixels) a frame."""
    x, y = picture.shape[1] - size[0], picture.shape[0] - size[1]
    x, y = (x if shift[0] > 0 else 0), (y if shift[1] > 0 else 0)
    corners = [(x - t * shift[0], y - t * shift[1]) for t in range(frames)]
    return np.stack([picture[top : top + size[1], left : left + size[0]] for left, top in corners])


def error_inside(flow, shift, border=40):
    wrong = np.linalg.norm(flow.astype(np.float32) - np.asarray(shift, np.float32), axis=-1)
    return wrong[..., border:-border, border:-border]


def test_dis_finds_a_translation_at_every_step():
    frames = panned(noise((300, 200)), (200, 136), (6, -4), 9)
    heard = []
    fields = compute_flow(frames, progress=heard.append)
    assert [field.step for field in fields] == [1, 2, 4, 8]
    for field in fields:
        shift = np.array([6, -4]) * field.step
        assert field.size == (200, 136)
        assert field.forward.shape == (9 - field.step, 136, 200, 2)
        seen = field.forward_confidence > 128
        wrong = np.linalg.norm(field.forward - shift, axis=-1)[seen]
        assert np.median(wrong) < 0.1
        assert seen[..., 40:-60, 60:-60].mean() > 0.95
        back = np.linalg.norm(field.backward + shift, axis=-1)[field.backward_confidence > 128]
        assert np.median(back) < 0.1
    assert heard == sorted(heard) and heard[-1] == 1.0


def test_steps_beyond_the_clip_are_left_out():
    assert [field.step for field in compute_flow(panned(noise((100, 80)), (64, 48), (1, 0), 3))] == [1, 2]


def test_fields_of_large_frames_are_smaller():
    (field,) = compute_flow(panned(noise((1300, 200)), (1280, 160), (10, 0), 2), (1,))
    assert field.size == (768, 96)
    assert np.median(field.forward[..., 0]) == pytest.approx(6.0, abs=0.1)


def test_confidence_is_low_where_the_background_is_covered():
    background, box = noise((240, 160)), noise((80, 80), seed=5)
    frames = np.stack([background.copy(), background.copy()])
    frames[0, 40:120, 60:140] = box
    frames[1, 40:120, 70:150] = box
    (field,) = compute_flow(frames, (1,))
    covered = field.forward_confidence[0, 46:114, 142:149]
    revealed = field.backward_confidence[0, 46:114, 62:69]
    assert covered.mean() < 50 and revealed.mean() < 50
    assert field.forward_confidence[0, :, 170:].mean() > 250
    assert field.forward_confidence[0, 50:110, 70:130].mean() > 250


def test_agreement_is_a_known_function_of_the_miss():
    flow = np.zeros((20, 30, 2), np.float32)
    assert (agreement(flow, flow) == 255).all()
    missing_by_one = flow + np.array([1, 0], np.float32)
    assert (agreement(flow, missing_by_one) == round(255 * np.exp(-1))).all()
    leaving = flow + np.array([0, -5], np.float32)
    confidence = agreement(leaving, -leaving)
    assert (confidence[:5] == 0).all() and (confidence[5:] == 255).all()
    leaving[10, 10] = np.nan
    assert agreement(leaving, -leaving)[10, 10] == 0


linear_fields = st.lists(st.floats(-0.04, 0.04), min_size=6, max_size=6)


@settings(max_examples=25, deadline=None)
@given(linear_fields, linear_fields, st.integers(10, 20), st.integers(12, 24))
def test_resize_then_warp_is_warp_then_resize(a, b, half_height, half_width):
    large, small = (2 * half_width, 2 * half_height), (half_width, half_height)

    def field(parameters):
        x, y = np.meshgrid(np.arange(large[0]) + 0.5, np.arange(large[1]) + 0.5)
        p = np.array(parameters, np.float32)
        return np.stack([40 * p[0] + p[1] * x + p[2] * y, 40 * p[3] + p[4] * x + p[5] * y], -1).astype(np.float32)

    def shrink(flow):
        return rescale_positions(cv2.resize(flow, small, interpolation=cv2.INTER_AREA), large, small)

    first, second = field(a), field(b)
    warped_then_shrunk = shrink(sample_flow(second, first))
    shrunk_then_warped = sample_flow(shrink(second), shrink(first))
    inner = np.s_[4:-4, 4:-4]  # outside, the border is repeated
    # cv2.remap rounds positions to 1/32 px
    assert np.allclose(warped_then_shrunk[inner], shrunk_then_warped[inner], atol=0.01)


def test_chained_flow_follows_the_way():
    first = np.zeros((20, 30, 2), np.float32) + np.array([3, 1], np.float32)
    second = np.stack(np.meshgrid(np.arange(30.0), np.arange(20.0)), -1).astype(np.float32)
    chained = chain_flow([first, second])
    assert np.allclose(chained[4, 5], [3 + 8, 1 + 5])


def write_flo(path, flow):
    path.parent.mkdir(exist_ok=True, parents=True)
    height, width = flow.shape[:2]
    path.write_bytes(b"PIEH" + np.array([width, height], "<i4").tobytes() + flow.astype("<f4").tobytes())


def write_flows(directory, frames=3, first_frame=0, shape=(20, 30)):
    there = np.full((*shape, 2), [2, -1], np.float32)
    for start in range(first_frame, first_frame + frames - 1):
        write_flo(directory / f"forward_{start:05d}.flo", there)
        np.save(directory / f"backward_{start + 1:05d}.npy", -there)


def test_flow_files_are_read(tmp_path):
    write_flows(tmp_path, first_frame=7)
    write_flo(tmp_path / "step2" / "forward_00007.flo", np.full((20, 30, 2), 1e10))
    write_flo(tmp_path / "step2" / "backward_00009.flo", np.full((20, 30, 2), [-4, 2]))
    frames = np.zeros((3, 40, 60, 3), np.uint8)
    near, far = compute_flow(frames, source=FlowSource(tmp_path, first_frame=7))
    assert (near.step, far.step, near.size) == (1, 2, (30, 20))
    assert (near.forward == np.array([2, -1])).all() and (near.backward == np.array([-2, 1])).all()
    assert (near.forward_confidence[:, 1:, :-2] == 255).all() and (near.forward_confidence[:, 0] == 0).all()
    assert (far.forward == 0).all() and (far.forward_confidence == 0).all()  # unknown flow


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "backward_00002.npy").unlink(), "backward_00002.flo: no such flow file"),
        (lambda d: (d / "forward_00000.flo").write_bytes(b"PIEH1234"), "not a Middlebury"),
        (lambda d: (d / "backward_00001.npy").write_bytes(b"junk"), "not a NumPy array"),
        (lambda d: np.save(d / "backward_00001.npy", np.zeros((20, 30))), "flow is (height, width, 2)"),
        (lambda d: write_flo(d / "forward_00000.flo", np.zeros((30, 20, 2))), "the frames are 30x20"),
        (lambda d: write_flo(d / "forward_00000.flo", np.zeros((40, 60, 2))), "different sizes"),
    ],
)
def test_bad_flow_files_give_one_clear_line(tmp_path, spoil, message):
    write_flows(tmp_path)
    spoil(tmp_path)
    with pytest.raises(LayerloomError) as caught:
        read_flow(tmp_path, 3, (30, 20), (1, 2))
    assert message in str(caught.value) and "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_missing_flow_folder_and_missing_weights_are_user_errors(tmp_path):
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(LayerloomError, match="no such flow folder"):
        compute_flow(frames, source=FlowSource(tmp_path / "none"))
    with pytest.raises(LayerloomError, match="RAFT needs its weights"):
        compute_flow(frames, source=FlowSource("raft"))


def test_wrong_weights_are_user_errors(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(LayerloomError, match="cannot read"):
        load_raft(path)
    path.write_bytes(b"not weights")
    with pytest.raises(LayerloomError, match="not a PyTorch state dict"):
        load_raft(path)
    state = RaftSmall().state_dict()
    torch.save({f"module.{k}": v[..., None] for k, v in state.items()}, path)
    with pytest.raises(LayerloomError, match="not the weights of RAFT-small"):
        load_raft(path)
    torch.save({f"module.{k}": v for k, v in state.items()}, path)
    assert torch.equal(load_raft(path).state_dict()["fnet.conv1.weight"], state["fnet.conv1.weight"])


def test_correlations_are_looked_up_as_published():
    """Against the definition: pool the volume, then sample it where a window about the centre lies."""
    torch.manual_seed(0)
    height, width = 19, 27
    first, second = torch.randn(2, 2, 16, height, width)
    centres = torch.rand(2, 2, height, width) * torch.tensor([44.0, 36.0])[:, None, None] - 8  # some lie outside
    found = look_up(correlate(first, second), centres)
    volume = torch.einsum("nchw,ncij->nhwij", first, second).flatten(0, 2)[:, None] / 16**0.5
    offset = torch.arange(-RADIUS, RADIUS + 1.0)
    window = torch.stack(torch.meshgrid(offset, offset, indexing="ij"), -1)
    expected = []
    for level in range(LEVELS):
        points = centres.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) / 2**level + window
        unit = 2 * points / (torch.tensor([volume.shape[3], volume.shape[2]]) - 1) - 1
        sampled = torch.nn.functional.grid_sample(volume, unit, align_corners=True)
        expected.append(sampled.view(2, height, width, -1).permute(0, 3, 1, 2))
        volume = torch.nn.functional.avg_pool2d(volume, 2)
    expected = torch.cat(expected, 1)
    assert torch.allclose(found[:, : expected.shape[1]], expected, atol=1e-4)
    assert (found[:, expected.shape[1] :] == 0).all() and found.shape[1] % 8 == 0


def test_agreement_on_the_device_is_that_of_the_host():
    rng = np.random.default_rng(0)
    both = np.stack([cv2.resize(rng.normal(0, 4, (5, 6, 2)).astype(np.float32), (60, 40)) for _ in range(6)])
    both[3:] = -both[:3] + 0.3 * both[3:]
    flow, opposite = both[:3], both[3:]
    found = agreement_on_device(*(torch.from_numpy(f).permute(0, 3, 1, 2) for f in (flow, opposite))).numpy()
    expected = np.stack([agreement(there, back) for there, back in zip(flow, opposite, strict=True)])
    assert 40 < expected.mean() < 200
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 8 and difference.mean() < 0.5  # cv2.remap rounds positions to 1/32 px
    assert ((found == 0) == (expected == 0)).mean() > 0.99


@pytest.fixture
def random_weights(tmp_path):
    torch.manual_seed(0)
    torch.save(RaftSmall().state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_pairs_matched_together_are_those_matched_alone(random_weights, monkeypatch):
    frames = panned(noise((160, 100)), (120, 68), (5, 3), 4)
    alone = compute_flow(frames, (1, 2), FlowSource("raft", random_weights))
    monkeypatch.setattr(RaftMatcher, "_pairs_at_once", lambda matcher: 4)
    heard = []
    together = compute_flow(frames, (1, 2), FlowSource("raft", random_weights), progress=heard.append)
    assert heard == [4 / 5, 1.0] and [field.step for field in together] == [1, 2]
    for one, other in zip(alone, together, strict=True):
        for name in ("forward", "backward", "forward_confidence", "backward_confidence"):
            difference = getattr(one, name).astype(float) - getattr(other, name)
            assert np.abs(difference).max() < 0.6 and np.abs(difference).mean() < 0.01
        assert np.abs(one.forward).max() > 0.01


def test_raft_gives_the_same_field_smaller(random_weights, monkeypatch):
    # What random weights find is refined to something else at another size.
    monkeypatch.setattr("layerloom.prepare.flow.raft.refine_flow", lambda first, second, flow: flow)
    network = load_raft(random_weights)
    frames = panned(noise((160, 100)), (128, 72), (5, 3), 2)
    (whole,), (half,) = (RaftMatcher(frames, network, "cpu", size).matches([(0, 1)]) for size in ((128, 72), (64, 36)))
    means = whole.forward.astype(np.float32).reshape(1, 36, 2, 64, 2, 2).mean((2, 4))
    assert np.abs(whole.forward).mean() > 0.01
    assert np.allclose(half.forward, means / 2, atol=0.02)
    assert half.backward_confidence.shape == (1, 36, 64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.footage
def test_half_precision_on_a_gpu_matches_as_the_cpu_does(clips_directory):
    paths = sorted((clips_directory / "libby" / "video_frames").glob("*.jpg"))[10:14]
    frames = np.stack([cv2.resize(cv2.imread(str(path)), (320, 180), interpolation=cv2.INTER_AREA) for path in paths])
    fields = [compute_flow(frames, (1, 2), FlowSource("raft", WEIGHTS, device)) for device in ("cpu", "cuda")]
    for on_cpu, on_gpu in zip(*fields, strict=True):
        sure = (on_cpu.forward_confidence > 128) & (on_gpu.forward_confidence > 128)
        apart = np.linalg.norm(on_cpu.forward.astype(float) - on_gpu.forward, axis=-1)[sure]
        assert sure.mean() > 0.6 and np.median(apart) < 0.05 and (apart > 0.5).mean() < 0.02


@pytest.mark.footage
def test_raft_finds_a_translation_of_a_real_picture(clips_directory):
    if not WEIGHTS.is_file():
        pytest.skip(f"no RAFT weights at {WEIGHTS}")
    picture = cv2.imread(str(clips_directory / "blackswan" / "video_frames" / "00000.jpg"))[..., ::-1]
    frames = panned(np.ascontiguousarray(picture[100:300, 100:400]), (252, 164), (-9, 5), 2)
    (field,) = compute_flow(frames, (1,), FlowSource("raft", WEIGHTS))
    assert np.median(error_inside(field.forward, (-9, 5))) < 0.3
    assert np.median(error_inside(field.backward, (9, -5))) < 0.3
    assert field.forward_confidence[:, 40:-40, 40:-40].mean() > 200


@pytest.mark.footage
def test_both_methods_explain_real_frames_and_agree(clips_directory):
    if not WEIGHTS.is_file():
        pytest.skip(f"no RAFT weights at {WEIGHTS}")
    paths = sorted((clips_directory / "libby" / "video_frames").glob("*.jpg"))[10:12]
    frames = np.stack(
        [cv2.resize(cv2.imread(str(p))[..., ::-1], (320, 180), interpolation=cv2.INTER_AREA) for p in paths]
    )
    (dis,), (raft,) = compute_flow(frames, (1,)), compute_flow(frames, (1,), FlowSource("raft", WEIGHTS))

    def difference(flow):
        x, y = np.meshgrid(np.arange(320, dtype=np.float32), np.arange(180, dtype=np.float32))
        warped = cv2.remap(frames[1], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        return np.abs(warped.astype(float) - frames[0])[raft.forward_confidence[0] > 128].mean()

    still = difference(np.zeros((180, 320, 2), np.float32))
    by_dis, by_raft = (difference(field.forward[0].astype(np.float32)) for field in (dis, raft))
    assert by_raft < 0.5 * still and by_raft < 1.5 * by_dis
    sure = (dis.forward_confidence > 128) & (raft.forward_confidence > 128)
    assert sure.mean() > 0.6
    assert np.median(np.linalg.norm((dis.forward - raft.forward)[sure].astype(float), axis=-1)) < 0.5


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (40, 3)])
def test_pictures_smaller_than_a_patch_have_flow_too(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, size[1], size[0], 3), np.uint8)
    for field in compute_flow(frames):
        assert field.size == size and np.isfinite(field.forward).all()
