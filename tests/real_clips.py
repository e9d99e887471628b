"""Where real footage may lie: beside the checkout; it is not part of the project."""

from pathlib import Path

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"
