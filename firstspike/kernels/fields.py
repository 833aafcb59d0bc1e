"""What every position of a layer sees, step by step: receptive fields as bits, and how many inputs are in them.

Legend as in ``conv.py``. The input has a border of `pad` cells here, B = W + 2 pad cells a row, and a position is named
by the cell where its receptive field begins, ``r * B + q``. The bits of a row lie side by side, channels of a cell
together, and fill S words of 64. So the inputs of a position are K runs of K * C bits, and bit b of run i is row
``i * K * C + b`` of the screen.
"""

from typing import NamedTuple

import numpy as np

from firstspike.kernels.cells import CELLS, add_cells, count_at_most, list_ones, pack_at_most
from firstspike.kernels.conv import ALL_SILENT, Geometry
from firstspike.kernels.jit import compiled

WORD = 64
SILENT = 255


class Fields(NamedTuple):
    """Scratch memory of one image in one layer; nothing in it outlives the image. Cells are counted in whole blocks."""

    in_bits: np.ndarray  # int32 (C * H * W,) where each input, in flat order, stands in `times`
    in_planes: np.ndarray  # int32 (C * H * W,) and in `planes`
    origin: np.ndarray  # int64 (cells,) the first bit of each position's receptive field
    times: np.ndarray  # uint8 (rows * S * 64,) latencies in the order of the bits
    planes: np.ndarray  # uint8 (C * cells,) latencies, channel after channel
    bits: np.ndarray  # uint64 ((T + 1) * (rows * S + 1),) inputs that have fired before each step
    fired: np.ndarray  # uint16 (cells + K,) how many inputs of each cell have fired
    across: np.ndarray  # uint16 (cells + K * B,) in K cells from each on
    inputs: np.ndarray  # uint16 (cells,) in the receptive field of each position


@compiled
def cells_of(g: Geometry) -> int:
    """Cells of the input with its border, rounded up to whole blocks."""
    return -(-(g.height + 2 * g.pad) * (g.width + 2 * g.pad) // CELLS) * CELLS


@compiled
def stride_of(g: Geometry) -> int:
    """Bits from a row of the input to the next."""
    return -(-(g.width + 2 * g.pad) * g.channels // WORD) * WORD


@compiled
def make_fields(g: Geometry, steps: int) -> Fields:
    """Allocate the scratch memory of a layer."""
    across, cells, stride = g.width + 2 * g.pad, cells_of(g), stride_of(g)
    length = (g.height + 2 * g.pad) * stride
    in_bits = np.empty(g.channels * g.height * g.width, np.int32)
    in_planes = np.empty_like(in_bits)
    n = 0
    for c in range(g.channels):
        for y in range(g.pad, g.pad + g.height):
            for x in range(g.pad, g.pad + g.width):
                in_bits[n] = y * stride + x * g.channels + c
                in_planes[n] = c * cells + y * across + x
                n += 1
    origin = np.empty(cells, np.int64)
    for cell in range(cells):
        origin[cell] = cell // across * stride + cell % across * g.channels
    return Fields(
        in_bits,
        in_planes,
        origin,
        np.empty(length, np.uint8),
        np.empty(g.channels * cells, np.uint8),
        np.zeros((steps + 1) * (length // WORD + 1), np.uint64),
        np.zeros(cells + g.kernel, np.uint16),
        np.zeros(cells + g.kernel * across, np.uint16),
        np.empty(cells, np.uint16),
    )


@compiled
def lay_out(latency: np.ndarray, fields: Fields) -> None:
    """Put the latencies (C, H, W) of an image where they belong; eight silent inputs are passed over at once."""
    flat, times, planes = latency.reshape(-1), fields.times, fields.planes
    in_bits, in_planes = fields.in_bits, fields.in_planes
    times[:] = SILENT
    planes[:] = SILENT
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    for word in range(words.size):
        if words[word] != ALL_SILENT:
            for index in range(8 * word, 8 * word + 8):
                times[in_bits[index]] = flat[index]
                planes[in_planes[index]] = flat[index]
    for index in range(8 * words.size, flat.size):
        times[in_bits[index]] = flat[index]
        planes[in_planes[index]] = flat[index]


@compiled
def advance(g: Geometry, step: int, fields: Fields) -> None:
    """Let all inputs of a step fire, and count what every receptive field holds by then: a box filter, rows first."""
    fired, across, inputs = fields.fired, fields.across, fields.inputs
    cells, row, words = inputs.size, g.width + 2 * g.pad, fields.times.size // WORD
    pack_at_most(fields.bits, (step + 1) * (words + 1), fields.times, 0, words, step)
    fired[:cells] = 0
    for c in range(g.channels):
        count_at_most(fired, 0, fields.planes, c * cells, cells, step)
    across[:cells] = 0
    for j in range(g.kernel):
        add_cells(across, 0, fired, j, cells)
    inputs[:] = 0
    for i in range(g.kernel):
        add_cells(inputs, 0, across, i * row, cells)


@compiled(forceinline=True)
def list_inputs(
    bits: np.ndarray,
    then: int,
    now: int,
    shift: int,
    kernel: int,
    row: int,
    run: int,
    lists: np.ndarray,
    n: int,
) -> int:
    """Append to a list of n the screen rows of the inputs of a position that have fired by now, but had not then.

    Its receptive field begins at bit `shift` of the words `then` and `now` and has `kernel` runs of `run` bits, `row`
    words apart. The list has room for a block of cells behind its end.
    """
    for i in range(kernel):
        for begin in range(0, run, CELLS):
            k, right = i * row + (shift + begin) // WORD, np.uint64((shift + begin) % WORD)
            low, high = bits[now + k] & ~bits[then + k], bits[now + k + 1] & ~bits[then + k + 1]
            seen = low >> right | high << np.uint64(1) << np.uint64(WORD - 1) - right
            if run - begin < CELLS:
                seen &= (np.uint64(1) << np.uint64(run - begin)) - np.uint64(1)
            n += list_ones(lists, n, np.uint32(seen), i * run + begin)
    return n
