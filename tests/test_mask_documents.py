"""Masks in one file: annotations with run lengths and polygons, arrays; and what is refused of them."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerloom.core.errors import LayerloomError
from layerloom.prepare.masks.annotations import decode_run_lengths
from layerloom.prepare.masks.files import load_masks

SIZE = (32, 24)


def blob(column: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[4:16, column : column + 8] = True
    return mask


def runs(mask: np.ndarray) -> list[int]:
    flat = mask.T.ravel()
    ends = [*(np.flatnonzero(np.diff(flat)) + 1).tolist(), len(flat)]
    lengths = np.diff([0, *ends]).tolist()
    return [0, *lengths] if flat[0] else lengths


def as_text(lengths: list[int]) -> str:
    """COCO's text, as its own encoder writes it."""
    letters = ""
    for i, length in enumerate(lengths):
        value = length - lengths[i - 2] if i > 2 else length
        more = True
        while more:
            code = value & 31
            value >>= 5
            more = value != -1 if code & 16 else value != 0
            letters += chr(48 + (code | 32 if more else code))
    return letters


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_as_text_are_those_of_the_list(seed: int) -> None:
    mask = np.random.default_rng(seed).random(SIZE[::-1]) > (0.5 if seed else 0.99)
    mask[0, 0] = seed % 2
    lengths = runs(mask)
    for counts in (lengths, as_text(lengths)):
        assert np.array_equal(decode_run_lengths(counts, SIZE) > 0, mask)


def coco(segmentations: list[Any]) -> dict[str, Any]:
    """One a frame."""
    return {
        "info": {"year": 2024},
        "images": [
            {"id": 10 + t, "file_name": f"{t:05d}.jpg", "width": 32, "height": 24} for t in range(len(segmentations))
        ],
        "categories": [{"id": 3, "name": "sports ball"}],
        "annotations": [
            {"id": t, "image_id": 10 + t, "category_id": 3, "iscrowd": 0, "bbox": [0, 0, 1, 1], "segmentation": each}
            for t, each in enumerate(segmentations)
            if each is not None
        ],
    }


def test_coco_annotations_of_all_kinds(tmp_path: Path) -> None:
    lengths = runs(blob(4))
    polygon = [[4, 4, 12, 4, 12, 16, 4, 16]]
    some = [{"size": [24, 32], "counts": lengths}, {"size": [24, 32], "counts": as_text(lengths)}, polygon, None]
    (tmp_path / "masks.json").write_text(json.dumps(coco(some)))
    masks = load_masks(tmp_path / "masks.json", range(4), SIZE, 4)
    assert masks.names == ("sports-ball",)
    for t in range(2):
        assert np.array_equal(masks.coverage[0, t] > 127, blob(4))
    assert np.abs((masks.coverage[0, 2] > 127).sum() - blob(4).sum()) <= 24
    assert [int(trust) for trust in masks.trust[0, :, 0, 0]] == [255, 255, 255, 0]


def test_a_video_of_youtube_vis(tmp_path: Path) -> None:
    tracks = [[{"size": [24, 32], "counts": runs(blob(column))}, None] for column in (2, 20)]
    file = {
        "videos": [{"id": 1, "width": 32, "height": 24, "length": 2, "file_names": ["v/00000.jpg", "v/00001.jpg"]}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": n, "video_id": 1, "category_id": 1, "segmentations": s} for n, s in enumerate(tracks)],
    }
    (tmp_path / "masks.json").write_text(json.dumps(file))
    masks = load_masks(tmp_path / "masks.json", range(2), SIZE, 2, ("00000", "00001"))
    assert masks.names == ("dog-1", "dog-2")
    assert np.array_equal(masks.coverage[1, 0] > 127, blob(20))


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int32, np.float32])
def test_arrays_by_name_and_in_one(kind: type, tmp_path: Path) -> None:
    one = np.stack([blob(2), blob(3)]).astype(kind)
    other = np.stack([blob(20), blob(21)]).astype(kind)
    np.savez(tmp_path / "named.npz", cat=one, dog=other)
    np.savez_compressed(tmp_path / "masks.npz", masks=np.stack([one, other]))
    for file, names in (("named.npz", ("cat", "dog")), ("masks.npz", ("object1", "object2"))):
        masks = load_masks(tmp_path / file, range(2), SIZE, 2)
        assert masks.names == names
        assert np.array_equal(masks.coverage[1, 1] > 127, blob(21))


def npz(name: str, content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, content)
    return data.getvalue()


def array(**arrays: Any) -> bytes:
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def huge() -> bytes:
    """A header that promises more than there is."""
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": "|b1", "fortran_order": False, "shape": (2, 9000, 9000)})
    return npz("masks.npy", data.getvalue())


def run_lengths(counts: Any, size: tuple[int, int] = (24, 32)) -> bytes:
    return json.dumps(coco([{"size": size, "counts": counts}])).encode()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npz", array(a=np.array([{}], object)), "frames × height × width"),
        ("a.npz", npz("a.npy", pickle.dumps([1])), "not readable arrays"),
        ("a.npz", array(a=np.ones((24, 32), bool)), "24×32 of bool"),
        ("a.npz", array(a=np.ones((3, 24, 32), bool)), "3 frames of 'a' for 1"),
        ("a.npz", array(a=np.full((1, 24, 32), 7.5)), "shares from 0 to 1"),
        ("a.npz", array(a=np.ones((1, 24, 90), bool)), "another shape"),
        ("a.npz", huge(), "shorter than it says"),
        ("a.npz", b"PK", "not readable arrays"),
        ("a.json", b"[]", "not annotations"),
        ("a.json", b'{"annotations": []}', "no segmentations"),
        ("a.json", run_lengths([5, 5]), "add up to 10, not 768"),
        ("a.json", run_lengths([-1, 769]), "negative or longer"),
        ("a.json", run_lengths("\x01"), "letters"),
        ("a.json", run_lengths("o"), "end within a number"),
        ("a.json", run_lengths([768], (10**9, 10**9)), "for a picture of 32x24"),
        ("a.json", json.dumps(coco([[[1, 2, 3, 4]]])).encode(), "three points at least"),
    ],
)
def test_what_cannot_be_taken_is_one_line(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LayerloomError) as refusal:
        load_masks(tmp_path / name, range(1), SIZE, 1)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
