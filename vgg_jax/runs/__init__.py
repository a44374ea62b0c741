"""The contents of a workdir: a run's config, its checkpoints, and the run that it starts from.

Training writes a workdir and evaluation reads it, but this package knows neither of them. It also
finds the config files of this project by the names of their runs.
"""
