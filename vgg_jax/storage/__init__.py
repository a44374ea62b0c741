"""Files on a disk or in a bucket that are there whole or not at all, and locks on them.

Whatever is written of a run goes through here. What the files mean, the packages above know.
"""
