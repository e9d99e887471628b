"""Shared fixtures, and the hook that checks shapes and types in annotations while tests run."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from jaxtyping import install_import_hook
from real_clips import CLIPS

import layerloom  # noqa: F401  (sets how threads wait, before PyTorch is imported)

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "layerloom"

# Numba and Triton compile these modules' functions from their source, which the hook would change.
COMPILED = {
    "layerloom.data.inverse_map",
    *("layerloom.render.cuda.kernel", "layerloom.prepare.plane_equations", "layerloom.prepare.select.geodesic"),
    *(f"layerloom.ops.{name}.cpu" for name in ("hash_encode", "splat")),
    *(f"layerloom.ops.{name}.triton" for name in ("hash_encode", "mlp", "mapping", "splat", "box_mean")),
    *(f"layerloom.train.fused.{name}" for name in ("tiles", "objective", "consistency", "adam")),
    *(f"layerloom.render.cpu.{name}" for name in ("addresses", "sampling", "tiles", "draw")),
}


def checked_modules() -> list[str]:
    """Every module of the package but the compiled ones. (A package's name would take in all that it holds.)"""
    files = [path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py")]
    modules = {".".join(path.parts) for path in files if path.name != "__init__"}
    return sorted(modules - COMPILED)


install_import_hook(checked_modules(), "beartype.beartype")


@pytest.fixture(scope="session", autouse=True)
def no_cache() -> Iterator[None]:
    """Tests prepare what they ask for, unless they ask for a cache: see `cache`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERLOOM_CACHE", "off")
        yield


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own where prepared clips are kept, also by programs that the test starts."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LAYERLOOM_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def clips_directory() -> Path:
    """Real footage that lies beside the checkout; it is not part of the project."""
    if not CLIPS.is_dir():
        pytest.skip(f"no footage at {CLIPS}")
    return CLIPS


@pytest.fixture(scope="session", autouse=True)
def one_core_each() -> None:
    """Where tests run side by side, each process keeps to a core: threads that wait for each other take longer."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import numba
        import torch

        torch.set_num_threads(1)
        numba.set_num_threads(1)
        cv2.setNumThreads(1)
