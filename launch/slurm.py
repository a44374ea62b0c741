"""A cluster: each task a Slurm job that waits for others, and goes on after a preemption.

A job that is preempted or meets its time limit has saved; the run goes on when Slurm starts it
again, on any number of nodes.
"""

import getpass
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence

from launch import state
from launch.graph import Sweep, Task
from vgg_jax import files
from vgg_jax.errors import UserError


def submit(sweep: Sweep, tasks: Sequence[Task], nodes: int, options: str) -> None:
    """Submits what is missing and not submitted yet; prints each job.

    Args:
      sweep: Whose tasks they are.
      tasks: See `graph.tasks`.
      nodes: A job's, for training and evaluation.
      options: More of sbatch's, as on its command line.

    Raises:
      UserError: Slurm isn't there, or refuses a job.
    """
    folder = sweep.here / "slurm"
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    (sweep.here / "logs").mkdir(exist_ok=True)
    known_file = folder / "jobs.json"
    known: dict[str, str] = json.loads(known_file.read_text()) if known_file.exists() else {}
    queued, done = _queued(), state.done(tasks)
    ids = {name: job for name, job in known.items() if job in queued}
    for task in tasks:
        if task.name in done:
            print(f"done     {task.name}")
            continue
        if task.name not in ids:
            script = folder / f"{_job_name(task)}.sbatch"
            files.write_text(script, batch_script(task, nodes, options))
            waits = [ids[name] for name in task.waits_for if name not in done]
            ids[task.name] = _call(*_sbatch(waits), str(script)).strip().partition(";")[0]
            # After each: should a later one be refused, these are known.
            files.write_text(known_file, json.dumps(ids, indent=2) + "\n")
        print(f"{ids[task.name]:<9}{task.name}  {task.log}", flush=True)
    print(f"\nWhen they are done: python -m launch.tables --root={sweep.root}")


def preview(sweep: Sweep, tasks: Sequence[Task], nodes: int, options: str) -> str:
    """Returns the sbatch commands and the scripts that `submit` would run and write."""
    parts = []
    for task in tasks:
        command = shlex.join(_sbatch([f"ID_OF({name})" for name in task.waits_for]))
        script = sweep.here / "slurm" / f"{_job_name(task)}.sbatch"
        parts.append(f"$ {command} {script}\n{batch_script(task, nodes, options)}")
    return "\n".join(parts)


def batch_script(task: Task, nodes: int, options: str) -> str:
    """Returns the script of a job."""
    on = ["--nodes=1"] if task.kind == "fuse" else [f"--nodes={nodes}"]
    directives = [
        f"--job-name={_job_name(task)}",
        *on,
        "--ntasks-per-node=1",
        f"--output={shlex.quote(str(task.log))}",
        "--open-mode=append",
        "--requeue",
        "--signal=TERM@120",  # Seconds before the time limit: it saves.
        *shlex.split(options),
    ]
    result = shlex.quote(str(task.result))
    lines = ["#!/bin/bash", *(f"#SBATCH {directive}" for directive in directives), ""]
    command = shlex.join([sys.executable, *task.arguments])
    if task.kind == "fuse":
        return "\n".join([*lines, command, ""])
    lines += [
        f"srun --kill-on-bad-exit=1 {command} || exit",
        "# Stopped before its end, it has saved, and goes on when Slurm starts this job again.",
        f'if [ ! -e {result} ]; then scontrol requeue "$SLURM_JOB_ID"; sleep 60; exit 1; fi',
        "",
    ]
    return "\n".join(lines)


def _sbatch(waits_for: Sequence[str]) -> list[str]:
    after = [f"--dependency=afterok:{':'.join(waits_for)}"] if waits_for else []
    return ["sbatch", "--parsable", *after, *(["--kill-on-invalid-dep=yes"] if after else [])]


def _queued() -> set[str]:
    return {*_call("squeue", "--noheader", "--user", getpass.getuser(), "--format=%A").split()}


def _call(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(
            f"The command {command[0]} isn't there: this machine submits to no Slurm. Try "
            "--backend=local, or print the jobs: --dry_run."
        ) from error
    if done.returncode:
        raise UserError(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def _job_name(task: Task) -> str:
    return task.name.replace("/", "-")
