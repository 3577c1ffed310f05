"""Inputs, tasks and what reads them."""

from tutelage.data.inputs import Inputs
from tutelage.data.part import Part, decide
from tutelage.data.preprocessing import Preprocessing
from tutelage.data.task import Task

__all__ = ["Inputs", "Part", "Preprocessing", "Task", "decide"]
