"""Reproduces the paper's tables: plans the runs behind them, starts them, and reports the results.

The commands are `launch.sweep`, `launch.tables` and `launch.benchmark`. Each task of a sweep is a
command of vgg_jax in a separate process.
"""

import sys

# Python imports this package before the module of `python -m launch.COMMAND`.
if sys.argv[:1] == ["-m"]:
    from vgg_jax.system import huge_pages, signals

    if huge_pages.begun_module().startswith("launch."):
        signals.handle()
        huge_pages.use("launch.benchmark")
