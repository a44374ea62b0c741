"""The training runs of a sweep, and what they and their evaluations were made with."""

import dataclasses
import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from launch.plan import commands
from launch.report.estimates import number
from launch.report.reading import Results
from vgg_jax.runs import config_files, run_config
from vgg_jax.storage import files

CAPTION = "The errors are of centre crops at the end of training, in percent."

HEADER = ("run", "net", "S", "starts from", "ended", "commits", "evaluated at")
NUMBERS = ("epochs", "top-1", "top-5")


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
      name: Of its workdir, below the root.
      net: Of Table 1.
      train_scale: S, px.
      starts_from: A run, or random weights.
      epochs: None of a run that hasn't ended, as of the two errors.
      top1, top5: On centre crops, at its end, in percent.
      trained, evaluated: Commits.
      ended: Date.
    """

    name: str
    net: str
    train_scale: str
    starts_from: str
    epochs: int | None
    top1: float | None
    top5: float | None
    trained: tuple[str, ...]
    evaluated: tuple[str, ...]
    ended: str

    @property
    def texts(self) -> tuple[str, ...]:
        """Its cells below HEADER."""
        commits = (", ".join(commits) or "unknown" for commits in (self.trained, self.evaluated))
        return self.name, self.net, self.train_scale, self.starts_from, self.ended, *commits

    @property
    def numbers(self) -> tuple[str, ...]:
        """Its cells below NUMBERS."""
        return (
            number(self.epochs, digits=0),
            number(self.top1),
            number(self.top5),
        )


def of(found: Results) -> Iterator[Run]:
    """Yields the training runs of a sweep that are there."""
    sweep = found.sweep
    for seed in range(sweep.seeds):
        for name in config_files.names():
            workdir = sweep.workdir(name, seed)
            c = run_config.load(workdir)
            if c is None:
                continue
            file, low, high = workdir / "result.json", *c.train_scale
            result: Mapping[str, Any] = json.loads(file.read_text()) if file.exists() else {}
            last = result.get("last", {})
            ended_s = files.modified_s(file) if result else None
            evaluated = [made_by.get("commit") for made_by in found.made_by.get(workdir, [])]
            yield Run(
                str(workdir.relative_to(sweep.root)),
                c.net,
                f"{low}" if low == high else f"[{low};{high}]",
                "random" if c.init_from == "none" else c.init_from,
                last.get("epoch"),
                last.get("top1_error"),
                last.get("top5_error"),
                tuple(result.get("commits", ())),
                tuple(dict.fromkeys(filter(None, evaluated))),
                datetime.datetime.fromtimestamp(ended_s, datetime.UTC).strftime("%Y-%m-%d")
                if ended_s is not None
                else "not ended",
            )


def facts(found: Results) -> tuple[tuple[str, str], ...]:
    """Returns what all was made with, by what it is called."""
    sweep, c = found.sweep, commands.data_config(found.sweep)
    counts = sorted({len(seen.names) for seen in found.seen.values()})
    images = " or ".join(f"{count:,}" for count in counts)
    leaves = [leaf for made_by in found.made_by.values() for leaf in made_by]
    named = [
        ("data", " ".join(filter(None, (c.data.name, c.data.dir)))),
        (
            "images",
            f"{images} of {found.split!r}, {len(found.class_names):,} classes" if counts else "",
        ),
        ("seeds", str(sweep.seeds)),
        ("settings", " ".join(sweep.overrides)),
        ("evaluated on", _distinct(leaves, "devices")),
        ("JAX", _distinct(leaves, "jax")),
    ]
    return tuple((name, text) for name, text in named if text)


def _distinct(made_by: Iterable[Mapping[str, Any]], key: str) -> str:
    return ", ".join(dict.fromkeys(str(made[key]) for made in made_by if made.get(key)))
