"""What the user asks for, as plain values that go to JSON and back."""

from layerloom.edits.canvas import At, Overlay, Paint, Place, Text, Texture
from layerloom.edits.document import Background, Edit, Hide, edits_from_json, edits_to_json
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
    "At",
    "Background",
    "Camera",
    "Crop",
    "Duplicate",
    "Edit",
    "Extend",
    "Freeze",
    "Hide",
    "Keyframe",
    "LeaveShadow",
    "Move",
    "Overlay",
    "Paint",
    "Place",
    "Reverse",
    "Scale",
    "Speed",
    "Stabilize",
    "Text",
    "Texture",
    "Unseen",
    "Unshadow",
    "edits_from_json",
    "edits_to_json",
]
