"""The paper's evaluation of nets (§3.2): dense, multi-crop, several scales and fusion.

An image has the same posteriors in a batch as alone. `evaluate` computes the posteriors of a run's
images and saves them; `trained_net` is the net for users; each method of evaluation is a file of
`methods`. Nothing here trains.
"""
