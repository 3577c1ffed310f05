"""What a claim's run leaves: a figure, its data, and a line that says what held."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tutelage.outputs import written


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, after it has been run.

    Attributes
    ----------
    name : str
        What `tutelage reproduce` calls it.
    says : str
        What the paper claims.
    verdict : str
        What held and what did not, with figures.
    held : bool
    data : DataFrame
        What the figure shows, one row a point.
    chart : altair chart
    """

    name: str
    says: str
    verdict: str
    held: bool
    data: pd.DataFrame
    chart: Any

    def save(self, folder: Path) -> None:
        """Write NAME.csv, NAME.png, NAME.svg and NAME.txt.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        with written(folder / f"{self.name}.csv") as partial:
            self.data.to_csv(partial, index=False)
        for kind in ("png", "svg"):
            with written(folder / f"{self.name}.{kind}") as partial:
                self.chart.save(str(partial), format=kind)
        with written(folder / f"{self.name}.txt") as partial:
            partial.write_text(f"{self.line}\n", encoding="utf-8")

    @property
    def line(self) -> str:
        """The claim and the verdict in one line."""
        return (
            f"{self.name}: {self.says} {'It held' if self.held else 'It did not hold as stated'}:"
            f" {self.verdict}"
        )
