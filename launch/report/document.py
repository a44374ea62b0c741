"""What a report consists of, before it is written as Markdown or HTML: the same for both."""

import dataclasses

from launch.report.estimates import Estimate
from launch.report.training_runs import Run

TITLE = "Tables 3 to 7 of the paper, and ours"

ABOUT = (
    "Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, "
    "ICLR 2015."
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A figure of the paper, in percent, beside ours.

    Attributes:
      paper: The paper's; None where it has none.
      ours: Ours; None where it is missing.
      predictions: CSV files of predictions where images have no labels, below the root, one a seed.
    """

    paper: float | None
    ours: Estimate | None
    predictions: tuple[str, ...] = ()

    @property
    def less(self) -> float | None:
        """Ours less the paper's."""
        if self.paper is None or self.ours is None:
            return None
        return self.ours.mean - self.paper


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a table, or a comparison.

    Attributes:
      label: What the row is called.
      top1, top5: Errors on the validation split, or differences of them.
      top5_test: The error on the test split, which Tables 6 and 7 have.
      topic: What a comparison is about; "" for a row of a table.
    """

    label: str
    top1: Pair
    top5: Pair
    top5_test: Pair = Pair(None, None)
    topic: str = ""


@dataclasses.dataclass(frozen=True)
class Remedy:
    """A command that fills empty cells.

    Attributes:
      purpose: What it does, as a sentence.
      command: The command, for a shell.
      lacking: Why they are empty, a line each.
    """

    purpose: str
    command: str
    lacking: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper, or that of its comparisons. `columns.of` says what columns it has.

    Attributes:
      title: Its heading.
      caption: What one sees.
      lines: Its rows.
      is_of_differences: Whether its figures are differences of errors.
      has_test: Whether it has figures of the test split.
      remedies: What fills its empty cells.
    """

    title: str
    caption: str
    lines: tuple[Line, ...]
    is_of_differences: bool = False
    has_test: bool = False
    remedies: tuple[Remedy, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    """All of it.

    Attributes:
      warnings: What stands in the way of a comparison with the paper.
      findings: What the comparisons come to.
      legend: How to read a figure.
      seeds: How many there should be.
      facts: What all was made with.
      tables: The paper's Tables 3 to 7.
      comparisons: The last table.
      runs: The training runs that are there.
    """

    warnings: tuple[str, ...]
    findings: str
    legend: str
    seeds: int
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    comparisons: Table
    runs: tuple[Run, ...]
