"""The paper's tables: the runs behind them, planned, started somewhere, and reported.

The commands are `launch.sweep`, `launch.tables` and `launch.benchmark`. Each task of a sweep is a
command of vgg_jax, in a process of its own.
"""
