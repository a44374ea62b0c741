"""Slurm clusters: each task is a job that waits for others and goes on after a preemption.

Jobs in the queue are found by their names. Their numbers aren't saved between calls, because Slurm
takes the number of a job that it has forgotten for one that succeeded. The workdirs say which tasks
are done.
"""

import dataclasses
import hashlib
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

from launch.backends import job_secret, progress
from launch.backends.interface import Backend, check_disk
from launch.backends.sweep_lock import locked
from launch.plan import finished
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
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
# The processes of this job sign their messages with it.
{export_secret}
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
class Slurm(Backend):
    """Submits each task as a job that waits for others and goes on after a preemption.

    Attributes:
      nodes: How many machines a training run or an evaluation gets, with one process on each.
      sbatch: More options of sbatch, as on its command line; "" for none.
    """

    name = "slurm"
    nodes: int
    sbatch: str

    def check(self, sweep: Sweep) -> None:
        """See `Backend.check`."""
        check_disk(sweep, self.name)
        self._options()

    def preview(self, sweep: Sweep, tasks: Sequence[Task], done: Collection[str]) -> str:
        """Returns the sbatch commands that `run` would run, and the scripts that it would write.

        It doesn't ask Slurm which jobs are in the queue already. See `Backend.preview`.
        """
        by_name = {task.name: task for task in tasks}
        parts = []
        for task in tasks:
            if task.name in done:
                continue
            after = [f"ID_OF({name})" for name in task.waits_for if name not in done]
            command = self._command(sweep, task, after)
            parts.append(f"$ {shlex.join(command)}\n{batch_script(task, by_name, self.nodes)}")
        return "\n".join(parts)

    def run(self, sweep: Sweep, tasks: Sequence[Task]) -> None:
        """Submits the tasks that are neither done nor in Slurm's queue; prints the state of each.

        Raises:
          UserError: Slurm isn't available or refuses a job, a job in the queue has other settings,
            or another sweep is running in that root.
        """
        with locked(sweep.local_folder):
            sweep.save()
            self._submit(sweep, tasks)
        print(f"\nWhen they are done: python -m launch.tables --root={sweep.root}")

    def _submit(self, sweep: Sweep, tasks: Sequence[Task]) -> None:
        by_name = {task.name: task for task in tasks}
        # The queue comes first, so that a job that ends in between counts as done.
        jobs, done = _queued(), finished.done(tasks)
        (sweep.local_folder / "slurm").mkdir(exist_ok=True)
        (sweep.local_folder / "logs").mkdir(exist_ok=True)
        numbers: dict[str, str] = {}
        submitted: set[str] = set()
        for task in tasks:
            if task.name in done:
                _print("done", task)
                continue
            job = jobs.get(_job_name(sweep, task))
            script, text = _script_file(sweep, task), batch_script(task, by_name, self.nodes)
            if job and script.read_text() != text:
                raise UserError(
                    f"Job {job.number} in the queue makes {task.name} with other settings than "
                    "this command. Give the same flags and overrides, or cancel the job first: "
                    f"scancel {job.number}"
                )
            if job and job.is_pending and submitted & {*task.waits_for}:
                # It waits for a job that has failed, but Slurm hasn't noticed that yet.
                _call("scancel", "--quiet", job.number)
                job = None
            if job:
                numbers[task.name] = job.number
                about = job.reason if job.is_pending else task.log
                _print("waits" if job.is_pending else "runs", task, f"job {job.number}, {about}")
                continue
            if task.log.exists() and not task.result.exists():
                _print("failed", task, f"see {task.log}: {progress.tail(task.log)}")
            files.write_text(script, text)
            after = [numbers[name] for name in task.waits_for if name not in done]
            printed = _call(*self._command(sweep, task, after))
            numbers[task.name] = printed.strip().partition(";")[0]  # ;CLUSTER may follow.
            submitted.add(task.name)
            _print("submitted", task, f"job {numbers[task.name]}")

    def _command(self, sweep: Sweep, task: Task, after: Iterable[str]) -> list[str]:
        """Returns the sbatch command of a task, which waits for the jobs with some numbers."""
        numbers = ":".join(after)
        waiting = [f"--dependency=afterok:{numbers}", "--kill-on-invalid-dep=yes"]
        return [
            *("sbatch", "--parsable", *self._options()),
            f"--job-name={_job_name(sweep, task)}",
            f"--output={str(task.log).replace('%', '%%')}",
            *(waiting if numbers else []),
            str(_script_file(sweep, task)),
        ]

    def _options(self) -> list[str]:
        try:
            return shlex.split(self.sbatch)
        except ValueError as error:
            raise UserError(f"--sbatch={self.sbatch} isn't valid in a shell: {error}.") from error


@dataclasses.dataclass(frozen=True)
class QueuedJob:
    """A job in Slurm's queue.

    Attributes:
      number: The job's number.
      state: The job's state as Slurm names it: PENDING, RUNNING, COMPLETING, ...
      reason: Why the job is pending.
    """

    number: str
    state: str
    reason: str

    @property
    def is_pending(self) -> bool:
        """Whether the job hasn't started yet."""
        return self.state == "PENDING"


def batch_script(task: Task, by_name: Mapping[str, Task], nodes: int) -> str:
    """Returns the script of a task's job, which exits with status 0 only if the task is done.

    Args:
      task: The task.
      by_name: All tasks by their names.
      nodes: How many machines train and evaluate, with one process on each, which uses all its
        GPUs. A fusion gets one machine.
    """
    result = shlex.quote(str(task.result))
    # An evaluation or a fusion may have an outdated result already; see `finished`.
    sources = [] if task.kind == "train" else [by_name[name].result for name in task.waits_for]
    newer = [f"! [ {shlex.quote(str(source))} -nt {result} ]" for source in sources]
    return _SCRIPT.format(
        export_secret=job_secret.EXPORT,
        nodes=1 if task.kind == "fuse" else nodes,
        command=shlex.join([sys.executable, *task.arguments]),
        done=" && ".join([f"[ -e {result} ]", *newer]),
    )


def _script_file(sweep: Sweep, task: Task) -> files.Path:
    return sweep.local_folder / "slurm" / f"{task.log.stem}.sbatch"


def _job_name(sweep: Sweep, task: Task) -> str:
    # Jobs of different roots must have different names.
    root = hashlib.sha256(str(sweep.local_folder.resolve()).encode()).hexdigest()[:8]
    return f"{task.log.stem}.{root}"


def _queued() -> dict[str, QueuedJob]:
    """Returns this user's jobs in the queue, by their names."""
    asked = _run("squeue", "--me", "--noheader", "--format=%i|%T|%r|%j")
    if asked.returncode:
        reason = asked.stderr.strip()
        raise UserError(
            f"Slurm doesn't answer squeue ({reason.splitlines()[-1] if reason else 'no reason'}). "
            "The same command works once squeue does. Or use --backend=local, or print the jobs "
            "with --dry_run."
        )
    fields = [line.split("|", 3) for line in asked.stdout.splitlines()]
    return {name: QueuedJob(number, state, reason) for number, state, reason, name in fields}


def _print(state: str, task: Task, about: str = "") -> None:
    print(f"{state:<10}{task.name:<24}  {about}".rstrip(), flush=True)


def _call(*command: str) -> str:
    done = _run(*command)
    if done.returncode:
        raise UserError(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(
            f"The command {command[0]} wasn't found: this machine can't submit to Slurm. Use "
            "--backend=local, or print the jobs with --dry_run."
        ) from error
