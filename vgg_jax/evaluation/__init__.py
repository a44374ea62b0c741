"""The paper's evaluation of nets (§3.2): dense, multi-crop, several scales and fusion.

An image's posteriors don't depend on the batch that it is in. `evaluate` computes the posteriors of
a run's images and saves them; `loading` opens the net for users; each method of evaluation is a
file of `methods`. Nothing here trains.
"""
