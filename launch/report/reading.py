"""Reads from a sweep's files which images the nets of each seed get wrong."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tqdm import tqdm

from launch.plan import commands, paper
from launch.plan.paper import Result
from launch.plan.sweep_spec import Sweep
from launch.report import estimates
from launch.report.estimates import Estimate, Seen
from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.evaluation import fusion, posteriors, topk
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.result_key import ResultKey, Variant
from vgg_jax.nets.label_rank import has_top5
from vgg_jax.runs import run_config
from vgg_jax.storage import files

TOPS = (1, 5)


@dataclasses.dataclass(frozen=True)
class Tested:
    """A result on the sweep's test split, as far as its files exist.

    Attributes:
      top5: The top-5 error if the images have labels, else None.
      predictions: CSV files of the most probable classes, one per seed, if they have no labels.
      lacking: Lines that say which run lacks what.
    """

    top5: Estimate | None
    predictions: tuple[files.Path, ...]
    lacking: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Found:
    """The results of a sweep that exist, on the split that its runs are validated on.

    Attributes:
      sweep: The settings of the sweep.
      split: The split's name.
      seen: Which images are wrong, by result and seed.
      lacking: Why a result is missing, by result and seed: lines that say which run lacks what.
      class_names: The classes of the images; empty if no result exists.
      tested: The results of Tables 6 and 7 on the test split; empty without such a split.
      made_by: How the files that were read were made, by workdir: see `posteriors.Posteriors`.
    """

    sweep: Sweep
    split: str
    seen: Mapping[tuple[Result, int], Seen]
    lacking: Mapping[tuple[Result, int], tuple[str, ...]]
    class_names: tuple[str, ...]
    tested: Mapping[Result, Tested]
    made_by: Mapping[files.Path, list[Mapping[str, Any]]]

    @property
    def has_top5(self) -> bool:
        """Whether there are so many classes, if they are known, that a top-5 error can occur."""
        return not self.class_names or has_top5(len(self.class_names))

    def error(self, result: Result, k: int) -> Estimate | None:
        """Returns a result's top-k error over the seeds that have it; None if none has it."""
        of_seeds = [seen for (of, _), seen in self.seen.items() if of == result]
        return estimates.error(of_seeds, k)

    def difference(self, result: Result, less: Result, k: int) -> Estimate | None:
        """Returns a top-k error less another over the seeds that have both; None if none has."""
        of_seeds = [
            (self.seen[result, seed], self.seen[less, seed])
            for seed in range(self.sweep.seeds)
            if (result, seed) in self.seen and (less, seed) in self.seen
        ]
        return estimates.difference(of_seeds, k)


def read(sweep: Sweep) -> Found:
    """Reads the posteriors of the paper's results that exist.

    Raises:
      UserError: The images, labels or classes of the evaluations differ on a split, or images that
        aren't of the test split have no labels.
    """
    reader = _Reader(sweep, data_settings.evaluated_split(commands.data_config(sweep)))
    reader.read(row.result for row in paper.ROWS if row.result)
    tested: dict[Result, Tested] = {}
    if sweep.test_split:
        of_test = _Reader(sweep, sweep.test_split, allow_unlabelled=True)
        reported = dict.fromkeys(row.result for row in paper.rows([6, 7]) if row.result)
        of_test.read(reported)
        tested = {result: of_test.tested(result) for result in reported}
    return Found(
        sweep=sweep,
        split=reader.split,
        seen=reader.seen,
        lacking=reader.lacking,
        class_names=next((about.class_names for _, about in reader.first.values()), ()),
        tested=tested,
        made_by=reader.made_by,
    )


def _lacking(
    sweep: Sweep, result: Result, seed: int, keys: Mapping[files.Path, ResultKey]
) -> tuple[str, ...]:
    lines = []
    for part, (workdir, key) in zip(result.parts, keys.items(), strict=True):
        name = _name(sweep, workdir)
        if run_config.load(workdir) is None:
            lines.append(f"{name}: not trained")
            continue
        differing = run_config.differences(commands.train_config(sweep, part.run, seed), workdir)
        if differing:
            otherwise = "; ".join(line.strip() for line in differing.splitlines())
            lines.append(f"{name}: trained with other settings than this sweep's ({otherwise})")
            continue
        try:
            lacks = fusion.missing(workdir, key)
        except UserError as error:  # A damaged file doesn't stop the report.
            lines.append(f"{name}: {error}")
            continue
        lines += [f"{name}: {key.split!r}, {lack}" for lack in lacks]
    return tuple(lines)


