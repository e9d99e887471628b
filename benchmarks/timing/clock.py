"""How long work takes."""

import resource
import sys
import time
from collections.abc import Callable

import torch

Work = Callable[[], object]


def time_work(work: Work, device: str, repeats: int = 40, recorded: bool = True) -> list[float]:
    """Milliseconds of each repeat, after warming up; on a GPU of a recorded graph, if it can be recorded."""
    for _ in range(3 if device == "cuda" else 1):
        work()
    if device == "cpu":
        return [_cpu_milliseconds(work) for _ in range(max(5, repeats // 4))]
    per_repeat = 10 if recorded else 1
    run = record(work).replay if recorded else work
    for _ in range(5):
        run()
    times: list[float] = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(per_repeat):
            run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / per_repeat)
    return times


def record(work: Work) -> torch.cuda.CUDAGraph:
    """Record on the current stream, which `work`'s own forward pass ran on: autograd goes back on that one."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        work()
    return graph


def own_stream(device: str) -> torch.cuda.StreamContext:
    """A stream of its own, since the default stream cannot be recorded (on the CPU: nothing)."""
    if device == "cpu":
        return torch.cuda.stream(None)
    torch.cuda.synchronize()
    return torch.cuda.stream(torch.cuda.Stream())


def _cpu_milliseconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def finish(device: str) -> None:
    """Wait until the device has done all it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_mib(device: str) -> float:
    """Most memory so far: that PyTorch held of the GPU, or the process's."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / 2**20
    units = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units
