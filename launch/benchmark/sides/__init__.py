"""The processes that a benchmark starts, each of which measures one side and prints JSON.

`python -m launch.benchmark.sides.NAME` takes its settings as JSON on stdin. A
module whose name begins with torch or pillow is a peer, and imports no JAX.
"""