def _name(sweep: Sweep, workdir: files.Path) -> str:
    return str(workdir.relative_to(sweep.root))


class _Reader:
    """Reads a split's results, one after another.

    Attributes:
      first: The first evaluation read, which all others must match: the name of its workdir, and
        its posteriors without the values. There is one for each seed if each seed holds out images
        of its own, else only one, under 0.
      predictions: CSV files of the most probable classes of unlabelled images, by result and seed.
    """

    def __init__(self, sweep: Sweep, split: str, *, allow_unlabelled: bool = False) -> None:
        self.split = split
        self.seen: dict[tuple[Result, int], Seen] = {}
        self.predictions: dict[tuple[Result, int], files.Path] = {}
        self.lacking: dict[tuple[Result, int], tuple[str, ...]] = {}
        self.made_by: dict[files.Path, list[Mapping[str, Any]]] = {}
        self.first: dict[int, tuple[str, Posteriors]] = {}
        self._sweep, self._allow_unlabelled = sweep, allow_unlabelled
        self._variant = Variant.from_config(commands.data_config(sweep))

    def read(self, wanted: Iterable[Result]) -> None:
        """Adds each seed of each result to `seen` or `predictions`, or what it lacks to `lacking`.

        Raises:
          UserError: See `read` of the module.
        """
        wanted = dict.fromkeys(wanted)
        for seed in range(self._sweep.seeds):
            for result in tqdm(
                wanted, desc=f"reading seed {seed}", unit=" results", leave=False, disable=None
            ):
                self._read(result, seed)

    def tested(self, result: Result) -> Tested:
        """Returns what was read of a result."""
        of_seeds = [(result, seed) for seed in range(self._sweep.seeds)]
        return Tested(
            estimates.error([self.seen[of] for of in of_seeds if of in self.seen], 5),
            tuple(self.predictions[of] for of in of_seeds if of in self.predictions),
            tuple(line for of in of_seeds for line in self.lacking.get(of, ())),
        )

    def _read(self, result: Result, seed: int) -> None:
        keys = commands.result_keys(self._sweep, result, seed, self.split, self._variant)
        lacking = _lacking(self._sweep, result, seed, keys)
        parts: dict[str, Posteriors] = {}
        for workdir, key in () if lacking else keys.items():
            try:
                loaded = fusion.read_run(workdir, key)
            except UserError as error:  # Files of two trainings don't stop the report.
                lacking += (f"{_name(self._sweep, workdir)}: {error}",)
                continue
            if loaded is None:
                lacking += (f"{_name(self._sweep, workdir)}: trained further meanwhile",)
                continue
            parts[str(workdir)] = self._like_first(str(workdir), loaded, seed)
            files_of = loaded.made_by.get("average_of", {"": loaded.made_by})
            self.made_by.setdefault(workdir, []).extend(files_of.values())
        if lacking:
            self.lacking[result, seed] = lacking
            return
        mean = posteriors.average(parts)
        if not mean.is_labelled:
            out = self._sweep.fused(seed)
            fusion.fuse(keys, out)  # The sweep doesn't average two methods of one net.
            self.predictions[result, seed] = fusion.result_path(keys, out).with_suffix(".csv")
            return
        wrong = {k: topk.wrong(mean.values, mean.labels, k) for k in TOPS}
        self.seen[result, seed] = Seen(mean.names, mean.labels, wrong)

    def _like_first(self, name: str, loaded: Posteriors, seed: int) -> Posteriors:
        """Returns posteriors in the order of the first that were read, after comparing both."""
        if not loaded.is_labelled and not self._allow_unlabelled:
            raise UserError(
                f"{name} was evaluated on images without labels ({self.split!r}), so there are no "
                "errors. Sweep with a labelled split, and name the other one with --test_split."
            )
        about = dataclasses.replace(loaded, values=loaded.values[:, :0].copy())
        of = seed if self.split == data_settings.HELD_OUT else 0
        first_name, first = self.first.setdefault(of, (name, about))
        if name == first_name:
            name += " at other Q"
        return posteriors.alike({first_name: first, name: loaded}, "compared")[name]
