"""Footage with masks as a user has them: images in folders, from a synthetic clip."""

from pathlib import Path

from layerloom import media
from layerloom.synthetic.clip import SyntheticClip


def write_footage(folder: Path, truth: SyntheticClip, name: str = "ball") -> Path:
    """frames/ and masks/NAME/ in one folder."""
    (folder / "masks" / name).mkdir(parents=True)
    (folder / "frames").mkdir()
    for number, (frame, mask) in enumerate(zip(truth.frames, truth.masks[0], strict=True)):
        media.write_image(folder / "frames" / f"{number:05d}.png", frame)
        media.write_image(folder / "masks" / name / f"{number:05d}.png", mask)
    return folder
