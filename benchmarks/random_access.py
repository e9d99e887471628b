"""The least an encode kernel could do: read, or add to, two floats at a random row. Measures the chip, not us.

`speed.py` runs these for the bound beside its figures. They have a file of their own because they need Triton, which
`speed.py` does without on a CPU.
"""

import triton
import triton.language as tl


@triton.jit
def read_rows(rows, table, output, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    feature = tl.arange(0, 2)[None, :]
    entry = tl.load(table + tl.load(rows + index)[:, None] * 2 + feature)
    tl.store(output + index[:, None] * 2 + feature, entry)


@triton.jit
def add_rows(rows, table, values, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    feature = tl.arange(0, 2)[None, :]
    entry = tl.load(values + index[:, None] * 2 + feature)
    tl.atomic_add(table + tl.load(rows + index)[:, None] * 2 + feature, entry, sem="relaxed")
