"""A cluster: each task a Slurm job that waits for others, and goes on after a preemption.

What is submitted is asked of Slurm alone, by jobs' names: it takes the number of a job that it has
forgotten for one that ended well. How a run ended, its workdir says.
"""

import dataclasses
import hashlib
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

from launch.backends import progress, scheduler
from launch.plan import finished
from launch.plan.graph import Sweep, Task
from vgg_jax.errors import UserError
from vgg_jax.storage import files

_SCRIPT = """\
#!/bin/bash
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120

echo "Job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, start $((${{SLURM_RESTART_COUNT:-0}} + 1))"
export PYTHONUNBUFFERED=1 TQDM_MININTERVAL="${{TQDM_MININTERVAL:-5}}"
export TQDM_ASCII="${{TQDM_ASCII:- #}}"  # srun mixes the nodes' output byte by byte.
# Since 22.05 srun doesn't take over --cpus-per-task.
srun --kill-on-bad-exit=1 ${{SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}} \\
    {command}
status=$?
if {done}; then exit 0; fi
if [ $status != 0 ] && [ $status != 143 ]; then exit $status; fi
# Stopped, but not by scancel or scontrol requeue, which end this shell too. A trap would keep it
# alive, and a job that then queues itself again can't be cancelled.
scontrol requeue "$SLURM_JOB_ID"
exit 75
"""


@dataclasses.dataclass(frozen=True)
class _Job:
    number: str
    state: str  # PENDING, RUNNING, COMPLETING, ...
    reason: str  # Why it is pending.


def submit(sweep: Sweep, tasks: Sequence[Task], nodes: int, options: str) -> None:
    """Submits what is neither done nor in Slurm's queue; prints how each task stands.

    Args:
      sweep: Whose tasks they are.
      tasks: See `graph.tasks`.
      nodes: A job's, for training and evaluation.
      options: More of sbatch's, as on its command line.

    Raises:
      UserError: Slurm isn't there or refuses a job, or another sweep is at work there.
    """
    more, by_name = _split(options), {task.name: task for task in tasks}
    with scheduler.locked(sweep.here):
        # In this order: what ends in between is done.
        sweep.save()
        jobs, done = _queued(), finished.done(tasks)
        (sweep.here / "slurm").mkdir(exist_ok=True)
        (sweep.here / "logs").mkdir(exist_ok=True)
        numbers: dict[str, str] = {}
        submitted: set[str] = set()
        for task in tasks:
            job = jobs.get(_job_name(sweep, task))
            if task.name in done:
                _print("done", task)
                continue
            script, text = _script_file(sweep, task), batch_script(task, by_name, nodes)
            if job and script.read_text() != text:
                raise UserError(
                    f"Job {job.number} in the queue makes {task.name} otherwise than this command. "
                    f"Give the same flags and overrides, or first: scancel {job.number}"
                )
            if job and job.state == "PENDING" and submitted & {*task.waits_for}:
                # It waits for a job that has failed, of which Slurm has yet to take notice.
                _call("scancel", "--quiet", job.number)
                job = None
            if job:
                numbers[task.name] = job.number
                waits = job.state == "PENDING"
                about = job.reason if waits else task.log
                _print("waits" if waits else "runs", task, f"job {job.number}, {about}")
                continue
            if task.log.exists() and not task.result.exists():
                _print("failed", task, f"see {task.log}: {progress.tail(task.log)}")
            files.write_text(script, text)
            after = [numbers[name] for name in task.waits_for if name not in done]
            printed = _call(*_sbatch(sweep, task, after, more))
            numbers[task.name] = printed.strip().partition(";")[0]  # ;CLUSTER may follow.
            submitted.add(task.name)
            _print("submitted", task, f"job {numbers[task.name]}")
    print(f"\nWhen they are done: python -m launch.tables --root={sweep.root}")


def preview(
    sweep: Sweep, tasks: Sequence[Task], done: Collection[str], nodes: int, options: str
) -> str:
    """Returns the sbatch commands and the scripts that `submit` would run and write.

    Jobs that are in the queue already aren't looked for. Arguments and `done`: as of `submit`, and
    the names of those that are done.

    Raises:
      UserError: The options are no shell words.
    """
    more, by_name = _split(options), {task.name: task for task in tasks}
    parts = []
    for task in tasks:
        if task.name in done:
            continue
        after = [f"ID_OF({name})" for name in task.waits_for if name not in done]
        command = _sbatch(sweep, task, after, more)
        parts.append(f"$ {shlex.join(command)}\n{batch_script(task, by_name, nodes)}")
    return "\n".join(parts)


def batch_script(task: Task, by_name: Mapping[str, Task], nodes: int) -> str:
    """Returns the script of a job, which ends well only once its task is done.

    Args:
      task: What it does.
      by_name: All tasks by their names.
      nodes: For training and evaluation: one process on each, with all its GPUs.
    """
    result = shlex.quote(str(task.result))
    # Of an evaluation or a fusion an older result may lie there; see `state`.
    sources = [] if task.kind == "train" else [by_name[name].result for name in task.waits_for]
    newer = [f"! [ {shlex.quote(str(source))} -nt {result} ]" for source in sources]
    return _SCRIPT.format(
        nodes=1 if task.kind == "fuse" else nodes,
        command=shlex.join([sys.executable, *task.arguments]),
        done=" && ".join([f"[ -e {result} ]", *newer]),
    )


def _split(options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError as error:
        raise UserError(f"--sbatch={options} are no words of a shell: {error}.") from error


def _sbatch(sweep: Sweep, task: Task, after: Iterable[str], options: Sequence[str]) -> list[str]:
    numbers = ":".join(after)
    return [
        *("sbatch", "--parsable", *options),
        f"--job-name={_job_name(sweep, task)}",
        f"--output={str(task.log).replace('%', '%%')}",
        *([f"--dependency=afterok:{numbers}", "--kill-on-invalid-dep=yes"] if numbers else []),
        str(_script_file(sweep, task)),
    ]


def _script_file(sweep: Sweep, task: Task) -> files.Path:
    return sweep.here / "slurm" / f"{task.log.stem}.sbatch"


def _job_name(sweep: Sweep, task: Task) -> str:
    # Another root's jobs are others.
    root = hashlib.sha256(str(sweep.here.resolve()).encode()).hexdigest()[:8]
    return f"{task.log.stem}.{root}"


def _queued() -> dict[str, _Job]:
    lines = _call("squeue", "--me", "--noheader", "--format=%i|%T|%r|%j").splitlines()
    fields = [line.split("|", 3) for line in lines]
    return {name: _Job(number, state, reason) for number, state, reason, name in fields}


def _print(state: str, task: Task, about: str = "") -> None:
    print(f"{state:<10}{task.name:<24}  {about}".rstrip(), flush=True)


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
