"""What a workdir holds of a run: its config, its checkpoints, and the run that it starts from.

Training writes it and evaluation reads it; neither is known here. The config files of this project
are found here too, by the names of their runs.
"""
