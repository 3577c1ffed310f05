"""Covariances of pixel pairs through a network, compiled.

For a pair of images and a displacement d between pixels, the covariances of all pixel pairs (p, p +
d) are one map. Convolutions, activations and sums take that map to a map of the next layer without
looking at other displacements. A convolution is a box filter, as both pixels move together. So a
whole network runs on one small map that stays in cache, and memory does not grow with the square of
the pixels. Only average pooling mixes displacements; it ends a segment.

Many images stand side by side as lanes: every array is (pixels, lanes), and inner loops run along a
row of a map and its lanes.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tutelage.kernels.codes import ACTIVATION, CONV, END, FLATTEN, LOAD, POOL, SAVE
from tutelage.kernels.duals import compiled


@intrinsic
def _call(typing, address, first, second, k, t, one, two, n, stride, degree):
    """Run a loop of `duals.py`, given its address."""
    number, count = types.float64, types.intp
    given = (count, number, number, k, t, one, two, count, count, count)

    def generate(context, builder, signature, values):
        arrays = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(given[3:7], values[3:7], strict=True)
        ]
        passed = [*values[1:3], *arrays, *values[7:]]
        loop = ir.FunctionType(ir.VoidType(), [value.type for value in passed]).as_pointer()
        builder.call(builder.inttoptr(values[0], loop), passed)
        return context.get_dummy_value()

    return types.void(*given), generate


@compiled
def _add(to, of, n):
    for e in range(n):
        to[e] += of[e]


@compiled
def _add_three(to, first, second, third, weight, n):
    """The usual window in one go: most of the time of a convolution is memory's."""
    for e in range(n):
        to[e] += weight * (first[e] + second[e] + third[e])


@compiled
def _sum_row(out, inp, width_out, width_in, stride, start, size, wrap, lanes):
    """Sum a window of pixels of a row for each pixel of the next: out[x] = sum_o in[stride·x +
    start + o].
    """
    out[: width_out * lanes] = 0
    low, high = 0, 0
    if size == 3 and stride == 1:  # pixels whose whole window lies in the row
        low, high = max(0, -start), min(width_out, width_in - start - 2)
        if low < high:
            one = inp[(low + start) * lanes :]
            _add_three(
                out[low * lanes :],
                one,
                one[lanes:],
                one[2 * lanes :],
                one.dtype.type(1),
                (high - low) * lanes,
            )
        else:
            low, high = 0, 0
    for x in range(width_out):
        if low <= x < high:
            continue
        for o in range(size):
            at = stride * x + start + o
            if wrap:
                at %= width_in
            if 0 <= at < width_in:
                _add(out[x * lanes :], inp[at * lanes :], lanes)


@compiled
def _range(size, d, wrap):
    """Rows (or columns) y for which y and y + d lie in the image."""
    if wrap:
        return 0, size
    return max(0, -d), min(size, size - d)


@compiled
def _convolve(op, val, dy, dx, wrap, k, t, spare_k, spare_t, lanes):
    """Box filter with weights and bias; dy, dx are displacements in the output."""
    size, stride, left, fresh = op[8], op[9], op[10], op[11]
    iy0, iy1 = _range(op[4], dy * stride, wrap)
    ix0, ix1 = _range(op[5], dx * stride, wrap)
    oy0, oy1 = _range(op[6], dy, wrap)
    ox0, ox1 = _range(op[7], dx, wrap)
    width_in, width_out, height_in = ix1 - ix0, ox1 - ox0, iy1 - iy0
    row_in, row_out = width_in * lanes, width_out * lanes
    start = stride * ox0 - left - ix0
    for y in range(height_in):
        _sum_row(
            spare_k[y * row_out :],
            k[y * row_in :],
            width_out,
            width_in,
            stride,
            start,
            size,
            wrap,
            lanes,
        )
        if not fresh:
            _sum_row(
                spare_t[y * row_out :],
                t[y * row_in :],
                width_out,
                width_in,
                stride,
                start,
                size,
                wrap,
                lanes,
            )
    weight, bias = k.dtype.type(val[0] / (size * size)), k.dtype.type(val[1])
    for y in range(oy1 - oy0):
        to_k, to_t = k[y * row_out : (y + 1) * row_out], t[y * row_out : (y + 1) * row_out]
        to_k[:], to_t[:] = bias, 0
        top = stride * (y + oy0) - left - iy0
        _sum_rows(to_k, spare_k, top, size, height_in, weight, wrap, row_out)
        if not fresh:  # before the first weights there is no tangent
            _sum_rows(to_t, spare_t, top, size, height_in, weight, wrap, row_out)
        _add(to_t, to_k, row_out)


@compiled
def _sum_rows(to, rows, top, size, height, weight, wrap, n):
    if size == 3 and top >= 0 and top + 2 < height:
        one = rows[top * n :]
        _add_three(to, one, one[n:], one[2 * n :], weight, n)
        return
    for o in range(size):
        at = top + o
        if wrap:
            at %= height
        if 0 <= at < height:
            of = rows[at * n : (at + 1) * n]
            for e in range(n):
                to[e] += weight * of[e]


