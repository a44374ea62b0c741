"""The content of a report, from which both the Markdown and the HTML file are written."""

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
    """A figure of the paper beside ours, in percent.

    Attributes:
      paper: The paper's figure; None if it gives none.
      ours: Our figure; None if it is missing.
      predictions: CSV files of predictions if the images have no labels: one path per seed,
        relative to the root.
    """

    paper: float | None
    ours: Estimate | None
    predictions: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """Our figure less the paper's; None if one is missing."""
        if self.paper is None or self.ours is None:
            return None
        return self.ours.mean - self.paper


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a table, or a comparison.

    Attributes:
      label: The row's name.
      top1, top5: Errors on the validation split, or differences of errors.
      top5_test: The error on the test split, which only Tables 6 and 7 have.
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
      purpose: What the command does, as a sentence.
      command: The command, for a shell.
      lacking: Lines that say why the cells are empty.
    """

    purpose: str
    command: str
    lacking: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper, or the table of its comparisons. `columns.of` returns its columns.

    Attributes:
      title: Its heading.
      caption: The text that says what its figures are.
      lines: Its rows.
      is_of_differences: Whether its figures are differences of errors.
      has_top5: Whether it has top-5 errors; of few classes they say nothing.
      has_test: Whether it has figures of the test split.
      remedies: The commands that fill its empty cells.
    """

    title: str
    caption: str
    lines: tuple[Line, ...]
    is_of_differences: bool = False
    has_top5: bool = True
    has_test: bool = False
    remedies: tuple[Remedy, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
      warnings: Reasons why our figures can't be compared with the paper's.
      findings: A summary of the comparisons; "" if there are none.
      legend: How to read a figure.
      seeds: How many seeds each figure should have.
      facts: How the results were made, as pairs of a name and a text.
      tables: The paper's Tables 3 to 7.
      comparisons: The table of comparisons.
      runs: The training runs that exist.
    """

    warnings: tuple[str, ...]
    findings: str
    legend: str
    seeds: int
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    comparisons: Table
    runs: tuple[Run, ...]
