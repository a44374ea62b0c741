"""The settings of a sweep: its folders, its scales, and the overrides for all runs."""

import dataclasses
import pathlib
import shlex
from collections.abc import Iterable
from typing import Any

from launch.plan.paper import Part
from vgg_jax.errors import UserError
from vgg_jax.runs import config_files
from vgg_jax.storage import files, sealed_json
from vgg_jax.storage.files import Path


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The settings with which a sweep makes the paper's runs.

    Attributes:
      root: The folder of all workdirs; the workdirs of further seeds lie in its folders seed_1,
        seed_2, ...
      mini: Whether each run is the miniature that `configs/mini.py` makes of it.
      data: The folder that holds train/CLASS/ and val/CLASS/, or a CSV file of images, FILE.csv;
        "" for the data of the configs.
      seeds: How many times everything is made, each time with another seed.
      overrides: Arguments `--config.KEY=VALUE` for all runs and evaluations.
      test_split: Another split on which the results of Tables 6 and 7 are evaluated; "" for none.
    """

    root: Path
    mini: bool = False
    data: str = ""
    seeds: int = 1
    overrides: tuple[str, ...] = ()
    test_split: str = ""

    @classmethod
    def load(cls, root: Path) -> "Sweep":
        """Returns the sweep that was last saved in a root, or else one with default settings."""
        file = cls(root).file
        if not file.exists():
            return cls(root)
        return sealed_json.read(
            file,
            lambda saved: cls(root, **_checked(saved)),
            "Restore it from a copy, or remove it; launch.sweep then writes it again.",
        )

    def with_saved(self) -> "Sweep":
        """Returns this sweep, extended by the seeds and the test split of the saved one.

        The report of the root then loses nothing if a part of it is made again with fewer seeds or
        without the test split.

        Raises:
          UserError: One of the sweeps is of miniatures and the other of full-size runs.
        """
        saved = Sweep.load(self.root)
        if saved.mini != self.mini and self.file.exists():
            raise UserError(
                f"The sweep in {self.root} was made {'with' if saved.mini else 'without'} --mini. "
                "Choose another --root."
            )
        return dataclasses.replace(
            self,
            seeds=max(self.seeds, saved.seeds),
            test_split=self.test_split or saved.test_split,
        )

    def save(self) -> None:
        """Writes the file that `load` reads."""
        values = {key: value for key, value in vars(self).items() if key != "root"}
        self.root.mkdir(parents=True, exist_ok=True)
        sealed_json.write(self.file, values)

    @property
    def file(self) -> Path:
        """The file in the root that keeps the settings."""
        return self.root / "sweep.json"

    @property
    def is_in_bucket(self) -> bool:
        """Whether the root lies in a bucket, not on a disk."""
        return files.in_bucket(self.root)

    @property
    def has_csv_data(self) -> bool:
        """Whether the data are a CSV file, not a folder: their name ends in .csv."""
        return self.data.lower().endswith(".csv")

    @property
    def local_folder(self) -> pathlib.Path:
        """The folder on this machine for logs and scripts: the root, unless that is a bucket."""
        return pathlib.Path("runs", self.root.name) if self.is_in_bucket else self.root

    def log(self, task: str) -> pathlib.Path:
        """Returns the log file of a task, given the task's name."""
        return self.local_folder / "logs" / f"{task.replace('/', '-')}.log"

    def folder(self, seed: int) -> Path:
        """Returns the folder that holds a seed's workdirs."""
        return self.root / f"seed_{seed}" if seed else self.root

    def fused(self, seed: int) -> Path:
        """Returns the folder of a seed's fusions."""
        return self.folder(seed) / "fused"

    def workdir(self, run: str, seed: int) -> Path:
        """Returns the workdir of a run of the paper."""
        return self.folder(seed) / (f"{config_files.MINI}{run}" if self.mini else run)

    def scales(self, part: Part) -> tuple[int, ...]:
        """Returns the test scales Q of a part, in px, shrunk if the runs are miniatures."""
        if not self.mini:
            return part.scales
        crop_px = config_files.of_run(part.run)[1].crop_px  # The quickstart's is small already.
        return tuple(config_files.mini().shrunk_px(px, crop_px) for px in part.scales)

    def config_file(self, run: str) -> str:
        """Returns the value of --config for a run of the paper."""
        return f"configs/mini.py:{run}" if self.mini else f"configs/{run}.py"

    def config_overrides(self, seed: int) -> list[str]:
        """Returns the arguments --config.KEY=VALUE that all commands of a seed share."""
        overrides = []
        if self.data:
            source = "csv" if self.has_csv_data else "folder"
            overrides += [f"--config.data.name={source}", f"--config.data.dir={self.data}"]
            if not self.mini:
                overrides += ["--config.num_classes=0"]
        if seed:
            overrides.append(f"--config.seed={seed}")
        return [*overrides, *self.overrides]

    def command(self, tables: Iterable[int]) -> str:
        """Returns the shell command that makes some tables with this sweep's settings."""
        flags = [f"--tables={','.join(map(str, sorted(tables)))}", f"--root={self.root}"]
        flags += ["--mini"] if self.mini else []
        flags += [f"--data={self.data}"] if self.data else []
        flags += [f"--seeds={self.seeds}"] if self.seeds > 1 else []
        flags += [f"--test_split={self.test_split}"] if self.test_split else []
        flags += ["--", *self.overrides] if self.overrides else []
        return shlex.join(["python", "-m", "launch.sweep", *flags])


def _checked(saved: dict[str, Any]) -> dict[str, Any]:
    kinds = {"mini": bool, "data": str, "seeds": int, "overrides": list, "test_split": str}
    sealed_json.require_types(saved, {key: kinds[key] for key in saved})
    return saved | {"overrides": tuple(map(str, saved.get("overrides", ())))}
