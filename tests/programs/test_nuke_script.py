"""Nuke's script, read by TCL as Nuke reads it: nothing in it runs but what says where the files lie."""

from fractions import Fraction
from pathlib import Path

import pytest
from programs import Program, find

from layerloom.export.scripts import nuke_script, tcl_text

READER = """
# A node's knobs are a list; `value` gives knobs of the script, as in Nuke.
proc value {knob} { global script; if {$knob eq "root.name"} {return $script}; error "no knob $knob" }
proc exec {args} { puts "RAN exec"; return "" }
proc unknown {kind args} {
    if {[llength $args] != 1} { puts "RAN $kind $args"; return "" }
    set knobs [lindex $args 0]
    if {[llength $knobs] % 2} { error "$kind: knobs without values: $knobs" }
    if {[dict exists $knobs file]} { puts "FILE [subst [dict get $knobs file]]" }
    puts "NODE $kind [dict get [dict merge {name -} $knobs] name]"
}
set script [lindex $argv 1]
source [lindex $argv 0]
"""


@pytest.fixture(scope="module")
def tclsh(tmp_path_factory: pytest.TempPathFactory) -> Program:
    version = tmp_path_factory.mktemp("tcl") / "version.tcl"
    version.write_text("puts [info patchlevel]")
    program = find("tclsh", version=(str(version),))
    reader = version.with_name("reader.tcl")
    reader.write_text(READER)
    return Program("tclsh", (*program.command, str(reader)))


def read(tclsh: Program, script: Path, opened_as: Path) -> tuple[list[str], list[str]]:
    """Files and nodes."""
    said = tclsh.run(script, opened_as).splitlines()
    assert not [line for line in said if line.startswith("RAN")]
    files, nodes = ([line[5:] for line in said if line.startswith(word)] for word in ("FILE ", "NODE "))
    return files, nodes


def test_it_is_opened_where_it_lies_and_pasted_elsewhere(tclsh: Program, exported: Path, tmp_path: Path) -> None:
    script = exported / "layerloom.nk"
    moved = tmp_path / "moved [here]"
    moved.mkdir()
    (moved / "manifest.json").write_text("{}")
    (moved / "layerloom.nk").write_bytes(script.read_bytes())
    for opened, folder in (
        (script, exported),
        (moved / "layerloom.nk", moved),
        (tmp_path / "my shot.nk", exported),
    ):
        files, nodes = read(tclsh, script, opened)
        names = {Path(file).relative_to(folder).as_posix() for file in files}
        assert names == {
            f"{layer}/{file}"
            for layer in ("object1", "object2", "background")
            for file in ("texture.png", "st/%05d.exr", "lighting/%05d.exr", "matte/%05d.png")
        }
        assert len(set(nodes)) == len(nodes)


@pytest.mark.parametrize("name", ["x[exec id]", 'a"b', "$HOME", "back\\slash", "{", "}", "new\nline", "50% [off]"])
def test_no_layers_name_runs(name: str, tclsh: Program, tmp_path: Path) -> None:
    """Whatever a stored project calls its layers, their names stay text."""
    script = tmp_path / "layerloom.nk"
    script.write_text(nuke_script([name, "background"], (16, 9), 1, Fraction(24), tmp_path), encoding="utf-8")
    files, nodes = read(tclsh, script, tmp_path / "elsewhere" / "shot.nk")
    assert f"{tmp_path}/{name}/texture.png".split("\n")[0] in files
    assert len(nodes) == 2 * 9 + 1 + 2
    assert "\n" not in tcl_text(name)


def test_a_single_frame_says_its_number(tclsh: Program, tmp_path: Path) -> None:
    script = tmp_path / "layerloom.nk"
    script.write_text(nuke_script(["dog", "cat"], (64, 48), 1, Fraction(24), tmp_path))
    text = script.read_text()
    assert len(read(tclsh, script, script)[0]) == 8
    assert text.count(" first 0\n last 0\n origfirst 0\n origlast 0\n origset true\n") == 6
    assert " colorManagement Nuke\n" in text
