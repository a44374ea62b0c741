"""Clouds: each task a managed job of SkyPilot, on GPU machines or TPU pods.

SkyPilot stays out of the training environment: its command `sky` comes from an environment of its
own. Its jobs outlive preemptions, and a run goes on from its last checkpoint, so that the root must
be a bucket. For a TPU pod `pod_commands` gives the same as plain gcloud commands.
"""

import shlex
import shutil
from collections.abc import Sequence

from launch import scheduler
from launch.graph import Sweep, Task
from vgg_jax import files
from vgg_jax.errors import UserError

# Of Cloud TPU, by the accelerator's generation.
_RUNTIMES = {
    "v2": "tpu-ubuntu2204-base",
    "v3": "tpu-ubuntu2204-base",
    "v4": "tpu-ubuntu2204-base",
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
_PORT = 8476


def check(sweep: Sweep, accelerator: str, nodes: int) -> None:
    """Checks what can be checked without a cloud.

    Raises:
      UserError: The root is no bucket, or the accelerator none.
    """
    if "://" not in str(sweep.root):
        raise UserError(
            f"--root={sweep.root} lies on this machine, and jobs in a cloud don't see it. Give a "
            "bucket: --root=gs://BUCKET/FOLDER."
        )
    if not accelerator:
        raise UserError(
            "--backend=sky needs --accelerator, such as A100:8 or tpu-v5e-64: see `sky show-gpus`."
        )
    if _is_tpu(accelerator):
        _tpu_type(accelerator)
        if nodes > 1:
            raise UserError("A TPU pod's hosts come with it: leave out --nodes.")


def run(sweep: Sweep, tasks: Sequence[Task], accelerator: str, nodes: int) -> list[Task]:
    """Launches what is missing, each task as soon as what it waits for is done.

    Returns:
      The tasks that failed.

    Raises:
      UserError: SkyPilot isn't installed, or another sweep is at work there.
      StoppedError: A signal asked it to stop; jobs that were launched go on in the cloud.
    """
    if not shutil.which("sky"):
        raise UserError(
            "The command `sky` isn't there. Install SkyPilot into an environment of its own "
            "(uv tool install 'skypilot[gcp]', then `sky check`), or print the commands: --dry_run."
        )
    folder = sweep.here / "sky"
    folder.mkdir(parents=True, exist_ok=True)

    def command(task: Task) -> list[str]:
        file = folder / f"{_job_name(task)}.yaml"
        files.write_text(file, job(task, accelerator, nodes))
        return ["sky", "jobs", "launch", "--yes", "--name", _job_name(task), str(file)]

    return scheduler.run(sweep, tasks, None, command)


def preview(tasks: Sequence[Task], accelerator: str, nodes: int) -> str:
    """Returns the task file of each job, and for a TPU pod the gcloud commands."""
    jobs = [
        f"# sky jobs launch --yes --name {_job_name(task)} {_job_name(task)}.yaml\n"
        + job(task, accelerator, nodes)
        for task in tasks
        if task.kind != "fuse"
    ]
    text = "---\n".join(jobs)
    return f"{text}\n{pod_commands(tasks, accelerator)}" if _is_tpu(accelerator) else text


def job(task: Task, accelerator: str, nodes: int) -> str:
    """Returns SkyPilot's task file of a job."""
    lines = [f"name: {_job_name(task)}", "resources:"]
    if _is_tpu(accelerator):
        kind = _tpu_type(accelerator)
        lines += [
            *("  infra: gcp", f"  accelerators: tpu-{kind}", "  accelerator_args:"),
            f"    runtime_version: {_runtime(kind)}",
        ]
    else:
        lines.append(f"  accelerators: {accelerator}")
    lines += ["  use_spot: true", f"num_nodes: {nodes}", "workdir: .", "setup: |"]
    lines.append(f"  {_install(accelerator)}")
    lines.append("run: |")
    if nodes > 1:
        lines += [
            f'  export JAX_COORDINATOR_ADDRESS="$(echo "$SKYPILOT_NODE_IPS" | head -n 1):{_PORT}"',
            '  export JAX_NUM_PROCESSES="$SKYPILOT_NUM_NODES" JAX_PROCESS_ID="$SKYPILOT_NODE_RANK"',
        ]
    return "\n".join([*lines, f"  {task.command}", ""])


def pod_commands(tasks: Sequence[Task], accelerator: str) -> str:
    """Returns the gcloud commands that do the same on one TPU pod, one task after the other."""
    kind = _tpu_type(accelerator)
    at, everywhere = '"$TPU" --zone="$ZONE"', "--worker=all --command"
    prepare = f"tar -xzf vgg-jax.tar.gz && {_install(accelerator)}"
    lines = [
        "# The same on one TPU pod, by hand. TPU and ZONE: a name, and where there is quota.",
        f"gcloud compute tpus tpu-vm create {at} --accelerator-type={kind} "
        f"--version={_runtime(kind)}",
        "git archive --format=tar.gz --output=vgg-jax.tar.gz HEAD",
        'gcloud compute tpus tpu-vm scp vgg-jax.tar.gz "$TPU": --zone="$ZONE" --worker=all',
        f"gcloud compute tpus tpu-vm ssh {at} {everywhere}={shlex.quote(prepare)}",
    ]
    for task in tasks:
        if task.kind == "fuse":
            lines.append(task.command)
        else:
            there = shlex.quote(task.command)
            lines.append(f"gcloud compute tpus tpu-vm ssh {at} {everywhere}={there}")
    return "\n".join([*lines, f"gcloud compute tpus tpu-vm delete {at}", ""])


def _install(accelerator: str) -> str:
    extra = "tpu" if _is_tpu(accelerator) else "cuda"
    return f"pip install -c constraints.txt -e '.[{extra},gcs]'"


def _is_tpu(accelerator: str) -> bool:
    return accelerator.lower().startswith("tpu-")


def _tpu_type(accelerator: str) -> str:
    kind = accelerator.lower().removeprefix("tpu-").replace("v5e-", "v5litepod-")
    generation, _, size = kind.partition("-")
    if generation not in _RUNTIMES or not size.isdecimal():
        raise UserError(
            f"--accelerator={accelerator} is no TPU: tpu-GENERATION-SIZE, such as tpu-v5e-64, with "
            f"one of {', '.join(_RUNTIMES)} (v5e is v5litepod)."
        )
    return kind


def _runtime(kind: str) -> str:
    return _RUNTIMES[kind.partition("-")[0]]


def _job_name(task: Task) -> str:
    return "vgg-" + task.name.replace("_", "-").replace("/", "-").replace("+", "-")
