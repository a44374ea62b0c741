"""Fills the report of a sweep: its tables, the comparisons, and what is missing."""

import dataclasses
from collections.abc import Iterable, Sequence

from launch.plan import commands, paper
from launch.plan.paper import Comparison, Result, Row
from launch.plan.sweep_spec import Sweep
from launch.report import reading, training_runs
from launch.report.document import Line, Pair, Remedy, Report, Table
from launch.report.reading import Found
from vgg_jax.counted import counted
from vgg_jax.data.settings import HELD_OUT
from vgg_jax.data.specs import IMAGENET, canonical_name

_IMAGENET_SIZE = 50_000, 1_000  # The number of images in its validation split, and of classes.

_MAKES_MISSING = "This command makes what is missing:"


def make(sweep: Sweep) -> Report:
    """Makes the report of a sweep from the files in its root.

    Raises:
      UserError: The images, labels or classes of the evaluations differ, or images have no labels.
    """
    found = reading.read(sweep)
    comparisons = _comparisons(found)
    return Report(
        warnings=_warnings(found),
        findings=_findings(comparisons.lines),
        legend=_legend(sweep.seeds),
        seeds=sweep.seeds,
        facts=training_runs.facts(found),
        tables=tuple(_table(found, number) for number in paper.TITLES),
        comparisons=comparisons,
        runs=tuple(training_runs.of(found)),
    )


def _table(found: Found, number: int) -> Table:
    sweep, rows = found.sweep, paper.rows([number])
    wanted = [row.result for row in rows if row.result]
    has_test = any(row.top5_test for row in rows)
    tested = [found.tested[result] for result in wanted if has_test and result in found.tested]
    errors = "Top-1 and top-5 error" if found.has_top5 else "Top-1 error"
    caption = f"{errors} on {found.split!r}, percent."
    if not found.has_top5:
        caption += f" With {len(found.class_names)} classes, the top-5 error is always 0."
    if any(test.predictions for test in tested):
        caption += (
            f" The images of {sweep.test_split!r} have no labels here: the CSV files hold the "
            "predictions, whose errors the ILSVRC server computes."
        )
    lacking = _lacking(found, wanted, [line for test in tested for line in test.lacking])
    remedies = [Remedy(_MAKES_MISSING, sweep.command([number]), lacking)]
    if has_test and not sweep.test_split:
        adding = dataclasses.replace(sweep, test_split="SPLIT")
        purpose = "This command adds the errors on a test split, or its predictions without labels:"
        remedies.append(Remedy(purpose, adding.command([number])))
    return Table(
        f"Table {number}: {paper.TITLES[number]}",
        caption,
        tuple(_line(found, row, has_test) for row in rows),
        has_top5=found.has_top5,
        has_test=has_test,
        remedies=tuple(remedies if lacking else remedies[1:]),
    )


def _line(found: Found, row: Row, has_test: bool) -> Line:
    if row.result is None:
        return Line(
            row.label,
            top1=Pair(row.top1, None),
            top5=Pair(row.top5, None),
            top5_test=Pair(row.top5_test, None),
        )
    tested = found.tested.get(row.result) if has_test else None
    predictions = tested.predictions if tested else ()
    names = tuple(str(path.relative_to(found.sweep.root)) for path in predictions)
    return Line(
        row.label,
        top1=Pair(row.top1, found.error(row.result, 1)),
        top5=Pair(row.top5, found.error(row.result, 5)),
        top5_test=Pair(row.top5_test, tested.top5 if tested and found.has_top5 else None, names),
    )


def _comparisons(found: Found) -> Table:
    lines, lacking, tables = [], [], set()
    for comparison in paper.COMPARISONS:
        row_a, row_b = _rows(comparison)
        line = Line(
            f"{row_a.label} less {row_b.label}",
            top1=_difference(found, comparison, 1, row_a.top1 - row_b.top1),
            top5=_difference(found, comparison, 5, row_a.top5 - row_b.top5),
            topic=comparison.topic,
        )
        lines.append(line)
        if line.top1.ours is None or line.top1.ours.seeds < found.sweep.seeds:
            lacking += [comparison.error_of, comparison.less]
            tables |= {row_a.table, row_b.table}
    topics = [comparison.topic for comparison in paper.COMPARISONS]
    lines.sort(key=lambda line: topics.index(line.topic))
    remedy = Remedy(_MAKES_MISSING, found.sweep.command(tables), _lacking(found, lacking))
    return Table(
        "What the paper compares",
        _comparisons_caption(found),
        tuple(lines),
        is_of_differences=True,
        has_top5=found.has_top5,
        remedies=(remedy,) if lacking else (),
    )


