"""How a layer's colours and its light are adjusted, as a plain value; `compose.adjust` has the formulas."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from layerloom.core.records import InvalidValue, optional_path, path_field
from layerloom.edits.values import EditRecord, Layer

Gain = Annotated[float, Meta(ge=0, le=4)]


class Adjust(EditRecord):
    """A layer in other colours and stronger or weaker light; what its texture does not hold of the source goes along.

    hue: degrees; 120 takes red to green. saturation: 0 is grey, 2 twice as colourful. contrast: about middle grey.
    brightness: what is added. light: how strong the layer's light is, 0 flat, 1 as it is, 2 doubled (in stops).
    region: an image of the canvas' shape whose alpha, or grey without alpha, says where colours change; None: all over.
    """

    layer: Layer
    hue: Annotated[float, Meta(ge=-360, le=360)] = 0.0
    saturation: Gain = 1.0
    brightness: Annotated[float, Meta(ge=-1, le=1)] = 0.0
    contrast: Gain = 1.0
    light: Gain = 1.0
    region: Path | None = path_field(converter=optional_path, default=None)

    def check(self) -> None:
        if self.region is not None and self.light != 1:
            raise InvalidValue("light is the whole layer's: an adjustment with a region leaves it at 1", "light")

    @property
    def is_neutral(self) -> bool:
        """Whether it changes nothing."""
        return (self.hue % 360, self.saturation, self.brightness, self.contrast, self.light) == (0, 1, 0, 1, 1)