@compiled
def _activate(op, val, loops, dy, dx, wrap, k, t, features1, features2, lanes):
    height, width, offset, degree = op[4], op[5], op[2], op[3]
    y0, y1 = _range(height, dy, wrap)
    x0, x1 = _range(width, dx, wrap)
    stride = height * width * lanes
    for y in range(y0, y1):
        other = y + dy - (height if y + dy >= height else 0)
        for turn in range(2 if wrap else 1):
            low, high = _run(x0, x1, width, dx, turn, wrap)
            beyond = dx - turn * width
            n = (high - low) * lanes
            if n > 0:
                at = ((y - y0) * (x1 - x0) + low - x0) * lanes
                _call(
                    loops[op[1]], val[0], val[1], k[at:], t[at:],
                    features1[(offset + y * width + low) * lanes :],
                    features2[(offset + other * width + low + beyond) * lanes :],
                    n, stride, degree,
                )  # fmt: skip


@compiled
def _load_images(channels, height, width, dy, dx, wrap, k, t, x1, x2, lanes):
    """Σ⁰ of pixels p and p + d: the mean over channels of their products."""
    y0, y1 = _range(height, dy, wrap)
    left, right = _range(width, dx, wrap)
    row, pixels = (right - left) * lanes, height * width * lanes
    share = k.dtype.type(1 / channels)
    for y in range(y0, y1):
        other = y + dy - (height if y + dy >= height else 0)
        to = k[(y - y0) * row : (y - y0 + 1) * row]
        to[:] = 0
        for c in range(channels):
            for turn in range(2 if wrap else 1):  # a row that wraps around is two runs
                low, high = _run(left, right, width, dx, turn, wrap)
                p = c * pixels + (y * width + low) * lanes
                q = c * pixels + (other * width + low + dx - turn * width) * lanes
                _multiply(to[(low - left) * lanes :], x1[p:], x2[q:], share, (high - low) * lanes)
    t[: (y1 - y0) * row] = 0


@compiled
def _multiply(to, one, two, share, n):
    for e in range(n):
        to[e] += share * one[e] * two[e]


@compiled
def _run(left, right, width, dx, turn, wrap):
    """Columns whose other pixel lies in the image (turn 0), or wraps around (turn 1)."""
    if not wrap:
        return left, right
    return (0, width - dx) if turn == 0 else (width - dx, width)


@compiled
def _load_pooled(height, width, dy, dx, wrap, k, t, pooled_k, pooled_t, lanes):
    y0, y1 = _range(height, dy, wrap)
    left, right = _range(width, dx, wrap)
    for y in range(y0, y1):
        other = y + dy - (height if y + dy >= height else 0)
        for x in range(left, right):
            beside = x + dx - (width if x + dx >= width else 0)
            at = ((y - y0) * (right - left) + x - left) * lanes
            of = ((y * width + x) * height * width + other * width + beside) * lanes
            for e in range(lanes):
                k[at + e] = pooled_k[of + e]
                t[at + e] = pooled_t[of + e]


