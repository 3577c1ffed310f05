"""A network of images, as the operations that `compiled.py` runs."""

from dataclasses import dataclass, field

import numpy as np

from tutelage.exceptions import StudentError
from tutelage.kernels.activations import Activation
from tutelage.kernels.codes import (
    ACTIVATION,
    ADD,
    CONV,
    END,
    FLATTEN,
    LOAD,
    OPERATION,
    POOL,
    SAVE,
    SEGMENT,
)
from tutelage.kernels.layers import (
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    Normalise,
    Residual,
)


@dataclass(frozen=True)
class Use:
    """An activation where it stands: its operation, and where its features lie among those of
    all.
    """

    activation: Activation
    segment: int
    operation: int
    offset: int
    pixels: int


@dataclass
class Program:
    """Operations in segments, each ended by what mixes displacements; see `codes.py` for the
    columns.

    Attributes
    ----------
    ops, values : arrays (operations, ·)
        Integers, and weight_var and bias_var or an activation's constants.
    segments : array (segments, ·)
    uses : list of Use
    slots : int
        Maps kept for residual sums.
    wrap : bool
        Whether images are tori.
    """

    ops: np.ndarray
    values: np.ndarray
    segments: np.ndarray
    uses: list[Use]
    slots: int
    wrap: bool

    @property
    def pixels(self) -> int:
        """At the end of the last segment."""
        return int(self._column("height_out")[-1] * self._column("width_out")[-1])

    @property
    def room(self) -> int:
        """Pixels of the largest map."""
        sizes = [self._column("height") * self._column("width")]
        sizes += [
            self.ops[:, k] * self.ops[:, k + 1]
            for k in (OPERATION.index("height"), OPERATION.index("height_out"))
        ]
        return int(max(size.max(initial=1) for size in sizes))

    @property
    def pooled_room(self) -> int:
        """Pixel pairs of the largest pooled map."""
        return int(self._column("pixels").max() ** 2)

    def _column(self, name: str) -> np.ndarray:
        return self.segments[:, SEGMENT.index(name)]

    @property
    def features(self) -> int:
        """Rows of all activations' features."""
        return sum(use.activation.n_features * use.pixels for use in self.uses)

    def until(self, use: Use) -> "Program":
        """Give the part before an activation, which ends with the variances that it is applied
        to.
        """
        ops, segments = self.ops.copy(), self.segments[: use.segment + 1].copy()
        last, at = segments[-1], dict(zip(OPERATION, ops[use.operation], strict=True))
        own = slice(last[0], use.operation)
        # In this segment only displacement 0 is looked at, so that what is multiplied by is of no
        # account.
        ops[own, OPERATION.index("ahead")] = 1
        values = {
            "stop": use.operation,
            "height_out": at["height"],
            "width_out": at["width"],
            "end": END,
            "pixels": 1,
        }
        for name, value in values.items():
            last[SEGMENT.index(name)] = value
        return Program(ops, self.values, _with_reach(segments), self.uses, self.slots, self.wrap)

    @property
    def work(self) -> int:
        """Pixel pairs times operations, for one pair of images."""
        total = 0
        for segment in (dict(zip(SEGMENT, row, strict=True)) for row in self.segments.tolist()):
            reach_y, reach_x = segment["reach_y"], segment["reach_x"]
            displacements = segment["height_out"] * segment["width_out"]
            for row in self.ops[segment["start"] : segment["stop"]].tolist():
                op = dict(zip(OPERATION, row, strict=True))
                if self.wrap and reach_y + reach_x > 0:
                    total += op["height"] * op["width"] * displacements
                else:
                    ahead = op["ahead"]
                    total += _pairs(op["height"], reach_y, ahead) * _pairs(
                        op["width"], reach_x, ahead
                    )
        return total


def _pairs(size: int, reach: int, ahead: int) -> int:
    """Rows y and y + d·ahead of an image, for all |d| up to reach."""
    return sum(max(0, size - abs(d) * ahead) for d in range(-reach, reach + 1))


