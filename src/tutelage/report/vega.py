"""The JavaScript that draws the charts, so that a report opens without a network."""

import os
from functools import cache
from pathlib import Path

import vl_convert

from tutelage.exceptions import OutputError
from tutelage.outputs import written


@cache
def bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script.

    Putting it together takes over a second, so that it is kept in the user's cache folder
    (``$XDG_CACHE_HOME`` or ``~/.cache``), under the version that it is of.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = (
        root
        / "tutelage"
        / f"vega-{vl_convert.get_vega_version()}-{vl_convert.get_vega_embed_version()}.js"
    )
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        script: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    try:
        with written(path) as partial:
            partial.write_text(script, encoding="utf-8")
    except OutputError:
        pass  # no cache folder to write to: it is put together anew each time
    return script