@compiled
def _pool(height, width, high, wide, dy, dx, wrap, k, t, pooled_k, pooled_t, lanes):
    """Add a map to the means over windows of high × wide pixels; pixels that fill no window are
    left out.
    """
    y0, y1 = _range(height, dy, wrap)
    left, right = _range(width, dx, wrap)
    rows, columns = height // high, width // wide
    share = k.dtype.type(1 / (high * wide) ** 2)
    for y in range(y0, y1):
        other = y + dy - (height if y + dy >= height else 0)
        if max(y, other) >= rows * high:
            continue
        one, two = (y // high) * columns, (other // high) * columns
        for x in range(left, right):
            beside = x + dx - (width if x + dx >= width else 0)
            if max(x, beside) >= columns * wide:
                continue
            at = ((y - y0) * (right - left) + x - left) * lanes
            to = ((one + x // wide) * rows * columns + two + beside // wide) * lanes
            to_k, to_t = pooled_k[to : to + lanes], pooled_t[to : to + lanes]
            of_k, of_t = k[at : at + lanes], t[at : at + lanes]
            for e in range(lanes):
                to_k[e] += share * of_k[e]
            for e in range(lanes):
                to_t[e] += share * of_t[e]


@compiled
def _sum_all(area, share, k, to, lanes):
    """Add the sum of a map to one pixel, by halves, each a long loop; the map is lost."""
    while area > 1:
        half = (area + 1) // 2
        _add(k, k[half * lanes :], (area - half) * lanes)
        area = half
    for e in range(lanes):
        to[e] += k.dtype.type(share) * k[e]


@compiled
def _network(
    ops, values, loops, start, stop, dy, dx, wrap, k, t, kept, features1, features2, lanes
):
    """Run operations on the map of one displacement; dy and dx are those at the end."""
    for o in range(start, stop):
        op, val = ops[o], values[o]
        sy, sx = dy * op[12], dx * op[12]
        if op[0] == CONV:
            _convolve(op, val, sy, sx, wrap, k, t, kept[0, 0], kept[0, 1], lanes)
        elif op[0] == ACTIVATION:
            _activate(op, val, loops, sy, sx, wrap, k, t, features1, features2, lanes)
        else:
            y0, y1 = _range(op[4], sy, wrap)
            x0, x1 = _range(op[5], sx, wrap)
            area, slot_k, slot_t = (y1 - y0) * (x1 - x0) * lanes, kept[op[1], 0], kept[op[1], 1]
            if op[0] == SAVE:
                slot_k[:area], slot_t[:area] = k[:area], t[:area]
            elif op[0] == LOAD:
                k[:area], t[:area] = slot_k[:area], slot_t[:area]
            else:
                for e in range(area):
                    k[e] += slot_k[e]
                    t[e] += slot_t[e]


@compiled
def _fill(to, of, index, first, lanes):
    """Copy images into lanes: one image into all of them, or (index < 0) one each, from `first`
    on.
    """
    for p in range(of.shape[0]):
        if index >= 0:
            to[p * lanes : (p + 1) * lanes] = of[p, index]
        else:
            to[p * lanes : (p + 1) * lanes] = of[p, first : first + lanes]


@compiled
def run(
    ops,
    values,
    loops,
    segments,
    wrap,
    channels,
    slots,
    room,
    pooled_room,
    x1,
    x2,
    features1,
    features2,
    items,
    width,
    out_k,
    out_t,
):
    """Give NNGP and NTK of pairs of images.

    Parameters
    ----------
    ops, values, segments : arrays
        The program, see `program.py`.
    loops : int array
        Addresses of the activations' loops, see `duals.py`.
    wrap : bool
        Whether images are tori (circular padding).
    channels, slots, room, pooled_room : int
    x1, x2 : arrays (channels · pixels, images)
    features1, features2 : arrays (·, images)
    items : int array (m, 3)
        Row of x1, and first and last column of x2; row -1 pairs each image of x1 with the same one
        of x2.
    width : int
        Lanes at most.
    out_k, out_t : arrays (pixels at the end, rows, columns)
    """
    k, t = np.empty(room * width, x1.dtype), np.empty(room * width, x1.dtype)
    kept = np.empty((1 + slots, 2, room * width), x1.dtype)
    pooled = np.empty((2, 2, pooled_room * width), x1.dtype)
    lanes1, lanes2 = np.empty(len(x1) * width, x1.dtype), np.empty(len(x1) * width, x1.dtype)
    own1, own2 = (
        np.empty(len(features1) * width, x1.dtype),
        np.empty(len(features1) * width, x1.dtype),
    )
    for item in range(len(items)):
        row, first, last = items[item]
        lanes = last - first
        _fill(lanes1, x1, row, first, lanes)
        _fill(lanes2, x2, -1, first, lanes)
        _fill(own1, features1, row, first, lanes)
        _fill(own2, features2, -1, first, lanes)
        for s in range(len(segments)):
            (
                start,
                stop,
                height,
                across,
                high,
                wide,
                reach_y,
                reach_x,
                end,
                rows,
                window_y,
                window_x,
                ahead,
            ) = segments[s]
            to_k, to_t, of_k, of_t = (
                pooled[s % 2, 0],
                pooled[s % 2, 1],
                pooled[1 - s % 2, 0],
                pooled[1 - s % 2, 1],
            )
            to_k[: rows * rows * lanes] = 0
            to_t[: rows * rows * lanes] = 0
            around = wrap and reach_y + reach_x > 0
            for dy in range(
                0 if wrap else -reach_y, (high if around else 1) if wrap else reach_y + 1
            ):
                for dx in range(
                    0 if wrap else -reach_x, (wide if around else 1) if wrap else reach_x + 1
                ):
                    if s == 0:
                        _load_images(
                            channels,
                            height,
                            across,
                            dy * ahead,
                            dx * ahead,
                            wrap,
                            k,
                            t,
                            lanes1,
                            lanes2,
                            lanes,
                        )
                    else:
                        _load_pooled(
                            height, across, dy * ahead, dx * ahead, wrap, k, t, of_k, of_t, lanes
                        )
                    _network(
                        ops,
                        values,
                        loops,
                        start,
                        stop,
                        dy,
                        dx,
                        wrap,
                        k,
                        t,
                        kept,
                        own1,
                        own2,
                        lanes,
                    )
                    if end == POOL and not (window_y == high and window_x == wide):
                        _pool(high, wide, window_y, window_x, dy, dx, wrap, k, t, to_k, to_t, lanes)
                    elif end != END:
                        y0, y1 = _range(high, dy, wrap)
                        x0, x1_ = _range(wide, dx, wrap)
                        area = (y1 - y0) * (x1_ - x0)
                        share = (
                            1 / (high * wide) if end == FLATTEN else 1 / (window_y * window_x) ** 2
                        )
                        _sum_all(area, share, k, to_k, lanes)
                        _sum_all(area, share, t, to_t, lanes)
                    else:
                        for p in range(high * wide):
                            out_k[p, max(row, 0), first:last] = k[p * lanes : (p + 1) * lanes]
                            out_t[p, max(row, 0), first:last] = t[p * lanes : (p + 1) * lanes]