def program(layers: tuple[Layer, ...], height: int, width: int) -> Program:
    """Write the operations of a network for images of so many pixels.

    Raises
    ------
    StudentError
        If the layers do not fit the images, or each other.
    """
    builder = _Builder(height, width, wrap=_wraps(layers))
    builder.add(layers)
    builder.finish()
    segments = _with_reach(
        np.array([[s[name] for name in SEGMENT] for s in builder.segments], dtype=np.int64)
    )
    ops = np.array(
        [[op[name] for name in OPERATION] for op in builder.ops], dtype=np.int64
    ).reshape(-1, len(OPERATION))
    values = np.array(builder.values, dtype=np.float64).reshape(-1, 2)
    return Program(ops, values, segments, builder.uses, builder.slots, builder.wrap)


@dataclass
class _Builder:
    height: int
    width: int
    wrap: bool
    ops: list[dict[str, int]] = field(default_factory=list)
    values: list[tuple[float, float]] = field(default_factory=list)
    segments: list[dict[str, int]] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    slots: int = 0
    behind: int = 1  # strides since the segment's beginning
    fresh: bool = True  # before the first weights there is no tangent
    flat: bool = False

    def __post_init__(self) -> None:
        self._begin()

    def add(self, layers: tuple[Layer, ...]) -> None:
        for layer in layers:
            if self.flat and not isinstance(layer, Dense | Activation | Residual):
                raise StudentError(
                    f"A {type(layer).__name__} needs pixels, which the layers before it have taken"
                    " away."
                )
            if isinstance(layer, Conv):
                self._conv(layer)
            elif isinstance(layer, Dense):
                self._dense(layer)
            elif isinstance(layer, Activation):
                self._activation(layer)
            elif isinstance(layer, Residual):
                self._residual(layer)
            elif isinstance(layer, AvgPool):
                self._end(POOL, layer.window, layer.window)
            elif isinstance(layer, GlobalAvgPool | Flatten):
                self._end(
                    POOL if isinstance(layer, GlobalAvgPool) else FLATTEN, self.height, self.width
                )
                self.flat = True
            else:
                assert isinstance(layer, Normalise)

    def finish(self) -> None:
        if not self.flat:
            raise StudentError(
                "The network ends with an image; put a Flatten() or GlobalAvgPool() and a Dense()"
                " at its end."
            )
        self._close(END, 1, 0, 0)

    def _conv(self, layer: Conv) -> None:
        sizes = []
        for size in (self.height, self.width):
            room = size + layer.both - layer.kernel_size
            if room < 0:
                raise StudentError(
                    f"A window of {layer.kernel_size} × {layer.kernel_size} does not fit into"
                    f" images of {self.height} × {self.width}."
                )
            if self.wrap and (size % layer.stride or layer.kernel_size > size):
                raise StudentError(
                    f"On images of {self.height} × {self.width}, a circular convolution's stride"
                    f" must divide the size, and its window fit in; they were {layer.stride} and"
                    f" {layer.kernel_size}."
                )
            sizes.append(room // layer.stride + 1)
        self._weights(layer, sizes[0], sizes[1], layer.kernel_size, layer.stride, layer.left)

    def _dense(self, layer: Dense) -> None:
        if not self.flat:
            raise StudentError(
                "A Dense layer takes vectors, and these are images; put a Flatten() or"
                " GlobalAvgPool() before it."
            )
        self._weights(layer, 1, 1, 1, 1, 0)

    def _weights(
        self, layer: Conv | Dense, height: int, width: int, size: int, stride: int, left: int
    ) -> None:
        self.behind *= stride
        self._op(
            CONV,
            (layer.weight_var, layer.bias_var),
            height_out=height,
            width_out=width,
            size=size,
            stride=stride,
            left=left,
        )
        self.height, self.width, self.fresh = height, width, False

    def _activation(self, layer: Activation) -> None:
        offset = sum(use.activation.n_features * use.pixels for use in self.uses)
        pixels = self.height * self.width
        number = len(self.uses)
        self.uses.append(Use(layer, len(self.segments) - 1, len(self.ops), offset, pixels))
        self._op(
            ACTIVATION,
            layer.constants,
            argument=number,
            feature=offset,
            features=layer.n_features,
        )

    def _residual(self, layer: Residual) -> None:
        start, before, after = self._where, self._slot(), self._slot()
        self._op(SAVE, argument=before)
        self.add(layer.branch)
        end = self._where
        if layer.shortcut:
            self._op(SAVE, argument=after)
            self.height, self.width, self.behind, fresh = *start[:3], self.fresh
            self.fresh = start[3]
            self._op(LOAD, argument=before)
            self.add(layer.shortcut)
            start, self.fresh = self._where, self.fresh and fresh
        if start[:3] != end[:3]:
            raise StudentError(
                f"A residual sum's branch gives {end[0]} × {end[1]} pixels, and its shortcut"
                f" {start[0]} × {start[1]}; they must agree."
            )
        self._op(ADD, argument=after if layer.shortcut else before)

    @property
    def _where(self) -> tuple[int, int, int, bool]:
        return self.height, self.width, self.behind, self.fresh

    def _slot(self) -> int:
        self.slots += 1
        return self.slots

    def _op(self, code: int, values: tuple[float, float] = (0.0, 0.0), **columns: int) -> None:
        at = {
            "code": code,
            "height": self.height,
            "width": self.width,
            "fresh": int(self.fresh),
            "ahead": self.behind,
        }
        self.ops.append(dict.fromkeys(OPERATION, 0) | at | columns)
        self.values.append(values)

    def _begin(self) -> None:
        self.behind = 1
        self.segments.append(
            dict.fromkeys(SEGMENT, 0)
            | {"start": len(self.ops), "height": self.height, "width": self.width}
        )

    def _end(self, end: int, window_y: int, window_x: int) -> None:
        height, width = (
            (1, 1) if end == FLATTEN else (self.height // window_y, self.width // window_x)
        )
        if height * width == 0 or (self.wrap and (self.height % window_y or self.width % window_x)):
            fails = "divide" if self.wrap else "fit into"
            raise StudentError(
                f"A pooling window of {window_y} does not {fails} images of {self.height} ×"
                f" {self.width}."
            )
        self._close(end, height * width, window_y, window_x)
        self.height, self.width = height, width
        self._begin()

    def _close(self, end: int, pixels: int, window_y: int, window_x: int) -> None:
        last = self.segments[-1]
        last |= {
            "stop": len(self.ops),
            "height_out": self.height,
            "width_out": self.width,
            "end": end,
            "pixels": pixels,
            "window_y": window_y,
            "window_x": window_x,
            "ahead": self.behind,
        }
        for op in self.ops[last["start"] :]:
            op["ahead"] = self.behind // op["ahead"]


def _with_reach(segments: np.ndarray) -> np.ndarray:
    """Fill in which displacements are needed at the end of each segment, from the last one back."""
    column = {name: k for k, name in enumerate(SEGMENT)}
    reach = {"y": 0, "x": 0}
    for segment in segments[::-1]:
        for axis, size in (("y", "height_out"), ("x", "width_out")):
            if segment[column["end"]] == POOL:
                window = segment[column[f"window_{axis}"]]
                reach[axis] = min(window * reach[axis] + window - 1, segment[column[size]] - 1)
            else:
                reach[axis] = 0
            segment[column[f"reach_{axis}"]] = reach[axis]
            reach[axis] *= segment[column["ahead"]]
    return segments


def _wraps(layers: tuple[Layer, ...]) -> bool:
    """Whether images are tori: all convolutions pad alike, or not at all."""
    paddings = {
        layer.padding == "circular"
        for layer in _convolutions(layers)
        if layer.kernel_size * layer.stride > 1
    }
    if len(paddings) == 2:
        raise StudentError(
            "All convolutions of a network pad circularly, or none does; this one has both."
        )
    return paddings == {True}


def _convolutions(layers: tuple[Layer, ...]) -> list[Conv]:
    found = []
    for layer in layers:
        if isinstance(layer, Conv):
            found.append(layer)
        elif isinstance(layer, Residual):
            found += _convolutions((*layer.branch, *layer.shortcut))
    return found
