"""The graph of what makes some of the paper's results: runs, evaluations, fusions, none twice.

Runs wait for the run that they start from (§3.1), evaluations for their run, fusions for their
evaluations.
"""

import dataclasses
import json
import pathlib
import shlex
from collections.abc import Iterable, Sequence
from typing import Literal

from ml_collections import ConfigDict

from launch.plan import paper
from launch.plan.paper import Part, Result
from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.evaluation import fusion, methods
from vgg_jax.evaluation.result_key import ResultKey, Variant
from vgg_jax.runs import config_files
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import config_flag

Kind = Literal["train", "evaluate", "fuse"]

# What the graph sets or rests upon.
OWN_KEYS = (
    *("name", "seed", "net", "train_scale", "val_scale", "init_from", "init_layers"),
    *("eval.method", "eval.scales"),
)


@dataclasses.dataclass(frozen=True)
class Task:
    """One command.

    Attributes:
      name: What other tasks, logs and jobs call it; below the root's seed folder, if any.
      kind: What it does.
      arguments: Behind `python`.
      waits_for: Names of the tasks that must have ended well before.
      result: The file that its end leaves.
      log: Where its output goes.
      workdir: Of the run; of a fusion the folder of its result.
    """

    name: str
    kind: Kind
    arguments: tuple[str, ...]
    waits_for: tuple[str, ...]
    result: Path
    log: pathlib.Path
    workdir: Path

    @property
    def command(self) -> str:
        """The whole command, for a shell."""
        return shlex.join(["python", *self.arguments])

    @property
    def config_file(self) -> str:
        """What --config names; of a fusion nothing."""
        given = [a for a in self.arguments if a.startswith("--config=")]
        return given[0].removeprefix("--config=") if given else ""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """How the paper's runs are made.

    Attributes:
      root: Folder of all workdirs; those of further seeds lie in seed_1, seed_2, ... within.
      mini: Whether each run is `configs/mini.py`'s of it.
      data: Folder with train/CLASS/ and val/CLASS/; "" for what the configs say.
      seeds: How many times all is made.
      overrides: `--config.KEY=VALUE` for all runs and evaluations.
      test_split: A split whose posteriors Tables 6 and 7 are to have too; "" for none.
    """

    root: Path
    mini: bool = False
    data: str = ""
    seeds: int = 1
    overrides: tuple[str, ...] = ()
    test_split: str = ""

    @classmethod
    def load(cls, root: Path) -> "Sweep":
        """Returns the last sweep of a root; where there was none, that of the plain configs."""
        file = root / "sweep.json"
        saved = json.loads(file.read_text()) if file.exists() else {}
        return cls(root, **saved | {"overrides": tuple(saved.get("overrides", ()))})

    def with_saved(self) -> "Sweep":
        """Returns this sweep with all that the report of its root is to have.

        A part that is made again, with fewer seeds or without the test split, takes nothing away.

        Raises:
          UserError: That of full-size runs is of miniatures now, or the other way round.
        """
        saved = Sweep.load(self.root)
        if saved.mini != self.mini and (self.root / "sweep.json").exists():
            raise UserError(
                f"The sweep in {self.root} is {'' if saved.mini else 'not '}--mini. Choose another "
                "--root."
            )
        return dataclasses.replace(
            self,
            seeds=max(self.seeds, saved.seeds),
            test_split=self.test_split or saved.test_split,
        )

    def save(self) -> None:
        """Writes what `load` reads."""
        values = {key: value for key, value in vars(self).items() if key != "root"}
        self.root.mkdir(parents=True, exist_ok=True)
        files.write_text(self.root / "sweep.json", json.dumps(values, indent=2) + "\n")

    def spec(self, run: str) -> str:
        """Returns what --config takes for a run of the paper."""
        return f"configs/mini.py:{run}" if self.mini else f"configs/{run}.py"

    @property
    def here(self) -> pathlib.Path:
        """The folder on this machine for logs and scripts: the root, unless that is a bucket."""
        return pathlib.Path("runs", self.root.name) if "://" in str(self.root) else self.root

    def folder(self, seed: int) -> Path:
        """Returns the folder of a seed's workdirs."""
        return self.root / f"seed_{seed}" if seed else self.root

    def workdir(self, run: str, seed: int) -> Path:
        """Returns the workdir of a run of the paper."""
        return self.folder(seed) / (f"{config_files.MINI}{run}" if self.mini else run)

    def scales(self, part: Part) -> tuple[int, ...]:
        """Returns Q of a part as these runs have it, px."""
        return tuple(map(config_files.mini().shrunk_px, part.scales)) if self.mini else part.scales

    def keys(self, seed: int) -> list[str]:
        """Returns the arguments that all commands of a seed share."""
        keys = []
        if self.data:
            keys += ["--config.data.name=folder", f"--config.data.dir={self.data}"]
            if not self.mini:
                keys += ["--config.num_classes=0", "--config.data.mean_rgb=()"]
        if seed:
            keys.append(f"--config.seed={seed}")
        return [*keys, *self.overrides]


def config_of(arguments: Iterable[str]) -> ConfigDict:
    """Returns the config that a command's arguments describe.

    Raises:
      UserError: They name no config, or no key of it.
    """
    return config_flag.parse_config([a for a in arguments if a.startswith("--config")])


def of_runs(names: Sequence[str]) -> list[Result]:
    """Lists what Tables 3 to 5 report of some runs; of others one dense evaluation.

    Raises:
      UserError: configs/ has no such run.
    """
    unknown = [name for name in names if name not in config_files.names()]
    if unknown:
        raise UserError(
            f"--runs names no run: {', '.join(unknown)}. "
            f"Choose from {', '.join(config_files.names())}."
        )
    results = []
    for name in names:
        found = [
            row.result
            for row in paper.rows([3, 4, 5])
            if row.result and [part.run for part in row.result.parts] == [name]
        ]
        val_scale = config_files.of_run(name)[1].val_scale
        results += found or [Result((Part(name, (val_scale,)),))]
    return results


