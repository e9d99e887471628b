"""What finds and runs programs that others wrote. .ci/programs installs them; CI has them all."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("LAYERLOOM_PROGRAMS", ROOT / ".programs"))
"""Where .ci/programs puts what Debian does not have."""
REQUIRED = os.environ.get("LAYERLOOM_PROGRAMS_REQUIRED") == "1"
"""Set in CI: a program that is not there is a failure."""
SECONDS = 240
SIZE, FRAMES = (160, 96), range(1, 4)
"""Of the export that is opened."""

used: dict[str, str] = {}
"""What was run, and what it says of its version."""


@dataclass(frozen=True)
class Program:
    """command: what starts it, before a test's own words."""

    name: str
    command: tuple[str, ...]

    def run(self, *words: str | Path, cwd: Path | None = None) -> str:
        """What it says on both streams; a failure of the test where it fails."""
        command = [*self.command, *map(str, words)]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{said[-3000:]}"
        return said


def find(name: str, *words: str, version: Sequence[str] = ("--version",)) -> Program:
    """A program on the path, or of FOLDER; the test is skipped, or fails where REQUIRED, without it."""
    beside = FOLDER / name / "bin" / "python"
    command = (str(beside), *words) if beside.exists() else (*words, name)
    if not beside.exists() and any(shutil.which(word) is None for word in command if not word.startswith("-")):
        message = f"{name} is not there; .ci/programs installs it"
        if REQUIRED:
            pytest.fail(message)
        pytest.skip(message)
    program = Program(name, command)
    if name not in used:
        lines = [line for line in program.run(*version).splitlines() if line.strip()]
        used[name] = lines[0].strip()
    return program
