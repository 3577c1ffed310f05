"""Pools that one matrix in memory is too small for."""

from tutelage.scale.checkpoint import Checkpoint
from tutelage.scale.cost import SPARE, Cost, flops_per_second, free_memory, size
from tutelage.scale.engine import Inputs, Pool, Scale, Work, cluster
from tutelage.scale.landmarks import Landmarks
from tutelage.scale.source import Source, held_out, open_source
from tutelage.scale.tiled import TiledFactor, tiled_factor
from tutelage.scale.workers import Workers

__all__ = [
    "SPARE",
    "Checkpoint",
    "Cost",
    "Inputs",
    "Landmarks",
    "Pool",
    "Scale",
    "Source",
    "TiledFactor",
    "Work",
    "Workers",
    "cluster",
    "flops_per_second",
    "free_memory",
    "held_out",
    "open_source",
    "size",
    "tiled_factor",
]
