"""Reproduces the paper's tables: plans the runs behind them, starts them, and reports the results.

The commands are `launch.sweep`, `launch.tables` and `launch.benchmark`. Each task of a sweep is a
command of vgg_jax in a separate process.
"""
