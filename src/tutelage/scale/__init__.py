"""Pools that one matrix in memory is too small for."""

from tutelage.scale.checkpoint import Checkpoint
from tutelage.scale.engine import Cost, Inputs, Pool, Scale, Work, cluster
from tutelage.scale.landmarks import Landmarks
from tutelage.scale.source import Source, held_out, open_source
from tutelage.scale.tiled import TiledFactor, tiled_factor
from tutelage.scale.workers import Workers

__all__ = [
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
    "held_out",
    "open_source",
    "tiled_factor",
]