def _difference(found: Found, comparison: Comparison, k: int, of_paper: float) -> Pair:
    ours = found.difference(comparison.error_of, comparison.less, k)
    return Pair(round(of_paper, 1), ours)


def _comparisons_caption(found: Found) -> str:
    caption = (
        "Each figure is one error less another, in percentage points; it is negative if the first "
        "is better. The brackets hold the 95% interval of a paired bootstrap over images, which "
        "doesn't show how another training would "
        f"differ{'; ± does' if found.sweep.seeds > 1 else ''}. The paper's errors are rounded to "
        "0.1, so its differences may be off by 0.1."
    )
    if found.split == HELD_OUT and found.sweep.seeds > 1:
        caption += (
            " Each seed holds out images of its own; the bootstrap draws an image with all seeds "
            "that hold it out."
        )
    return caption


def _rows(comparison: Comparison) -> tuple[Row, Row]:
    """Returns the rows of both sides, from the same table if one has both."""
    of_a, of_b = (
        {row.table: row for row in reversed(paper.ROWS) if row.result == result}
        for result in (comparison.error_of, comparison.less)
    )
    common = sorted(of_a.keys() & of_b.keys())
    if common:
        return of_a[common[0]], of_b[common[0]]
    return paper.row_of(comparison.error_of), paper.row_of(comparison.less)


def _lacking(found: Found, wanted: Iterable[Result], more: Iterable[str] = ()) -> tuple[str, ...]:
    """Returns why cells are empty: a line "RUN, RUN: WHY" for all runs that lack the same."""
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


def _warnings(found: Found) -> tuple[str, ...]:
    warnings = []
    c = commands.data_config(found.sweep)
    if found.sweep.mini:
        warnings.append(
            f"These nets are miniatures: the paper's width times {c.width:g}, its crop, S and Q "
            f"times {c.crop_px}/224, so that Q = 256 means {c.val_scale} px."
        )
    size = {(len(seen.names), len(found.class_names)) for seen in found.seen.values()}
    # The held-out images may be as many as those of ImageNet's validation split.
    if size and (size != {_IMAGENET_SIZE} or found.split == HELD_OUT):
        warnings.append(
            "The images are not ImageNet's validation split: the differences from the paper's "
            "figures mean nothing, the comparisons among these runs do."
        )
    for first, others in training_runs.trained_on_others(found):
        form = ", or are another form of them" if canonical_name(c.data.name) == IMAGENET else ""
        warnings.append(
            f"The training images of {', '.join(others)} differ from those of {first}{form}: "
            "train_fingerprint in result.json is another. The nets alone then don't explain "
            "how their errors differ."
        )
    return tuple(warnings)


def _legend(seeds: int) -> str:
    if seeds == 1:
        return "Ours with its 95% interval over images (Wilson). Diff.: ours less the paper's."
    return (
        f"Ours: the mean over {seeds} seeds ± their sample standard deviation; if only one seed is "
        "there, its 95% interval over images (Wilson). Diff.: ours less the paper's."
    )


def _findings(lines: Iterable[Line]) -> str:
    """Returns sentences that say how many comparisons have the paper's sign."""
    pairs = [line.top1 for line in lines if line.top1.paper and line.top1.ours]
    if not pairs:
        return ""
    same = [pair for pair in pairs if pair.paper * pair.ours.mean > 0]
    opposite = [pair for pair in pairs if pair.paper * pair.ours.mean < 0]
    sentences = [
        f"The paper draws conclusions from {counted(len(pairs), 'differences')} of top-1 error "
        "that can be computed here.",
        _of_sign(same, "the paper's"),
        _of_sign(opposite, "the opposite"),
    ]
    zero = len(pairs) - len(same) - len(opposite)
    if zero:
        sentences.append(f"{zero} {'is' if zero == 1 else 'are'} 0.")
    return " ".join(filter(None, sentences))


def _of_sign(pairs: Sequence[Pair], sign: str) -> str:
    """Returns a sentence about the comparisons that have a sign; "" if there are none."""
    clear = sum(not pair.ours.range[0] <= 0 <= pair.ours.range[1] for pair in pairs)
    if len(pairs) == 1:
        return f"1 has {sign} sign, and its interval {'leaves out' if clear else 'contains'} 0."
    if pairs:
        return f"{len(pairs)} have {sign} sign; the interval leaves out 0 for {clear or 'none'}."
    return ""
