"""Interlaced footage, two fields a frame, made progressive: FFmpeg's bwdif, a frame out for each frame in."""

from collections import deque
from collections.abc import Iterable, Iterator

import av.error
from av.filter import Graph
from av.video import VideoFrame, VideoStream

FRAMES_BEFORE = 2
"""Frames before the first wanted one that the filter looks at."""


def deinterlaced(frames: Iterable[VideoFrame], stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames that are flagged as interlaced become progressive; others stay. Times are kept."""
    graph = Graph()
    source = graph.add_buffer(template=stream)
    bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    waiting: deque[int | None] = deque()
    for frame in frames:
        waiting.append(frame.pts)
        graph.push(frame)
        yield from _pulled(graph, waiting)
    graph.push(None)
    yield from _pulled(graph, waiting)


def _pulled(graph: Graph, waiting: deque[int | None]) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, VideoFrame)
        frame.pts = waiting.popleft()  # the filter counts in half frames
        yield frame
