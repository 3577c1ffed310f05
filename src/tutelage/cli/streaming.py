"""`tutelage stream`."""

from pathlib import Path
from typing import Annotated

import typer
import xarray as xr
from rich.console import Console
from rich.table import Table

from tutelage import lab
from tutelage._curves import SOFT_RATIOS, TEMPERATURES, save_curves
from tutelage._stream import stream
from tutelage.cli.app import app
from tutelage.cli.options import Quiet, bars, numbers
from tutelage.exceptions import SettingError
from tutelage.outputs import check_writable
from tutelage.scale import open_source


@app.command("stream")
def stream_command(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="A folder of .npy files, a .zarr group or a .parquet file, in random order.",
        ),
    ],
    student: Annotated[
        str, typer.Option(metavar="SPEC", help="Of infinite width: mlp:depth=3, cnn:depth=2.")
    ] = "mlp",
    soft_ratio: Annotated[str, typer.Option(metavar="ρ,ρ,…")] = ",".join(
        f"{v:g}" for v in SOFT_RATIOS
    ),
    temperature: Annotated[str, typer.Option(metavar="T,T,…")] = ",".join(
        f"{v:g}" for v in TEMPERATURES
    ),
    t_power: Annotated[
        int, typer.Option(metavar="0|2", help="Power of T before the teacher's term.")
    ] = 2,
    sizes: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Sample sizes; by default log-spaced.")
    ] = None,
    features: Annotated[
        int, typer.Option(metavar="D", help="Of the kernel, those of the first D samples.")
    ] = 4096,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a running Dask cluster.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for stream.nc.")] = Path(
        "tutelage-stream"
    ),
    quiet: Quiet = False,
) -> None:
    """Error, agreement and expected risk for pools of any size, in one pass over their files."""
    ratios, temperatures = (
        numbers(soft_ratio, "--soft-ratio", float),
        numbers(temperature, "--temperature", float),
    )
    size_list = None if sizes is None else numbers(sizes, "--sizes", int)
    kernel = lab.student(student)
    if isinstance(kernel, lab.TorchStudent):
        raise SettingError(
            f"A stream is for closed forms, such as mlp or cnn; the student was {student}."
        )
    check_writable(out)
    with bars(quiet) as progress:
        found = stream(
            open_source(task),
            kernel,
            ratios,
            temperatures,
            t_power,
            size_list,
            features,
            scheduler=scheduler,
            progress=progress,
        )
    save_curves(found, out / "stream.nc")
    if not quiet:
        console = Console(highlight=False)
        console.print(_table(found))
        console.print(_agreement(found))
        if copied := found.attrs["in_test_too"]:
            console.print(
                f"warning: {copied:,} samples of the pool are held out, too, or are copies of such:"
                " errors are too low by what they add. Drop copies, or give a test part that is"
                " not in the pool.",
                style="yellow",
            )
        console.print(f"Curves: {(out / 'stream.nc').resolve()}", soft_wrap=True)


def _table(found: xr.Dataset) -> Table:
    """At each size the setting of least error, or of least disagreement where there are no
    labels.
    """
    measure = "error" if "error" in found else "transfer_risk"
    table = Table(
        "samples", "soft ratio", "temperature", "error", "≠ teacher", "expected risk", box=None
    )
    for n in found.n.values.tolist():
        at = found.sel(n=n).stack(setting=("soft_ratio", "temperature"))
        best = at.isel(setting=int(at[measure].values.argmin()))
        shown = [
            f"{100 * float(best[k]):.1f} %" if k in best else ""
            for k in ("error", "transfer_risk", "expected_transfer_risk")
        ]
        table.add_row(
            f"{n:,}", f"{float(best.soft_ratio):g}", f"{float(best.temperature):g}", *shown
        )
    return table


def _agreement(found: xr.Dataset) -> str:
    off = [
        f"{what} by at most {100 * found.attrs[f'apart_{name}']:.2f}"
        for name, what in (("error", "error"), ("transfer_risk", "agreement"))
        if f"apart_{name}" in found.attrs
    ]
    return (
        f"At {found.attrs['exact_at']:,} samples, where the exact path ran too,"
        f" {' and '.join(off)} percentage points off."
    )
