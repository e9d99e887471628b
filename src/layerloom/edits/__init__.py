"""What the user asks for, as plain values that go to JSON and back."""

from layerloom.edits.adjust import Adjust
from layerloom.edits.canvas import At, Overlay, Paint, Place, Text, Texture
from layerloom.edits.document import Background, Edit, Hide, edits_from_json, edits_to_json
from layerloom.edits.selection import Hint, ObjectHints, Selection
from layerloom.edits.shot import (
    Camera,
    Crop,
    Duplicate,
    Extend,
    Freeze,
    Keyframe,
    LeaveShadow,
    Move,
    Reverse,
    Scale,
    Speed,
    Stabilize,
    Unseen,
    Unshadow,
)

__all__ = [
    "Adjust",
    "At",
    "Background",
    "Camera",
    "Crop",
    "Duplicate",
    "Edit",
    "Extend",
    "Freeze",
    "Hide",
    "Hint",
    "Keyframe",
    "LeaveShadow",
    "Move",
    "ObjectHints",
    "Overlay",
    "Paint",
    "Place",
    "Reverse",
    "Scale",
    "Selection",
    "Speed",
    "Stabilize",
    "Text",
    "Texture",
    "Unseen",
    "Unshadow",
    "edits_from_json",
    "edits_to_json",
]
