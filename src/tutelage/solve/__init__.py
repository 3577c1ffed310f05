"""Pools that one matrix in memory is too small for."""

from tutelage.solve.checkpoint import Checkpoint
from tutelage.solve.cost import SPARE, Cost, flops_per_second, free_memory, size
from tutelage.solve.landmarks import Landmarks
from tutelage.solve.pool import DensePool, Pool
from tutelage.solve.scale import Scale, Work, cluster
from tutelage.solve.tiled import TiledFactor, TiledPool, tiled_factor
from tutelage.solve.workers import Workers

__all__ = [
    "SPARE",
    "Checkpoint",
    "Cost",
    "DensePool",
    "Landmarks",
    "Pool",
    "Scale",
    "TiledFactor",
    "TiledPool",
    "Work",
    "Workers",
    "cluster",
    "flops_per_second",
    "free_memory",
    "size",
    "tiled_factor",
]
