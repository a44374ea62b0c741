"""Where the tasks of a sweep run: on this machine, as Slurm jobs, or in clouds.

`plan` defines the tasks, and `report` reads their results. Each backend is a class in its own file,
and `registry` lists them.
"""
