"""Thumbnails of the samples on which teacher and label disagree."""

import base64
import struct
import zlib

import numpy as np

from tutelage.data.task import Taught

_LIMIT = 96  # pixels to a side; larger images are thinned


def thumbnail(task: Taught, index: int) -> str | None:
    """Give a pool input as a PNG data address, or None where inputs are no images."""
    x = task.image(index)
    image = None if x is None else _as_image(x)
    if image is None:
        return None
    step = max(1, -(-max(image.shape[:2]) // _LIMIT))
    image = image[::step, ::step].astype(float)
    low, high = image.min(), image.max()
    scaled = ((image - low) / (high - low or 1) * 255).round().astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(_png(scaled)).decode()


def _as_image(x: np.ndarray) -> np.ndarray | None:
    """An image (H, W, 1 or 3), from an image or from a vector that is a square number long."""
    if x.ndim == 3:
        return x if x.shape[-1] in (1, 3) else x[..., :1]
    if x.ndim == 2 and min(x.shape) > 1:
        return x[..., None]
    side = round(x.size**0.5)
    return x.reshape(side, side, 1) if x.ndim == 1 and side >= 8 and side * side == x.size else None


def _png(pixels: np.ndarray) -> bytes:
    height, width, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
