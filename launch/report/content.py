"""What the report says, before it is written as Markdown or HTML: the same numbers for both."""

import dataclasses
import shlex
from collections.abc import Iterable

from launch.plan import commands, paper
from launch.plan.paper import Comparison, Result, Row
from launch.plan.sweep_spec import Sweep
from launch.report import reading, training_runs
from launch.report.estimates import Estimate
from launch.report.reading import Results
from launch.report.training_runs import Run

TITLE = "Tables 3 to 7 of the paper, and ours"

ABOUT = (
    "Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, "
    "ICLR 2015."
)

IMAGENET = 50_000, 1_000  # Images of the validation split, and classes.


@dataclasses.dataclass(frozen=True)
class Pair:
    """A figure of the paper, in percent, beside ours."""

    paper: float | None
    ours: Estimate | None

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
      label: Of the row.
      top1, top5: Errors on the validation split, or differences of them.
      top5_test: On the test split; of Tables 6 and 7.
      predictions: Of unlabelled test images: CSV files, below the root, one a seed.
      topic: Of a comparison.
    """

    label: str
    top1: Pair
    top5: Pair
    top5_test: Pair = Pair(None, None)
    predictions: tuple[str, ...] = ()
    topic: str = ""


@dataclasses.dataclass(frozen=True)
class Remedy:
    """A command that fills empty cells.

    Attributes:
      purpose: What it does, as a sentence.
      command: For a shell.
      lacking: Why they are empty, a line each.
    """

    purpose: str
    command: str
    lacking: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper, or that of its comparisons.

    Attributes:
      title: Its heading.
      caption: What one sees.
      lines: Its rows.
      is_of_differences: Whether its figures are differences of errors.
      has_test: Whether it has the column of the test split.
      remedies: What fills its empty cells.
    """

    title: str
    caption: str
    lines: tuple[Line, ...]
    is_of_differences: bool
    has_test: bool
    remedies: tuple[Remedy, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """All of it.

    Attributes:
      warnings: What stands in the way of a comparison with the paper.
      findings: What the comparisons come to.
      legend: How to read a figure.
      seeds: How many there should be.
      facts: What all was made with.
      tables: 3 to 7.
      comparisons: The last table.
      runs: Those that are there.
    """

    warnings: tuple[str, ...]
    findings: str
    legend: str
    seeds: int
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    comparisons: Table
    runs: tuple[Run, ...]


def make(sweep: Sweep) -> Report:
    """Reads what a sweep has left.

    Raises:
      UserError: Evaluations are of images, labels or classes that differ.
    """
    found = reading.read(sweep)
    comparisons = _comparisons(found)
    return Report(
        _warnings(found),
        _findings(comparisons.lines),
        _legend(sweep.seeds),
        sweep.seeds,
        training_runs.facts(found),
        tuple(_table(found, number) for number in paper.TITLES),
        comparisons,
        tuple(training_runs.of(found)),
    )


def command(sweep: Sweep, tables: Iterable[int]) -> str:
    """Returns the command that makes tables as a sweep's are made."""
    flags = [f"--tables={','.join(map(str, sorted(tables)))}", f"--root={sweep.root}"]
    flags += ["--mini"] if sweep.mini else []
    flags += [f"--data={sweep.data}"] if sweep.data else []
    flags += [f"--seeds={sweep.seeds}"] if sweep.seeds > 1 else []
    flags += [f"--test_split={sweep.test_split}"] if sweep.test_split else []
    flags += ["--", *sweep.overrides] if sweep.overrides else []
    return shlex.join(["python", "-m", "launch.sweep", *flags])


def _table(found: Results, number: int) -> Table:
    sweep, rows = found.sweep, paper.rows([number])
    wanted = [row.result for row in rows if row.result]
    has_test = any(row.top5_test for row in rows)
    tested = [found.tested[result] for result in wanted if has_test and result in found.tested]
    caption = f"Top-1 and top-5 error on {found.split!r}, percent."
    if any(test.predictions for test in tested):
        caption += (
            f" The images of {sweep.test_split!r} have no labels here: the CSV files hold the "
            "predictions, for the ILSVRC server to tell the errors of."
        )
    lacking = _lacking(found, wanted, [line for test in tested for line in test.lacking])
    remedies = [Remedy("This makes what is missing:", command(sweep, [number]), lacking)]
    if has_test and not sweep.test_split:
        adding = dataclasses.replace(sweep, test_split="SPLIT")
        purpose = "This adds a test split's errors, or without labels its predictions:"
        remedies.append(Remedy(purpose, command(adding, [number])))
    return Table(
        f"Table {number}: {paper.TITLES[number]}",
        caption,
        tuple(_line(found, row, has_test) for row in rows),
        False,
        has_test,
        tuple(remedies if lacking else remedies[1:]),
    )


def _line(found: Results, row: Row, has_test: bool) -> Line:
    if row.result is None:
        return Line(
            row.label, Pair(row.top1, None), Pair(row.top5, None), Pair(row.top5_test, None)
        )
    tested = found.tested.get(row.result) if has_test else None
    predictions = tested.predictions if tested else ()
    return Line(
        row.label,
        Pair(row.top1, found.error(row.result, 1)),
        Pair(row.top5, found.error(row.result, 5)),
        Pair(row.top5_test, tested.top5 if tested else None),
        tuple(str(path.relative_to(found.sweep.root)) for path in predictions),
    )


def _comparisons(found: Results) -> Table:
    lines, lacking, tables = [], [], set()
    for comparison in paper.COMPARISONS:
        a, b = comparison.error_of, comparison.less
        row_a, row_b = _rows(comparison)
        top1, top5 = (
            Pair(round(of_paper, 1), found.difference(a, b, k))
            for k, of_paper in ((1, row_a.top1 - row_b.top1), (5, row_a.top5 - row_b.top5))
        )
        label = f"{row_a.label} less {row_b.label}"
        lines.append(Line(label, top1, top5, topic=comparison.topic))
        if top1.ours is None or top1.ours.seeds < found.sweep.seeds:
            lacking += [a, b]
            tables |= {row_a.table, row_b.table}
    caption = (
        "An error less another, in points: negative where the first is better. In brackets the 95% "
        "interval of a paired bootstrap over images, which says nothing of how another training "
        f"would differ{'; ± does' if found.sweep.seeds > 1 else ''}. The paper's errors are "
        "rounded to 0.1, and so its differences are good to 0.1."
    )
    if found.split == "held_out" and found.sweep.seeds > 1:
        caption += (
            " Each seed holds out images of its own; the bootstrap draws an image with all seeds "
            "that hold it out."
        )
    remedy = Remedy(
        "This makes what is missing:", command(found.sweep, tables), _lacking(found, lacking)
    )
    topics = [comparison.topic for comparison in paper.COMPARISONS]
    lines.sort(key=lambda line: topics.index(line.topic))
    return Table(
        "What the paper compares", caption, tuple(lines), True, False, (remedy,) if lacking else ()
    )


def _rows(comparison: Comparison) -> tuple[Row, Row]:
    """Finds the rows of both sides, of one table where there is such."""
    of_a, of_b = (
        {row.table: row for row in reversed(paper.ROWS) if row.result == result}
        for result in (comparison.error_of, comparison.less)
    )
    common = sorted(of_a.keys() & of_b.keys())
    if common:
        return of_a[common[0]], of_b[common[0]]
    return paper.row_of(comparison.error_of), paper.row_of(comparison.less)


def _lacking(found: Results, wanted: Iterable[Result], more: Iterable[str] = ()) -> tuple[str, ...]:
    """Says why cells are empty: "RUN: WHY", of several runs that lack the same one line."""
    lines = [
        line
        for result in wanted
        for seed in range(found.sweep.seeds)
        for line in found.lacking.get((result, seed), ())
    ]
    lacking: dict[str, dict[str, None]] = {}
    for line in (*lines, *more):
        run, _, why = line.partition(": ")
        lacking.setdefault(why, {})[run] = None
    return tuple(f"{', '.join(names)}: {why}" for why, names in lacking.items())


def _warnings(found: Results) -> tuple[str, ...]:
    warnings = []
    c = commands.data_config(found.sweep)
    if found.sweep.mini:
        warnings.append(
            f"These nets are miniatures: the paper's width times {c.width:g}, its crop, S and Q "
            f"times {c.crop_px}/224, so that Q = 256 means {c.val_scale} px."
        )
    size = {(len(seen.names), len(found.class_names)) for seen in found.seen.values()}
    if size and size != {IMAGENET}:
        warnings.append(
            "The images are not ImageNet's validation split: the differences from the paper's "
            "figures mean nothing, the comparisons among these runs do."
        )
    return tuple(warnings)


def _legend(seeds: int) -> str:
    if seeds == 1:
        return "Ours with its 95% interval over images (Wilson). Diff.: ours less the paper's."
    return (
        f"Ours: the mean over {seeds} seeds ± their standard deviation (of the sample); where one "
        "seed alone is there, its 95% interval over images (Wilson). Diff.: ours less the paper's."
    )


def _findings(lines: Iterable[Line]) -> str:
    """Says in how many comparisons the paper's direction shows."""
    pairs = [line.top1 for line in lines if line.top1.paper and line.top1.ours]
    if not pairs:
        return ""
    same = [pair for pair in pairs if pair.paper * pair.ours.mean > 0]
    clear = [pair for pair in pairs if not pair.ours.range[0] <= 0 <= pair.ours.range[1]]
    against = [pair for pair in clear if pair.paper * pair.ours.mean < 0]
    return (
        f"Of {len(pairs)} differences of top-1 error that the paper draws conclusions from, "
        f"{len(same)} have its sign here, {len(clear) - len(against)} of them with an interval "
        f"that leaves out 0; with such an interval {len(against) or 'none'} have the other sign."
    )
