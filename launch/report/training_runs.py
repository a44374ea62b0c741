"""The training runs of a sweep, and the data, settings and devices behind the report."""

import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from launch.plan import commands, paper
from launch.report.reading import Found
from vgg_jax.data.settings import HELD_OUT
from vgg_jax.errors import UserError
from vgg_jax.nets.label_rank import has_top5
from vgg_jax.runs import config_files, run_config, run_result
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

CAPTION = "The errors are of centre crops at the end of training, in percent."


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
      name: Its workdir, relative to the root.
      net: The name of its architecture, for example D.
      train_scale: The training scale S, in px: "256", or "[256;512]" with scale jittering.
      starts_from: The run that it starts from, or "random".
      epochs: How many epochs it was trained for; None before its end.
      top1, top5: Errors on centre crops at its end, in percent; None before its end. With five
        classes or fewer, there is no top-5 error.
      trained, evaluated: The git commits that trained it, and those that evaluated it.
      ended: The date of its end, "imported", "not ended" or "damaged result.json".
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


def of(found: Found) -> Iterator[Run]:
    """Yields the training runs of a sweep that exist."""
    sweep = found.sweep
    for seed in range(sweep.seeds):
        for name in config_files.names():
            workdir = sweep.workdir(name, seed)
            c = run_config.load(workdir)
            if c is None:
                continue
            result, ended = _result(workdir)
            last = result.get("last", {})
            tells = has_top5(result.get("num_classes", 1000))
            evaluated = [made_by.get("commit") for made_by in found.made_by.get(workdir, [])]
            yield Run(
                name=str(workdir.relative_to(sweep.root)),
                net=c.net,
                train_scale=paper.train_scale(c),
                starts_from="random" if c.init_from == "none" else c.init_from,
                epochs=last.get("epoch"),
                top1=last.get("top1_error"),
                top5=last.get("top5_error") if tells else None,
                trained=tuple(result.get("commits", ())),
                evaluated=tuple(dict.fromkeys(filter(None, evaluated))),
                ended=ended,
            )


def facts(found: Found) -> tuple[tuple[str, str], ...]:
    """Returns how the results were made, as pairs of a name and a text."""
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


def trained_on_others(found: Found) -> Iterator[tuple[str, list[str]]]:
    """Yields the names of a run and of those that were trained on other images than it.

    If each seed holds out images of its own, the runs of each seed are compared, else all.
    """
    fingerprints: dict[Path | None, dict[str, str]] = {}
    for workdir in found.made_by:
        result, _ = _result(workdir)
        if "train_fingerprint" in result:  # Imported nets and old results have none.
            group = workdir.parent if found.split == HELD_OUT else None
            name = str(workdir.relative_to(found.sweep.root))
            fingerprints.setdefault(group, {})[name] = result["train_fingerprint"]
    for of_runs in fingerprints.values():
        first = next(iter(of_runs))
        others = [name for name, it in of_runs.items() if it != of_runs[first]]
        if others:
            yield first, others


def _result(workdir: Path) -> tuple[Mapping[str, Any], str]:
    """Returns a run's result, which may be empty, and how or when the run ended."""
    try:
        result = run_result.read(workdir)
    except UserError:  # One damaged file doesn't stop the report; the run itself names it.
        return {}, "damaged result.json"
    if result is None:
        return {}, "not ended"
    if "imported" in result:
        return result, "imported"
    return result, _date(files.modified_s(run_result.path(workdir)))


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d")


def _distinct(made_by: Iterable[Mapping[str, Any]], key: str) -> str:
    return ", ".join(dict.fromkeys(str(made[key]) for made in made_by if made.get(key)))
