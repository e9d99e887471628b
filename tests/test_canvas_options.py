"""What is typed about layers' looks becomes edits; anything else is refused with one line."""

from pathlib import Path

import pytest

from layerloom.cli.canvas_options import CanvasOptions
from layerloom.core.errors import LayerloomError
from layerloom.edits.adjust import Adjust
from layerloom.edits.canvas import At, CanvasEdit, Overlay, Paint, Place, Text, Texture

LOGO, FILM = Path("a/logo.png"), Path("film.mp4")


@pytest.mark.parametrize(
    ("name", "text", "edit"),
    [
        ("texture", "dog=a/logo.png", Texture("dog", LOGO)),
        ("adjust", "dog:hue=20,saturation=1.2,brightness=.1,light=0", Adjust("dog", 20.0, 1.2, 0.1, light=0.0)),
        ("adjust", "dog: contrast=2, region=a/logo.png", Adjust("dog", contrast=2.0, region=LOGO)),
        ("overlay", "dog=a/logo.png", Overlay("dog", LOGO)),
        ("overlay", "dog=film.mp4; blend multiply; ends hold", Overlay("dog", FILM, "multiply", "hold")),
        ("paint", "40:a/logo.png;blend add", Paint(40, LOGO, "add")),
        ("place", "dog=a/logo.png; at 3:12.5,40", Place("dog", LOGO, At(12.5, 40.0, 3))),
        (
            "place",
            "dog=film.mp4; at 12,-4; height 60; rotate -5; rigid; blend screen; ends hold",
            Place("dog", FILM, At(12.0, -4.0, None, 60.0, -5.0, rigid=True), "screen", "hold"),
        ),
        (
            "place",
            "dog=film.mp4; corners 7:0,1 10,2 9,8.5 1,7; rigid",
            Place("dog", FILM, At(frame=7, corners=((0.0, 1.0), (10.0, 2.0), (9.0, 8.5), (1.0, 7.0)), rigid=True)),
        ),
        (
            "text",
            "dog=Taxi = 42: cheap; at 0:4,5; colour #ffcc00; font a/b.ttf",
            Text("dog", "Taxi = 42: cheap", At(4.0, 5.0, 0), "#ffcc00", Path("a/b.ttf")),
        ),
    ],
)
def test_an_option_is_an_edit(name: str, text: str, edit: CanvasEdit | Adjust) -> None:
    assert list(CanvasOptions(**{name: (text,)}).edits()) == [edit]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("overlay", "logo.png", "'logo.png': the form is --overlay LAYER=FILE"),
        ("overlay", "dog=logo.png; blend burn", "blend: must be one of add, multiply, normal, screen, not 'burn'"),
        ("adjust", "dog:sharp=2", "'sharp' is not known here; there are hue, saturation"),
        ("adjust", "dog", "the form is --adjust"),
        ("adjust", "dog:light=9", "light: must be"),
        ("overlay", "dog=logo.png; at 3,4", "'at' is not known here; there are blend, ends"),
        ("overlay", "dog=logo.png; blend", "'blend' needs a value"),
        ("paint", "first:logo.png", "'first': a frame is a whole number"),
        ("place", "dog=logo.png", "say where: at FRAME:X,Y, or corners"),
        ("place", "dog=logo.png; at 3:4", "'' is not a number"),
        ("place", "dog=logo.png; at 3:4,nan", "'nan' is not a number"),
        ("place", "dog=logo.png; at 1,2 3,4", "a place is at FRAME:X,Y or at X,Y"),
        ("place", "dog=logo.png; at 1,2; rigid yes", "'rigid' takes no value"),
        ("place", "dog=logo.png; at 1,2; height 0", "height: must be a number above 0 to 16384"),
        ("place", "dog=logo.png; corners 0:1,2 3,4 5,6", "a place with corners has four of them"),
        ("text", "dog=Taxi; at 1,2; colour red", "colour: must be a colour #rrggbb"),
        ("text", "dog=Taxi; at 1,2; ends hold", "'ends' is not known here"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, text: str, message: str) -> None:
    with pytest.raises(LayerloomError) as caught:
        list(CanvasOptions(**{name: (text,)}).edits())
    assert message in str(caught.value) and "\n" not in str(caught.value)
