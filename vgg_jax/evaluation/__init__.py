"""How the paper tests nets (§3.2): dense, multi-crop, several scales, fusion, in exact batches.

`evaluate` computes the posteriors of a run's images and keeps them; `trained_net` is the net for
users; each method of evaluation is a file of `methods`. Nothing here trains.
"""
