"""Lines over time as an inline SVG shows them: what the report's template draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from layerloom.core.geometry import Size

SIZE: Size = (440, 180)
LEFT, TOP, RIGHT, BOTTOM = 52.0, 8.0, 434.0, 156.0
"""Of the lines' rectangle."""
LINE_COLOURS = ("#6ea8fe", "#f2a65a", "#7fd1ae", "#d58fd6", "#e8d174", "#ef7d7d", "#9aa5b8", "#8cc6d9")
AIR = 0.06
"""Above and below the lines, in shares of their spread."""

Series = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Line:
    """path: of an SVG, broken where values miss."""

    name: str
    colour: str
    path: str


@dataclass(frozen=True)
class Label:
    """Text at a place; anchor: start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Chart:
    """Lines with their axes. rules: heights of horizontal lines."""

    title: str
    lines: tuple[Line, ...]
    rules: tuple[float, ...]
    labels: tuple[Label, ...]
    size: Size = SIZE
    left: float = LEFT
    right: float = RIGHT


def line_chart(title: str, series: Series, x_label: str, x_values: Sequence[int] | None = None) -> Chart | None:
    """Lines over `x_values` (0, 1, … by default). Missing values interrupt a line; None without any value."""
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        return None
    spread = (max(known) - min(known)) or max(abs(known[0]), 1e-6)
    low, high = min(known) - AIR * spread, max(known) + AIR * spread
    along = [float(x) for x in x_values or range(max(len(values) for values in series.values()))]
    lines = tuple(
        Line(name, colour, _path(along, values, low, high))
        for (name, values), colour in zip(series.items(), LINE_COLOURS, strict=False)
    )
    heights = {share: BOTTOM + share * (TOP - BOTTOM) for share in (0.0, 0.5, 1.0)}
    beside = [Label(LEFT - 6, down + 4, _short(low + at * (high - low)), "end") for at, down in heights.items()]
    below = [
        Label(LEFT, BOTTOM + 16, f"{along[0]:g}", "start"),
        Label((LEFT + RIGHT) / 2, BOTTOM + 16, x_label, "middle"),
        Label(RIGHT, BOTTOM + 16, f"{along[-1]:g}", "end"),
    ]
    return Chart(title, lines, tuple(heights.values()), (*beside, *below))


def _path(along: Sequence[float], values: Sequence[float | None], low: float, high: float) -> str:
    points: list[str] = []
    broken = True
    for x, value in zip(along, values, strict=True):
        if value is not None:
            across = LEFT + (RIGHT - LEFT) * (x - along[0]) / max(along[-1] - along[0], 1e-9)
            down = TOP + (BOTTOM - TOP) * (high - value) / (high - low)
            points.append(f"{'M' if broken else 'L'}{across:.1f} {down:.1f}")
        broken = value is None
    return "".join(points)


def _short(value: float) -> str:
    """Three digits, or what fits beside a plot."""
    text = f"{value:.3g}"
    return f"{value:.0e}" if "e" in text else text
