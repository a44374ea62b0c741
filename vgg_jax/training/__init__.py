"""The recipe of §3.1, from a config and images to a finished workdir.

`train` sets a run up, `loop` goes through its steps, and `step` has the pure functions that are
compiled. Whole images and test scales belong to `evaluation`.
"""