def train_config(sweep: Sweep, run: str, seed: int) -> ConfigDict:
    """Returns the config of a run of the paper as a sweep makes it."""
    return config_of(_main(sweep, run, seed))


def tasks(sweep: Sweep, results: Iterable[Result]) -> list[Task]:
    """Lists what makes the results, each task behind those that it waits for.

    Args:
      sweep: How.
      results: Of `paper`.

    Raises:
      UserError: An override names no key, or one that is the sweep's own; or the test split is
        the one that runs are validated on.
    """
    results = list(dict.fromkeys(results))
    for override in sweep.overrides:
        key = override.removeprefix("--config.").partition("=")[0]
        if key in OWN_KEYS:
            raise UserError(f"{override}: {key} is the sweep's own, of each run another.")
    runs = _with_sources(part.run for result in results for part in result.parts)
    if sweep.test_split == data_settings.evaluated_split(train_config(sweep, "a_256", 0)):
        raise UserError(f"--test_split={sweep.test_split} is what the runs are validated on.")
    made = []
    for seed in range(sweep.seeds):
        made += [_train(sweep, run, seed) for run in runs]
        for split in ("", sweep.test_split)[: 2 if sweep.test_split else 1]:
            of_split = _on_test(results) if split else results
            evaluated = _evaluated(sweep, of_split)
            made += [
                _evaluate(sweep, run, method, tuple(sorted(scales)), seed, split)
                for (run, method), scales in evaluated.items()
            ]
            made += [
                _fuse(sweep, result, seed, split) for result in of_split if len(result.parts) > 1
            ]
    return made


def _with_sources(runs: Iterable[str]) -> list[str]:
    ordered: dict[str, None] = {}

    def add(run: str) -> None:
        source = config_files.of_run(run)[1].init_from
        if source != "none":
            add(source)
        ordered[run] = None

    for run in runs:
        add(run)
    return list(ordered)


def _on_test(results: Iterable[Result]) -> list[Result]:
    reported = {row.result for row in paper.rows([6, 7])}
    return [result for result in results if result in reported]


def _evaluated(sweep: Sweep, results: Iterable[Result]) -> dict[tuple[str, str], set[int]]:
    scales: dict[tuple[str, str], set[int]] = {}
    for result in results:
        for part in result.parts:
            for method in methods.singles(result.method):
                scales.setdefault((part.run, method), set()).update(sweep.scales(part))
    return scales


def _name(seed: int, *parts: str) -> str:
    return (f"seed_{seed}/" if seed else "") + "-".join(filter(None, parts))


def _log(sweep: Sweep, name: str) -> pathlib.Path:
    return sweep.here / "logs" / f"{name.replace('/', '-')}.log"


def _main(sweep: Sweep, run: str, seed: int, *more: str) -> tuple[str, ...]:
    where = (f"--config={sweep.spec(run)}", f"--workdir={sweep.workdir(run, seed)}")
    return ("-m", "vgg_jax.main", *where, *sweep.keys(seed), *more)


def _train(sweep: Sweep, run: str, seed: int) -> Task:
    name, workdir = _name(seed, run), sweep.workdir(run, seed)
    source = config_files.of_run(run)[1].init_from
    return Task(
        name,
        "train",
        _main(sweep, run, seed, "--config.eval.method=none"),
        () if source == "none" else (_name(seed, source),),
        workdir / "result.json",
        _log(sweep, name),
        workdir,
    )


def _evaluate(
    sweep: Sweep, run: str, method: str, scales: tuple[int, ...], seed: int, split: str
) -> Task:
    name, workdir = _name(seed, run, method, split), sweep.workdir(run, seed)
    flags = [f"--config.eval.method={method}", f"--config.eval.scales={_joined(scales)}"]
    if split:
        flags += [f"--config.data.val_split={split}", "--config.data.held_out=0"]
    arguments = _main(sweep, run, seed, "--mode=eval", *flags)
    return Task(
        name,
        "evaluate",
        arguments,
        (_name(seed, run),),
        ResultKey.from_config(config_of(arguments)).path(workdir),
        _log(sweep, name),
        workdir,
    )


def _fuse(sweep: Sweep, result: Result, seed: int, split: str) -> Task:
    runs = [part.run for part in result.parts]
    name = _name(seed, "+".join(runs), result.method, split)
    out = sweep.folder(seed) / "fused"
    c = train_config(sweep, runs[0], seed)
    variant = Variant.from_config(c)
    keys = {
        sweep.workdir(part.run, seed): ResultKey(
            split or data_settings.evaluated_split(c), result.method, sweep.scales(part), variant
        )
        for part in result.parts
    }
    flags = [f"--method={result.method}", f"--out={out}"]
    flags += [f"--split={split}"] if split else []
    flags += [f"--variant={variant.name}"] if variant.name else []
    return Task(
        name,
        "fuse",
        (
            *("-m", "vgg_jax.fuse"),
            *(f"{workdir}:{_joined(key.scales)}" for workdir, key in keys.items()),
            *flags,
        ),
        tuple(
            _name(seed, run, single, split)
            for run in runs
            for single in methods.singles(result.method)
        ),
        fusion.result_path(keys, out),
        _log(sweep, name),
        out,
    )


def _joined(scales: Iterable[int]) -> str:
    return ",".join(map(str, scales))
