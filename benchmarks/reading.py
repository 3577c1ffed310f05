"""How fast tables are read, and in what memory.

    python benchmarks/reading.py [--rows 50000]

Writes images of 28 × 28 numbers with ten teacher logits as parquet and by `save_to_disk`, and reads
each by tutelage and by its own library alone, to arrays (CPU seconds of the best of three); then
streams parquet of so many rows, and of four times as many, each in a process of its own, and prints
the most memory that each had.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import tutelage as tu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument(
        "--stream", type=Path, help="Plan this table in features, and say the memory."
    )
    arguments = parser.parse_args()
    if arguments.stream is not None:
        streamed(arguments.stream)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.rows)


def measure(folder: Path, rows: int) -> None:
    """Both formats, and the memory of streams."""
    write(folder / "pool.parquet", rows)
    datasets.Dataset.from_parquet(
        str(folder / "pool.parquet"), cache_dir=str(folder / "cache")
    ).save_to_disk(folder / "saved")
    for name, alone in (("pool.parquet", parquet), ("saved", arrow)):
        own, plain = (
            seconds(lambda name=name, read=read: read(folder / name))
            for read in (read_columns, alone)
        )
        print(f"{name}: {rows:,} rows in {own:.2f} CPU s, {own / plain:.2f} × its library alone")
    whole = seconds(lambda: tu.Task.load(folder / "pool.parquet"), 1)
    print(f"pool.parquet as a checked task: {whole:.2f} CPU s")
    write(folder / "large.parquet", 4 * rows)
    for name in ("pool.parquet", "large.parquet"):
        command = [sys.executable, __file__, "--stream", folder / name]
        subprocess.run([str(c) for c in command], check=True)


def write(path: Path, rows: int) -> None:
    """In row groups of 5,000, with the default compression."""
    rng, writer = np.random.default_rng(0), None
    for _ in range(rows // 5000):
        x = rng.normal(size=(5000, 784)).astype(np.float32)
        z = x[:, :10] + 0.1 * x[:, 10:20]
        columns = {
            "x": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 784),
            "label": pa.array(z.argmax(1)),
            "teacher_logits": pa.FixedSizeListArray.from_arrays(pa.array(z.ravel()), 10),
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def read_columns(path: Path) -> None:
    """The arrays of a task, before they are checked."""
    from tutelage.data.columns import arguments  # noqa: PLC0415 (private)
    from tutelage.data.tables import tables_at  # noqa: PLC0415 (private)

    arguments(tables_at(path))


def parquet(path: Path) -> None:
    """By pyarrow alone."""
    _to_arrays(pq.read_table(path))


def arrow(path: Path) -> None:
    """By datasets alone."""
    _to_arrays(datasets.load_from_disk(str(path)).with_format("arrow")[:])


def _to_arrays(table: pa.Table) -> None:
    for column in table.columns:
        values = column.combine_chunks()
        values = values.flatten() if hasattr(values.type, "value_type") else values
        np.array(values.to_numpy(zero_copy_only=False))


def seconds(read: Callable[[], None], times: int = 3) -> float:
    found = []
    for _ in range(times):
        started = time.process_time()
        read()
        found.append(time.process_time() - started)
    return min(found)


def streamed(path: Path) -> None:
    source = tu.open_source(path)
    grid = {"soft_ratio": [0.5, 1.0], "temperature": [1.0], "dtype": "float32"}
    tu.plan(source, features=500, **grid)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{source.n:,} rows streamed through 500 features: {taken:.2f} GiB in all")


if __name__ == "__main__":
    main()
