"""Shared fixtures, and the hook that checks shapes and types in annotations while tests run."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import layerloom  # noqa: F401  (sets how threads wait, before PyTorch is imported)

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"
PACKAGE = Path(__file__).resolve().parents[1] / "src" / "layerloom"

# Numba and Triton compile these modules' functions from their source, which the hook would change.
COMPILED = {
    f"layerloom.kernels.{name}"
    for name in (
        "cpu",
        "hashgrid",
        "mlp",
        "tiles",
        "mapping",
        "objective",
        "consistency",
        "adam",
        "splat",
        "neighbourhood",
    )
} | {f"layerloom.rendering.{name}" for name in ("addresses", "sampling", "tiles", "cpu", "kernel")}


def checked_modules() -> list[str]:
    """Every module of the package but the compiled ones. (A package's name would take in all that it holds.)"""
    files = [path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py")]
    modules = {".".join(path.parts) for path in files if path.name != "__init__"}
    return sorted(modules - COMPILED)


install_import_hook(checked_modules(), "beartype.beartype")


@pytest.fixture(scope="session")
def clips_directory() -> Path:
    """Real footage that lies beside the checkout; it is not part of the project."""
    if not CLIPS.is_dir():
        pytest.skip(f"no footage at {CLIPS}")
    return CLIPS
