"""Pools that one matrix in memory is too small for."""

from tutelage.scale.checkpoint import Checkpoint
from tutelage.scale.engine import Cost, Pool, Scale, Work
from tutelage.scale.tiled import TiledFactor, Workers, tiled_factor

__all__ = ["Checkpoint", "Cost", "Pool", "Scale", "TiledFactor", "Work", "Workers", "tiled_factor"]
