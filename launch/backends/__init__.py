"""Where the tasks of a sweep run: on this machine, as Slurm jobs, or in clouds.

What the tasks are, `plan` says; what came of them, `report` reads. Each backend is a class in a
file of its own, and `registry` lists them.
"""
