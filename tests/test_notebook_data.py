"""The files that notebooks read: small, and still readable by the report."""

import numpy as np
import small_runs

from launch.plan.sweep_spec import Sweep
from launch.report import reading

FOLDER = small_runs.ROOT / "notebooks/data"


def test_the_files_stay_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1e6


def test_the_report_reads_every_kept_run():
    sweep = Sweep.load(FOLDER / "sweep")
    kept = {path.parent for path in FOLDER.rglob("config.json")}
    read = {*reading.read(sweep).made_by}
    assert read == kept


def test_every_net_was_tested_on_the_same_images_at_the_same_scales():
    with np.load(FOLDER / "scales.npz") as kept:
        keys = [key.split("/") for key in kept.files if "/" in key]
        by_net = {net: {q for of, q in keys if of == net and "+" not in q} for net, _ in keys}
        assert len(by_net) == 3
        assert len({frozenset(scales) for scales in by_net.values()}) == 1
        for key in kept.files:
            assert len(kept[key]) == len(kept["names"])
