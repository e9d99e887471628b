"""Shared fixtures, and the hook that checks shapes and types in annotations while tests run."""

from pathlib import Path

import pytest

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


@pytest.fixture(scope="session")
def clips_directory() -> Path:
    """Real footage that lies beside the checkout; it is not part of the project."""
    if not CLIPS.is_dir():
        pytest.skip(f"no footage at {CLIPS}")
    return CLIPS
