"""Scripts for other programs that rebuild the shot from an export: Σ matte · lighting · texture(st).

layerloom.nk                Nuke: opened as a script, or pasted into one
blender_compositor.py       Blender 3.4 to 5.x: blender --python blender_compositor.py

Both read files as they are, since the multiplier of light is one of display-referred colour, and make the sum linear at
the end. They find the files beside themselves; Nuke, where nodes were pasted into another script, where they were
exported to.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from layerloom.core.geometry import Size

HERE = Path(__file__).parent
TCL_ACTIVE = re.compile(r'([\\\[\]{}$"])')
"""What TCL does not take for a sign of text."""


@dataclass(frozen=True)
class NukeLayer:
    """A layer as Nuke's script names it. path: of its folder in the export, as text in which TCL does nothing."""

    name: str

    @property
    def path(self) -> str:
        return tcl_text(self.name)

    def node(self, kind: str) -> str:
        """A node's name."""
        return nuke_name(kind, self.name)


def nuke_script(layers: Sequence[str], size: Size, frames: int, fps: Fraction, folder: Path) -> str:
    """Text of a Nuke script whose last node is the shot, in linear colour. layers: names. folder: of the export."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        autoescape=False,
    )
    environment.filters["quoted"] = tcl_quoted
    return environment.get_template("layerloom.nk.j2").render(
        layers=[NukeLayer(name) for name in layers],
        width=size[0],
        height=size[1],
        frames=frames,
        fps=f"{float(fps):.6g}",
        folder=_folder_expression(folder),
    )


def blender_script() -> str:
    """Text of a Python script that fills the compositor of Blender's open scene; it reads the export's manifest."""
    return (HERE / "blender_compositor.py").read_text(encoding="utf-8")


def nuke_name(kind: str, layer: str) -> str:
    """A node's name: Nuke allows letters, digits and underscores."""
    return f"{kind}_{''.join(sign if sign.isalnum() and sign.isascii() else '_' for sign in layer)}"


def tcl_text(text: str) -> str:
    """Text that TCL, which evaluates a knob, gives back as it was: no command, variable or quote in it is active."""
    return TCL_ACTIVE.sub(r"\\\1", text).replace("\n", "\\n").replace("\r", "\\r")


def tcl_quoted(knob: str) -> str:
    """A knob's text as a word of a script, which TCL reads first."""
    return f'"{tcl_text(knob)}"'


def _folder_expression(folder: Path) -> str:
    """Knob text that is the folder's path and a slash: where the script lies if the export does, else `folder`."""
    beside = "[file dirname [value root.name]]"
    there = tcl_text(folder.absolute().as_posix())
    return f'[if {{[file exists "{beside}/manifest.json"]}} {{concat {beside}}} {{concat "{there}"}}]/'
