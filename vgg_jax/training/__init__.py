"""The recipe of §3.1, from a config and images to a finished workdir.

`train` sets a run up, `loop` steps through it, `step` is the pure function that is compiled. Whole
images and test scales are `evaluation`'s.
"""
