"""What `launch.sweep --dry_run` prints for clusters and clouds."""

import os
import re
import shlex
import subprocess
import sys

import forked
import pytest
import yaml

PYTHON = "$HOME/vgg_jax_venv/bin/python"


# Calls `launch.sweep`. Other tests start it as users do.
sweep = forked.fixture("launch.sweep")


@pytest.fixture(scope="module")
def preview(sweep):
    def call(*args):
        done = sweep("--dry_run", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n\n", 2)[2]

    return call


def is_bash(text):
    return subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_slurm(preview, tmp_path):
    root = tmp_path / "my runs"
    text = preview(
        *("--runs=b_256", f"--root={root}", "--mini", "--backend=slurm", "--nodes=2"),
        "--sbatch=--gpus-per-node=8 --time=1-0",
    )
    train, _, evaluate = (part.partition("\n") for part in text.split("$ sbatch ")[1:])
    name = re.fullmatch(
        "--parsable --gpus-per-node=8 --time=1-0 (--job-name=a_256.[0-9a-f]{8}) "
        rf"'--output={root}/logs/a_256.log' '{root}/slurm/a_256.sbatch'",
        train[0],
    )[1]
    assert train[2].splitlines() == [
        "#!/bin/bash",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=TERM@120",
        "",
        'echo "Job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, start $((${SLURM_RESTART_COUNT:-0} + 1))"',
        'export PYTHONUNBUFFERED=1 TQDM_MININTERVAL="${TQDM_MININTERVAL:-5}"',
        'export TQDM_ASCII="${TQDM_ASCII:- #}"  # srun mixes the nodes\' output byte by byte.',
        "# The processes of this job sign their messages with it.",
        "export VGG_JAX_JOB_SECRET=\"$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')\"",
        "# Since 22.05 srun doesn't take over --cpus-per-task.",
        "srun --kill-on-bad-exit=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK} \\",
        f"    {sys.executable} -m vgg_jax.main --config=configs/mini.py:a_256 "
        f"'--workdir={root}/mini_a_256' --config.eval.method=none",
        "status=$?",
        f"if [ -e '{root}/mini_a_256/result.json' ]; then exit 0; fi",
        "if [ $status != 0 ] && [ $status != 143 ]; then exit $status; fi",
        "# Stopped, but not by scancel or scontrol requeue, which end this shell too. A trap would "
        "keep it",
        "# alive, and a job that then queues itself again can't be cancelled.",
        'scontrol requeue "$SLURM_JOB_ID"',
        "exit 75",
        "",
    ]
    assert "'--dependency=afterok:ID_OF(b_256)' --kill-on-invalid-dep=yes" in evaluate[0]
    assert "--mode=eval --config.eval.method=dense --config.eval.scales=64,73,82" in evaluate[2]
    eval_result = f"{root}/mini_b_256/eval/validation-dense-64_73_82.json"
    newer = f"! [ '{root}/mini_b_256/result.json' -nt '{eval_result}' ]"
    assert f"if [ -e '{eval_result}' ] && {newer}; then" in evaluate[2]
    for _, _, script in (train, evaluate):
        assert is_bash(script)

    # Jobs of another root have other names.
    other = preview("--runs=b_256", f"--root={tmp_path}", "--mini", "--backend=slurm")
    assert "--job-name=a_256." in other
    assert name not in other


def test_a_fusion_is_a_slurm_job_of_one_node(preview, tmp_path):
    text = preview("--tables=6", f"--root={tmp_path}", "--backend=slurm", "--nodes=4")
    both, _, script = text.split("$ sbatch ")[-1].partition("\n")
    assert (
        "'--dependency=afterok:ID_OF(d_multiscale-dense):ID_OF(d_multiscale-multicrop)"
        ":ID_OF(e_multiscale-dense):ID_OF(e_multiscale-multicrop)' --kill-on-invalid-dep=yes"
    ) in both
    assert "--nodes=1\n" in script
    assert script.count(" -nt ") == 4


def jobs(text):
    return list(yaml.safe_load_all(text.partition("\n# The same on one TPU pod")[0]))


def test_a_tpu_pod(preview):
    text = preview(
        *("--tables=6", "--root=gs://bucket/vgg", "--backend=sky", "--accelerator=tpu-v5e-64")
    )
    (first, *_), names = jobs(text), [job["name"] for job in jobs(text)]
    assert first == {
        "name": names[0],
        "resources": {
            "infra": "gcp",
            "accelerators": "tpu-v5litepod-64",
            "accelerator_args": {"runtime_version": "v2-alpha-tpuv5-lite"},
            "use_spot": True,
            "job_recovery": {"max_restarts_on_errors": 3},
        },
        "num_nodes": 1,
        "secrets": {"VGG_JAX_JOB_SECRET": None},
        "workdir": ".",
        "setup": "python3 -m pip install --quiet uv\n"
        "python3 -m uv venv --quiet --python 3.11 $HOME/vgg_jax_venv\n"
        "python3 -m uv pip install --quiet --python $HOME/vgg_jax_venv/bin/python "
        "-c constraints.txt -e '.[tpu,gcs]'\n",
        "run": f"{PYTHON} -m vgg_jax.main --config=configs/a_256.py "
        "--workdir=gs://bucket/vgg/a_256 --config.eval.method=none &&\n"
        f"{PYTHON} -c 'from vgg_jax.storage import files; "
        """exit(not files.path('"'"'gs://bucket/vgg/a_256/result.json'"'"').exists())'\n""",
    }
    assert is_bash(first["run"])
    assert len({*names}) == len(names) == 10 + 9  # Runs (without A-LRN and B) and evaluations.
    by_hand = text.partition("\n# The same on one TPU pod")[2]
    assert is_bash("#" + by_hand)
    lines = by_hand.rstrip().splitlines()
    at = 'gcloud compute tpus tpu-vm {} "$TPU" --zone="$ZONE"'
    assert lines[1] == (
        at.format("create") + " --accelerator-type=v5litepod-64 --version=v2-alpha-tpuv5-lite"
    )
    assert lines[5] == at.format("ssh") + (
        f" --worker=all --command='{PYTHON} -m vgg_jax.main --config=configs/a_256.py "
        "--workdir=gs://bucket/vgg/a_256 --config.eval.method=none'"
    )
    fusions = [line for line in lines if line.startswith("python -m vgg_jax.fuse gs://bucket/vgg/")]
    assert len(fusions) == 4
    assert lines[-1] == at.format("delete")


def test_machines_with_gpus(preview):
    text = preview(
        *("--runs=a_256", "--root=gs://bucket/vgg", "--backend=sky", "--accelerator=A100:8"),
        "--nodes=2",
    )
    job, _ = jobs(text)
    assert job["resources"]["accelerators"] == "A100:8"
    assert job["num_nodes"] == 2
    assert "[cuda,gcs]" in job["setup"]
    # The script sets the variables that `vgg_jax.main` reads, from SkyPilot's variables.
    environment = {
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_RANK": "1",
    }
    exports = job["run"].partition(PYTHON)[0]
    shown = subprocess.run(
        ["bash", "-c", f"{exports} env"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {
        "JAX_COORDINATOR_ADDRESS=10.0.0.1:8476",
        "JAX_NUM_PROCESSES=2",
        "JAX_PROCESS_ID=1",
    } <= {*shown}
    assert "gcloud" not in text


def test_each_job_in_a_cloud_gets_a_secret_of_its_own(preview, tmp_path):
    """SkyPilot reads it from the environment: it is in no file and in no argument."""
    text = preview(
        *("--tables=6", "--root=gs://bucket/vgg", "--backend=sky", "--accelerator=A100:8"),
    )
    sky = tmp_path / "sky"
    sky.write_text('#!/bin/sh\necho "$VGG_JAX_JOB_SECRET" "$@"\n')
    sky.chmod(0o755)
    printed = []
    for task in text.split("---\n"):
        commands = [line.removeprefix("# ") for line in task.splitlines()[:2]]
        commands[0] = commands[0].partition(": ")[2]
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", "\n".join(commands)],
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append(done.stdout.split())
    assert len(printed) > 1
    for secret, *command in printed:
        assert re.fullmatch("[0-9a-f]{64}", secret)
        assert command[:5] == ["jobs", "launch", "--yes", "--secret", "VGG_JAX_JOB_SECRET"]
    assert len({secret for secret, *_ in printed}) == len(printed)


STRANGE = [
    "a\nb",
    "a\n  x: y\n---\nz",
    "a # b",
    "a: b",
    "{a",
    "'a",
    'a"',
    "a\\",
    "&a",
    "ä",
    "a\tb \n ",
]


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_texts_keep_their_place_in_the_file_of_a_job(preview, text):
    printed = preview(
        *("--runs=a_256", f"--root=gs://bucket/{text}", "--backend=sky"),
        *(f"--accelerator={text}", "--", f"--config.data.dir={text}"),
    )
    plain = preview("--runs=a_256", "--root=gs://bucket/x", "--backend=sky", "--accelerator=x")
    shape = [{key: type(value) for key, value in job.items()} for job in jobs(plain)]
    assert [{key: type(value) for key, value in job.items()} for job in jobs(printed)] == shape
    for job in jobs(printed):
        assert job["resources"]["accelerators"] == text
        assert is_bash(job["run"])
        words = shlex.split(job["run"])
        assert f"--config.data.dir={text}" in words
        assert any(word.startswith(f"--workdir=gs://bucket/{text}/") for word in words)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--nodes=2"], "--nodes needs --backend=slurm or sky."),
        (["--sbatch=-p x", "--backend=sky"], "--sbatch needs --backend=slurm."),
        (["--accelerator=A100", "--backend=slurm"], "--accelerator needs --backend=sky."),
        (["--sbatch=--comment='x", "--backend=slurm", "--dry_run"], "isn't valid in a shell: No"),
        (["--root=gs://b/x"], "--backend=local needs a --root on a disk, not gs://b/x."),
        (["--backend=sky", "--accelerator=A100"], "jobs in a cloud don't see it"),
        (["--backend=sky", "--root=gs://b/x"], "--backend=sky needs --accelerator"),
        (
            ["--backend=sky", "--root=gs://b/x", "--accelerator=tpu-v9-64"],
            "--accelerator=tpu-v9-64 is no known TPU. Give tpu-GENERATION-SIZE",
        ),
        (
            ["--backend=sky", "--root=gs://b/x", "--accelerator=tpu-v4-64", "--nodes=2"],
            "A TPU pod's hosts come with it: leave out --nodes.",
        ),
    ],
)
def test_what_a_backend_cannot_do(sweep, args, message):
    done = sweep("--tables=3", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_where_there_is_no_slurm(sweep, tmp_path):
    flags = ("--tables=3", "--backend=slurm", f"--root={tmp_path / 'runs'}")
    done = sweep(*flags, PATH=str(tmp_path))
    assert done.returncode == 2
    assert "The command squeue wasn't found: this machine can't submit to Slurm." in done.stderr
    command = tmp_path / "squeue"
    command.write_text("#!/bin/sh\necho 'error: a' >&2\necho 'error: No controller' >&2\nexit 1\n")
    command.chmod(0o700)
    done = sweep(*flags, PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    message = "error: Slurm doesn't answer squeue (error: No controller). The same command works"
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
