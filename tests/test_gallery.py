"""The gallery's page: its commands can be typed as they stand, and its pictures are there and small."""

import re
import shlex
from pathlib import Path

from layerloom.cli.main import _parse

PAGE = Path(__file__).parents[1] / "docs" / "gallery.md"


def test_every_command_can_be_typed() -> None:
    commands = re.findall(r"^    layerloom (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) > 15
    for command in commands:
        note = _parse(shlex.split(command))
        for option in note.keywords.values():
            if hasattr(option, "texture"):
                list(option.edits())


def test_every_picture_is_there_and_small() -> None:
    names = re.findall(r"!\[.+\]\((gallery/.+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(names) > 10
    assert {PAGE.parent / name for name in names} == set(PAGE.with_suffix("").iterdir())
    for name in names:
        assert (PAGE.parent / name).stat().st_size < 150_000
