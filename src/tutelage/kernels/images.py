"""Covariances of pairs of images through a network, block by block, by the compiled program."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.exceptions import StudentError
from tutelage.kernels import compiled, duals
from tutelage.kernels.program import Program
from tutelage.kernels.vectors import blocks
from tutelage.progress import Advance

BLOCK = 256  # images whose features are in memory on either side
_CHANNELS = 4  # at most, of what is an image
_LANE_BYTES = 64  # of images side by side
_CHUNK = 2e7  # pixel pairs that a thread works on before it is looked after


def diagonals(program: Program, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Give Θ of each image with itself."""
    found = torch.empty(len(x), dtype=x.dtype)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        found[rows] = torch.as_tensor(_run_diagonal(program, _Side.of(program, x[rows]))[1][0])
    return found


def pairs(
    program: Program,
    x1: Float[Tensor, "n1 c h w"],
    x2: Float[Tensor, "n2 c h w"] | None,
    advance: Advance,
    *,
    ntk: bool,
) -> Float[Tensor, "n1 n2"]:
    """Give NTK or NNGP of all pairs; without x2 of x1 with itself, of which the lower half is
    computed.
    """
    columns = x1 if x2 is None else x2
    kernel = torch.empty(len(x1), len(columns), dtype=x1.dtype)
    previous, left = None, None
    for i, j in blocks(len(x1), len(columns), BLOCK, symmetric=x2 is None):
        left = left if i == previous and left is not None else _Side.of(program, x1[i])
        previous = i
        right = left if x2 is None and i == j else _Side.of(program, columns[j])
        found = _run(program, left, right, advance, symmetric=x2 is None and i == j)
        block = torch.as_tensor(found[int(ntk)])
        kernel[i, j] = block
        if x2 is None:
            kernel[j, i] = block.mT if i != j else block.tril() + block.tril(-1).mT
    return kernel


def beside(program: Program, x: Float[Tensor, "n c h w"]) -> int:
    """Bytes held beside the result: two blocks of features, and each thread's maps."""
    pixels = x.shape[1] * x.shape[2] * x.shape[3]
    maps = (
        (2 + 2 * (1 + program.slots)) * program.room
        + 4 * program.pooled_room
        + 2 * (pixels + program.features)
    )
    threads = torch.get_num_threads() * _LANE_BYTES * maps
    return int(2 * BLOCK * (pixels + program.features) * x.dtype.itemsize + threads)


class _Side:
    """Images (channels · pixels, n) and their features at every activation (·, n), with n last."""

    def __init__(self, images: np.ndarray, features: np.ndarray, channels: int) -> None:
        self.images, self.features, self.channels = images, features, channels

    @classmethod
    def of(cls, program: Program, x: Tensor) -> "_Side":
        """Work out the features, activation by activation, each from the variances that those
        before it lead to.
        """
        images = np.ascontiguousarray(x.flatten(1).numpy().T)
        side = cls(images, np.ones((max(1, program.features), len(x)), images.dtype), x.shape[1])
        for use in program.uses:
            variances, _ = _run_diagonal(program.until(use), side)
            found = use.activation.features(torch.as_tensor(variances)).numpy()
            side.features[use.offset : use.offset + use.activation.n_features * use.pixels] = (
                found.reshape(-1, len(x))
            )
        return side


def _run_diagonal(program: Program, side: _Side) -> tuple[np.ndarray, np.ndarray]:
    """Give NNGP and NTK of images with themselves at every pixel of the end: (pixels, n)."""
    n, lanes = side.images.shape[1], _lanes(side.images.dtype)
    pixels = program.pixels
    k, t = (np.empty((pixels, 1, n), side.images.dtype) for _ in range(2))
    items = np.array([(-1, j, min(j + lanes, n)) for j in range(0, n, lanes)])
    _in_threads(program, side, side, items, (k, t), lambda _: None)
    return k[:, 0], t[:, 0]


def _run(
    program: Program, left: _Side, right: _Side, advance: Advance, *, symmetric: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Give NNGP and NTK of all pairs, or at least of those on and below the diagonal."""
    rows, n, lanes = left.images.shape[1], right.images.shape[1], _lanes(left.images.dtype)
    k, t = (np.empty((1, rows, n), left.images.dtype) for _ in range(2))
    items = [
        (i, j, min(j + lanes, n))
        for i in range(rows)
        for j in range(0, i + 1 if symmetric else n, lanes)
    ]
    _in_threads(program, left, right, np.array(items), (k, t), advance)
    return k[0], t[0]


def _in_threads(
    program: Program,
    left: _Side,
    right: _Side,
    items: np.ndarray,
    out: tuple[np.ndarray, ...],
    advance: Advance,
) -> None:
    """Share items out among as many threads as torch uses; what was not begun is dropped when one
    fails.
    """
    lanes = _lanes(left.images.dtype)
    called = [duals.loop(use.activation, left.images.dtype) for use in program.uses]
    loops = np.array([loop.address for loop in called], dtype=np.int64)

    def work(chunk: np.ndarray) -> int:
        compiled.run(
            program.ops,
            program.values,
            loops,
            program.segments,
            program.wrap,
            left.channels,
            program.slots,
            program.room,
            program.pooled_room,
            left.images,
            right.images,
            left.features,
            right.features,
            chunk,
            lanes,
            *out,
        )
        return int((chunk[:, 2] - chunk[:, 1]).sum())  # pairs, a few of them above the diagonal

    each = max(1, int(_CHUNK / max(1, lanes * program.work)))
    chunks: Iterator[np.ndarray] = (items[k : k + each] for k in range(0, len(items), each))
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        running = {
            threads.submit(work, chunk) for chunk in islice(chunks, 2 * torch.get_num_threads())
        }
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for found in done:
                advance(found.result())
            running |= {threads.submit(work, chunk) for chunk in islice(chunks, len(done))}


def _lanes(dtype: np.dtype) -> int:
    return _LANE_BYTES // dtype.itemsize


def check(x: Tensor) -> Tensor:
    """Give images as the program takes them: (n, channels, height, width), on the CPU.

    Raises
    ------
    StudentError
        If they are no images, or of a dtype that is not computed in.
    """
    if x.ndim not in (3, 4):
        raise StudentError(
            "This student takes images (samples, channels, height, width); inputs of shape"
            f" {tuple(x.shape)} are none. Give images, or a student for vectors, such as mlp or"
            " resmlp."
        )
    if x.ndim == 3 and min(x.shape[1:]) <= _CHANNELS < max(x.shape[1:]):
        raise StudentError(
            f"This student takes images, and inputs of shape {tuple(x.shape[1:])} look like signals"
            f" of {min(x.shape[1:])} channels, not like grey images. Give images a channel axis,"
            " (samples, 1, height, width), or a student for vectors, such as mlp."
        )
    if x.dtype not in (torch.float32, torch.float64):
        raise StudentError(
            f"Kernels of images are computed in float32 or float64; the inputs are {x.dtype}."
        )
    return (x[:, None] if x.ndim == 3 else x).cpu()
