"""The version, said once: by the tag of the commit that was installed."""

from importlib.metadata import version

__version__ = version("tutelage")
