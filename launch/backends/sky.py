"""Clouds: each task is a managed job of SkyPilot, on GPU machines or TPU pods.

SkyPilot isn't installed in the training environment: its command `sky` has an environment of its
own. SkyPilot restarts a job after a preemption, and the run goes on from its last checkpoint, so
the root must be a bucket. For a TPU pod, `pod_commands` returns gcloud commands that do the same.
"""

import dataclasses
import hashlib
import math
import shlex
import shutil
from collections.abc import Collection, Sequence

import yaml

from launch.backends import job_secret, scheduler
from launch.backends.interface import Backend
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from vgg_jax.errors import UserError
from vgg_jax.storage import files

# The runtime version that a Cloud TPU machine boots, by the accelerator's generation.
_RUNTIMES = {
    "v2": "tpu-ubuntu2204-base",
    "v3": "tpu-ubuntu2204-base",
    "v4": "tpu-ubuntu2204-base",
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
_PORT = 8476
_VENV = "$HOME/vgg_jax_venv"
_PYTHON = f"{_VENV}/bin/python"


@dataclasses.dataclass(frozen=True)
class Sky(Backend):
    """Launches each task as a managed job, as soon as the tasks that it waits for are done.

    Attributes:
      accelerator: The GPUs of a machine or the TPU pod, as SkyPilot names them, for example A100:8
        or tpu-v5e-64.
      nodes: How many machines a job gets; 1 for a TPU pod, which includes all its hosts.
    """

    name = "sky"
    accelerator: str
    nodes: int

    def check(self, sweep: Sweep) -> None:
        """Checks what can be checked without a cloud.

        Raises:
          UserError: The root or the data aren't in a bucket, the accelerator is missing or is no
            known TPU, or a TPU pod is given more than one node.
        """
        if not sweep.is_in_bucket:
            raise UserError(
                f"--root={sweep.root} lies on this machine, and jobs in a cloud don't see it. Give "
                "a bucket: --root=gs://BUCKET/FOLDER."
            )
        if sweep.data and "://" not in sweep.data:
            raise UserError(
                f"--data={sweep.data} lies on this machine, and jobs in a cloud don't see it. Give "
                "what lies in a bucket: --data=gs://BUCKET/FOLDER, or FILE.csv."
            )
        if not self.accelerator:
            raise UserError(
                "--backend=sky needs --accelerator, such as A100:8 or tpu-v5e-64: see "
                "`sky show-gpus`."
            )
        if _is_tpu(self.accelerator):
            _tpu_type(self.accelerator)
            if self.nodes > 1:
                raise UserError("A TPU pod's hosts come with it: leave out --nodes.")

    def preview(self, sweep: Sweep, tasks: Sequence[Task], done: Collection[str]) -> str:
        """Returns the task file of each job, and for a TPU pod the gcloud commands too."""
        jobs = [
            f"# {task.name}: {job_secret.EXPORT}\n"
            f"# {_launch(task, f'{task.log.stem}.yaml')}\n" + self._task_file(task)
            for task in tasks
            if task.kind != "fuse"
        ]
        text = "---\n".join(jobs)
        if _is_tpu(self.accelerator):
            text += f"\n{pod_commands(tasks, self.accelerator)}"
        return text

    def run(self, sweep: Sweep, tasks: Sequence[Task]) -> list[Task]:
        """See `Backend.run`.

        Raises:
          UserError: SkyPilot isn't installed, or another sweep is running in that root.
          StoppedError: A signal asked the sweep to stop. Launched jobs go on in the cloud.
        """
        if not shutil.which("sky"):
            raise UserError(
                "The command `sky` wasn't found. Install SkyPilot into an environment of its own "
                "(uv tool install 'skypilot[gcp]', then `sky check`), or print the commands with "
                "--dry_run."
            )
        folder = sweep.local_folder / "sky"
        folder.mkdir(parents=True, exist_ok=True)

        def command(task: Task) -> list[str]:
            file = folder / f"{task.log.stem}.yaml"
            files.write_text(file, self._task_file(task))
            name = _job_name(task)
            # A sweep that was stopped may have left this job in the cloud: then wait for it.
            known = f"sky jobs queue --skip-finished | grep -q {name}"
            wait, launch = f"sky jobs logs --name {name}", _launch(task, str(file))
            script = f"if {known}; then {wait}; else {job_secret.EXPORT}; {launch}; fi"
            return ["sh", "-c", script]

        return scheduler.run(sweep, tasks, None, command)

    def _task_file(self, task: Task) -> str:
        """Returns SkyPilot's YAML file of a job."""
        resources = {"accelerators": self.accelerator}
        if _is_tpu(self.accelerator):
            kind = _tpu_type(self.accelerator)
            resources = {
                "infra": "gcp",
                "accelerators": f"tpu-{kind}",
                "accelerator_args": {"runtime_version": _runtime(kind)},
            }
        job = {
            "name": _job_name(task),
            "resources": {
                **resources,
                "use_spot": True,
                "job_recovery": {"max_restarts_on_errors": 3},
            },
            "num_nodes": self.nodes,
            "secrets": {job_secret.SECRET: None},  # SkyPilot wants a value from the command.
            "workdir": ".",
            "setup": "".join(f"{line}\n" for line in _install(self.accelerator)),
            "run": self._script(task),
        }
        return yaml.dump(job, Dumper=_Dumper, sort_keys=False, width=math.inf, allow_unicode=True)

    def _script(self, task: Task) -> str:
        lines = []
        if self.nodes > 1:
            address = f'"$(echo "$SKYPILOT_NODE_IPS" | head -n 1):{_PORT}"'
            lines += [
                f"export JAX_COORDINATOR_ADDRESS={address}",
                'export JAX_NUM_PROCESSES="$SKYPILOT_NUM_NODES"'
                ' JAX_PROCESS_ID="$SKYPILOT_NODE_RANK"',
            ]
        # A run that is asked to stop saves and exits with status 0. If its result is missing, the
        # job must fail, so that SkyPilot starts it again.
        result = f"files.path({str(task.result)!r})"
        is_there = f"from vgg_jax.storage import files; exit(not {result}.exists())"
        done = f"{_PYTHON} -c {shlex.quote(is_there)}"
        return "\n".join([*lines, f"{_remote(task)} &&", done, ""])


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, unless YAML needs quotes for them."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def pod_commands(tasks: Sequence[Task], accelerator: str) -> str:
    """Returns the gcloud commands that run the tasks on one TPU pod, one after another."""
    kind = _tpu_type(accelerator)
    at, everywhere = '"$TPU" --zone="$ZONE"', "--worker=all --command"
    prepare = " && ".join(["tar -xzf vgg-jax.tar.gz", *_install(accelerator)])
    lines = [
        "# The same on one TPU pod, by hand. Set TPU to a name, ZONE to a zone with quota for it.",
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
            there = shlex.quote(_remote(task))
            lines.append(f"gcloud compute tpus tpu-vm ssh {at} {everywhere}={there}")
    return "\n".join([*lines, f"gcloud compute tpus tpu-vm delete {at}", ""])


def _install(accelerator: str) -> list[str]:
    """Returns the commands that make an environment; the machines' own Python may be too old."""
    extra = "tpu" if _is_tpu(accelerator) else "cuda"
    return [
        "python3 -m pip install --quiet uv",
        f"python3 -m uv venv --quiet --python 3.11 {_VENV}",
        f"python3 -m uv pip install --quiet --python {_PYTHON} -c constraints.txt "
        f"-e '.[{extra},gcs]'",
    ]


def _launch(task: Task, file: str) -> str:
    # SkyPilot takes the secret's value from the environment.
    secret = ["--secret", job_secret.SECRET]
    return shlex.join(["sky", "jobs", "launch", "--yes", *secret, "--name", _job_name(task), file])


def _remote(task: Task) -> str:
    return f"{_PYTHON} {shlex.join(task.arguments)}"


def _is_tpu(accelerator: str) -> bool:
    return accelerator.lower().startswith("tpu-")


def _tpu_type(accelerator: str) -> str:
    kind = accelerator.lower().removeprefix("tpu-").replace("v5e-", "v5litepod-")
    generation, _, size = kind.partition("-")
    if generation not in _RUNTIMES or not size.isdecimal():
        raise UserError(
            f"--accelerator={accelerator} is no known TPU. Give tpu-GENERATION-SIZE, for example "
            f"tpu-v5e-64; the generations are {', '.join(_RUNTIMES)} (v5e means v5litepod)."
        )
    return kind


def _runtime(kind: str) -> str:
    return _RUNTIMES[kind.partition("-")[0]]


def _job_name(task: Task) -> str:
    # Jobs of different roots must have different names. They are short, because `sky jobs queue`
    # cuts long names off.
    return "vgg-" + hashlib.sha256(str(task.result).encode()).hexdigest()[:8]
