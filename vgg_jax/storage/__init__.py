"""Files that are either complete or absent, on a disk or in a bucket, and file locks.

A run writes all its files through this package, except the checkpoints, which Orbax writes. What
the files mean is known only to the packages above.
"""
