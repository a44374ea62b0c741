"""The columns of the report's tables, described once for the Markdown and the HTML file."""

import dataclasses
from collections.abc import Callable, Sequence

from launch.report.document import Line, Pair, Table
from launch.report.estimates import number, uncertainty
from launch.report.training_runs import Run


@dataclasses.dataclass(frozen=True)
class Cell:
    """The content of one column in one line.

    Attributes:
      text: A number; "" for none.
      beside: Texts that belong to the number, such as its interval.
      files: CSV files instead of a number: one path per seed, relative to the root.
    """

    text: str
    beside: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
      name: Its header.
      css_class: The class of its cells in page.css, such as "number".
      cell: Returns its cell, given the figures of a line.
      has_beside: Whether the page leaves room for texts beside its numbers.
    """

    name: str
    css_class: str
    cell: Callable[[Pair], Cell]
    has_beside: bool = False


@dataclasses.dataclass(frozen=True)
class Group:
    """The columns of one error, under one heading.

    Attributes:
      error: The name of the error: "top-1" or "top-5".
      figures: Returns the paper's figure of a line beside ours.
      columns: Its columns, from left to right.
      split: "test" for the error on the test split; "" for that on the validation split.
      is_plotted: Whether the page draws the figures before the columns.
    """

    error: str
    figures: Callable[[Line], Pair]
    columns: tuple[Column, ...]
    split: str = ""
    is_plotted: bool = True

    def heading(self, between: str) -> str:
        """Returns the error and the split, with the given text between them."""
        return between.join(filter(None, (self.error, self.split)))


def of(table: Table, seeds: int) -> tuple[Group, ...]:
    """Returns the columns of a table, to the right of its labels.

    Args:
      table: The table.
      seeds: How many seeds its figures should have.
    """
    signed = table.is_of_differences
    paper = Column("paper", "number theirs", lambda pair: _paper(pair, signed))
    ours = Column("ours", "number ours", lambda pair: _ours(pair, seeds, signed), has_beside=True)
    difference = Column(
        "diff.", "number less", lambda pair: Cell(number(pair.difference, signed=True))
    )
    columns = (paper, ours) if signed else (paper, ours, difference)
    groups = [Group("top-1", lambda line: line.top1, columns)]
    if table.has_top5:
        groups.append(Group("top-5", lambda line: line.top5, columns))
    if table.has_test:
        test = Group("top-5", lambda line: line.top5_test, (paper, ours), "test", is_plotted=False)
        groups.append(test)
    return tuple(groups)


def _paper(pair: Pair, signed: bool) -> Cell:
    return Cell(number(pair.paper, digits=1, signed=signed))


def _ours(pair: Pair, seeds: int, signed: bool) -> Cell:
    mean = number(pair.ours.mean if pair.ours else None, signed=signed)
    return Cell(mean, uncertainty(pair.ours, seeds, signed=signed), pair.predictions)


@dataclasses.dataclass(frozen=True)
class RunColumn:
    """A column of the table of training runs.

    Attributes:
      name: Its header.
      text: Returns the text of its cell, given a run.
      is_number: Whether it is aligned to the right. Such columns must follow all others.
    """

    name: str
    text: Callable[[Run], str]
    is_number: bool = False


OF_RUNS = (
    RunColumn("run", lambda run: run.name),
    RunColumn("net", lambda run: run.net),
    RunColumn("S", lambda run: run.train_scale),
    RunColumn("starts from", lambda run: run.starts_from),
    RunColumn("ended", lambda run: run.ended),
    RunColumn("commits", lambda run: ", ".join(run.trained) or "unknown"),
    RunColumn("evaluated at", lambda run: ", ".join(run.evaluated) or "unknown"),
    RunColumn("epochs", lambda run: number(run.epochs, digits=0), is_number=True),
    RunColumn("top-1", lambda run: number(run.top1), is_number=True),
    RunColumn("top-5", lambda run: number(run.top5), is_number=True),
)


def of_runs(runs: Sequence[Run]) -> tuple[RunColumn, ...]:
    """Returns the columns of the table of runs, without top-5 if no run has such an error."""
    has_top5 = any(run.top5 is not None for run in runs)
    return tuple(column for column in OF_RUNS if has_top5 or column.name != "top-5")
