"""How large files and functions may become, so that each stays one thing with a name; and that the map is true."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "layerloom"
FILE_LINES, FUNCTION_LINES, ARGUMENTS = 400, 50, 6
KERNEL_FILE_LINES, KERNEL_FUNCTION_LINES = 600, 120
COMPILED = {"triton.jit", "njit", "compiled", "kernel"}
"""What a function that Triton or Numba compiles is decorated with: it takes arrays, strides and sizes one by one."""

VERB = "a public verb: what users can say of it, each by its name"
LAUNCH = "launches a kernel: what goes in, what comes out, sizes"
EXCEPTIONS = {
    "cli/commands/batch.py:batch": "half of it is the help of its options",
    "cli/commands/decompose.py:decompose": "half of it is the help of its options",
    "cli/commands/edit.py:edit": "a command: its arguments are its options",
    "cli/commands/masks.py:masks": "half of it is the help of its options",
    "cli/commands/render.py:render": "half of it is the help of its options",
    "data/project.py:create": "the parts that a project is stored from, each by its name",
    "decompose.py:decompose": VERB,
    "prepare/prepare.py:prepare": VERB,
    "render/video.py:write_video": VERB,
    "media/writer.py:open_writer": "half of it says what can be written",
    "ops/hash_encode/triton.py:encode_backward": LAUNCH,
    "ops/mapping/triton.py:map_tiles_backward": LAUNCH,
    "render/cuda/kernel.py:draw_frame": LAUNCH,
    "train/fused/adam.py:adam": LAUNCH,
    "train/fused/step.py:__init__": "the parts that a step is made of",
    "render/cpu/addresses.py:_blend_floats": "an instruction for Numba: pointers, strides and shares",
    "render/cpu/addresses.py:_blend_levels": "an instruction for Numba: pointers, strides and shares",
}
"""path:function to why it may be larger. An entry that is no longer needed fails, too."""


def decorators(function: ast.FunctionDef) -> set[str]:
    calls = (d.func if isinstance(d, ast.Call) else d for d in function.decorator_list)
    return {ast.unparse(call) for call in calls}


def is_kernel(function: ast.FunctionDef) -> bool:
    return any(name in COMPILED or name.endswith((".jit", "njit")) for name in decorators(function))


def is_command(path: Path, function: ast.FunctionDef) -> bool:
    """A command's arguments are its options."""
    return path.parent.name == "cli" and not function.name.startswith("_")


def arguments(function: ast.FunctionDef) -> int:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def too_large(path: Path) -> dict[str, str]:
    """What breaks a limit in a file, by name."""
    name = str(path.relative_to(SOURCE))
    text = path.read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    kernels = any(is_kernel(function) for function in functions)
    found: dict[str, str] = {}
    lines = len(text.splitlines())
    if lines > (KERNEL_FILE_LINES if kernels else FILE_LINES):
        found[name] = f"{lines} lines"
    for function in functions:
        compiled = is_kernel(function)
        lines = (function.end_lineno or 0) - function.lineno + 1
        if lines > (KERNEL_FUNCTION_LINES if compiled else FUNCTION_LINES):
            found[f"{name}:{function.name}"] = f"{lines} lines"
        elif arguments(function) > ARGUMENTS and not compiled and not is_command(path, function):
            found[f"{name}:{function.name}"] = f"{arguments(function)} arguments"
    return found


def test_files_and_functions_stay_small() -> None:
    found = {name: size for path in sorted(SOURCE.rglob("*.py")) for name, size in too_large(path).items()}
    unexpected = {name: size for name, size in found.items() if name not in EXCEPTIONS}
    assert not unexpected
    assert not set(EXCEPTIONS) - set(found), "no longer needed"


def test_the_map_in_the_readme_is_made_from_the_docstrings() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "code_map.py", "--check"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout
