"""Selector: hints in, masks out, for as long as a user goes on correcting."""

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField
from layerloom.data.selection import Hint, ObjectHints, Selection
from layerloom.prepare.select.footage import Footage, Map, Video
from layerloom.prepare.select.hinted import corrected, masks_in_boxes
from layerloom.prepare.select.hints import FrameHints, draw_hints
from layerloom.prepare.select.likeness import Examples, Likeness, draw_examples
from layerloom.prepare.select.settle import against_background, logit
from layerloom.prepare.select.spread import Anchor, Chain, Witnesses, trust_net
from layerloom.prepare.select.track import Track

KEPT = 256
"""Of what was found, so many things are kept."""
LARGEST_LOGIT = 8.0
"""Of shares that are weighed against each other."""

Mask = UInt8[np.ndarray, "_h _w"]
Kind = TypeVar("Kind")


class Found(NamedTuple):
    """An object's mask in a frame, 0…255, of the frames' size; those of several objects add up to 255 at most."""

    name: str
    frame: int
    mask: Mask


class Memory:
    """What was found, by what it follows from; of what was not asked for lately, the oldest is forgotten."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], Kind]) -> Kind:
        """What is kept under the key, else what `make` makes; the same key must go with the same kind of thing."""
        value = self._kept.pop(key) if key in self._kept else make()
        self._kept[key] = value
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return value


class Selector:
    """Masks from hints on one clip. It remembers what a changed hint does not change. For one thread at a time."""

    def __init__(
        self,
        frames: Video,
        flow: Sequence[FlowField] | None = None,
        *,
        source_size: Size | None = None,
        mask_size: Size | None = None,
        first_frame: int = 0,
        device: str = "cpu",
    ) -> None:
        """frames: of any size. flow: between them, if it is known already. source_size: (width, height) of the footage
        whose pixels hints are in, and mask_size that of the masks, where they are not the frames'. first_frame: the
        number that hints have for frames[0].
        """
        size = frames.shape[2], frames.shape[1]
        self._footage = Footage(frames, flow, device)
        self._source_size, self._mask_size = source_size or size, mask_size or size
        self._first = first_frame
        self._memory = Memory()

    @property
    def flow(self) -> tuple[FlowField, ...]:
        """Between the frames, found when it is first asked for."""
        return self._footage.flow

    @property
    def frames(self) -> Video:
        """At the size that masks are made at."""
        return self._footage.small

    @property
    def is_warm(self) -> bool:
        """Whether `warm_up` has nothing left to do."""
        return self._footage.known_evidence is not None

    def warm_up(self) -> None:
        """Find flow and evidence now, which the first `spread` would wait for."""
        _ = self._footage.evidence

    def frame(self, selection: Selection, frame: int) -> dict[str, Mask]:
        """Masks of the objects that have hints in this frame, by name, quickly.

        Points alone correct what other frames' hints come to here, and so wait for those to have come this far.
        LayerloomError for hints that do not fit the footage.
        """
        self._check(selection)
        t = frame - self._first
        hinted = [each for each in selection.objects if each.in_frame(frame)]
        shares = [self._anchor(each, frame, selection).share for each in hinted]
        return {each.name: self._finished(share, each, t) for each, share in zip(hinted, _apart(shares), strict=True)}

    def spread(self, selection: Selection) -> Iterator[Found]:
        """Masks of all objects in all frames, those nearest to hints first. Close it to stop.

        A frame between two hints comes twice: from the nearer one, and as soon as both have reached it.
        LayerloomError for hints that do not fit the footage.
        """
        self._check(selection)
        self.warm_up()
        tracks = [self._track(self._anchors(each, selection)) for each in selection.objects]
        yield from self._masks(
            selection, tracks, sorted({anchor.frame for track in tracks for anchor in track.anchors})
        )
        for distance in range(1, len(self._footage)):
            ahead = [pair for track in tracks for pair in track.frames_at(distance)]
            for _ in in_threads(_step, [chain for t, chain in ahead if chain is not None and not chain.has_reached(t)]):
                pass
            yield from self._masks(selection, tracks, sorted({t for t, _ in ahead}))

    def _masks(self, selection: Selection, tracks: Sequence[Track], frames: Sequence[int]) -> Iterator[Found]:
        for t in frames:
            some = [(each, track.share(t)) for each, track in zip(selection.objects, tracks, strict=True)]
            reached = [(each, share) for each, share in some if share is not None]
            shares = _apart([share for _, share in reached])
            for (each, _), share in zip(reached, shares, strict=True):
                yield Found(each.name, t + self._first, self._finished(share, each, t))

    def _check(self, selection: Selection) -> None:
        frames = range(self._first, self._first + len(self._footage))
        for each in selection.objects:
            for hint in each.hints:
                if hint.frame not in frames:
                    raise LayerloomError(
                        f"'{each.name}': a hint in frame {hint.frame}, but there are frames {frames[0]} to {frames[-1]}"
                    )

    def _anchors(self, each: ObjectHints, selection: Selection) -> list[Anchor]:
        """In the order of their frames."""
        frames = sorted({hint.frame for hint in each.hints})
        return [self._anchor(each, frame, selection) for frame in frames]

    def _anchor(self, each: ObjectHints, frame: int, selection: Selection) -> Anchor:
        """What an object's hints in a frame come to."""
        t, drawn = frame - self._first, self._drawn(each, each.in_frame(frame))
        if drawn.absent:
            return _anchor(t, np.zeros(drawn.pinned.shape, np.float32))
        if drawn.mask is not None:
            return _anchor(t, drawn.mask.astype(np.float32))
        if drawn.box is not None:
            return self._boxed(each, frame, selection)
        earlier = self._earlier(each, frame)
        if earlier is None:
            return self._boxed(each, frame, selection)
        anchors = self._anchors(earlier, selection)
        key = ("corrected", t, each.in_frame(frame), tuple(anchor.key for anchor in anchors))

        def correct() -> Anchor:
            share = self._track(anchors).run_to(t)
            return _anchor(t, corrected(self._footage, t, share, drawn))

        return self._memory.get(key, correct)

    def _earlier(self, each: ObjectHints, frame: int) -> ObjectHints | None:
        """The object by the hints that a frame's points correct: whole ones, and points given before these."""
        first = next(i for i, hint in enumerate(each.hints) if hint.frame == frame)
        before = {hint.frame for hint in each.hints[:first]}
        kept = [
            hint
            for hint in each.hints
            if hint.frame != frame and (hint.frame in before or _is_whole(each.in_frame(hint.frame)))
        ]
        if not any(hint.box or hint.include or hint.mask for hint in kept):
            return None
        return ObjectHints(each.name, tuple(kept))

    def _boxed(self, each: ObjectHints, frame: int, selection: Selection) -> Anchor:
        """By box, or by the only points there are; beside the other objects that have boxes in the frame."""
        together = [
            other
            for other in selection.objects
            if other.name == each.name or any(hint.box for hint in other.in_frame(frame))
        ]
        given = tuple((other.name, other.in_frame(frame)) for other in together)

        def find() -> dict[str, Anchor]:
            drawn = [self._drawn(other, other.in_frame(frame)) for other in together]
            shares = masks_in_boxes(self._footage, frame - self._first, drawn)
            return {
                other.name: _anchor(frame - self._first, share) for other, share in zip(together, shares, strict=True)
            }

        knows_motion = self._footage.known_evidence is not None
        return self._memory.get(("boxes", frame, given, knows_motion), find)[each.name]

    def _drawn(self, each: ObjectHints, hints: Sequence[Hint]) -> FrameHints:
        return draw_hints(each.name, hints, self._source_size, self._footage.work_size)

    def _track(self, anchors: Sequence[Anchor]) -> Track:
        return Track(anchors, len(self._footage), self._chain)

    def _chain(self, anchor: Anchor, direction: int, neighbours: Sequence[Anchor]) -> Chain:
        """From an anchor on, by what was learned in its neighbours, which it is one of."""
        key = ("chain", anchor.key, direction, tuple(each.key for each in neighbours))
        return self._memory.get(key, lambda: Chain(self._footage, anchor, direction, self._witnesses(neighbours)))

    def _witnesses(self, anchors: Sequence[Anchor]) -> Witnesses:
        def learn() -> Witnesses:
            trust = [trust_net(self._footage, each, np.zeros_like(each.share)) for each in anchors if each.share.any()]
            examples = [self._examples(each) for each in anchors]
            return Witnesses(Likeness(examples), float(np.mean(trust)) if trust else 0.0)

        return self._memory.get(("witnesses", tuple(each.key for each in anchors)), learn)

    def _examples(self, anchor: Anchor) -> Examples:
        height, width = anchor.share.shape
        features = self._footage.features(anchor.frame, (slice(0, height), slice(0, width)))
        return draw_examples(features, anchor.share > 0.5, anchor.frame)

    def _finished(self, share: Map, each: ObjectHints, t: int) -> Mask:
        """At the masks' size; what a hint says holds exactly there."""
        size = self._mask_size
        mask = np.round(255 * np.clip(cv2.resize(share, size, interpolation=cv2.INTER_CUBIC), 0, 1)).astype(np.uint8)
        hints = each.in_frame(t + self._first)
        if not hints:
            return mask
        drawn = draw_hints(each.name, hints, self._source_size, size)
        if drawn.mask is not None:
            return np.where(drawn.mask, np.uint8(255), np.uint8(0))
        return np.where(drawn.pinned > 0, np.uint8(255), np.where(drawn.pinned < 0, np.uint8(0), mask))


def _anchor(t: int, share: Map) -> Anchor:
    content = np.round(255 * share).astype(np.uint8).tobytes()
    return Anchor(t, share, f"{t}-{hashlib.blake2b(content, digest_size=16).hexdigest()}")


def _is_whole(hints: Sequence[Hint]) -> bool:
    return any(hint.box is not None or hint.mask is not None or hint.absent for hint in hints)


def _apart(shares: Sequence[Map]) -> Sequence[Map]:
    """Shares that leave no pixel more than one owner."""
    if len(shares) < 2:
        return shares
    return list(against_background(logit(np.stack(shares), LARGEST_LOGIT)))


def _step(chain: Chain) -> None:
    """One thread a chain: PyTorch's own would take the cores from each other."""
    torch.set_num_threads(1)
    chain.step()
