"""Where the tasks of a sweep run: on this machine, as Slurm jobs, or in clouds.

What the tasks are, `plan` says; what came of them, `report` reads.
"""
