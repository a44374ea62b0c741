"""What `launch.sweep --dry_run` prints for clusters and clouds."""

import subprocess
import sys

import pytest
import small_runs
import yaml


def preview(*args):
    done = small_runs.run_module("launch.sweep", "--dry_run", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n\n", 2)[2]


def error(*args):
    done = small_runs.run_module("launch.sweep", *args)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def is_bash(text):
    return subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_slurm(tmp_path):
    root = tmp_path / "my runs"
    text = preview(
        *("--runs=b_256", f"--root={root}", "--mini", "--backend=slurm", "--nodes=2"),
        "--sbatch=--gpus-per-node=8 --time=1-0",
    )
    train, _, evaluate = text.split("$ sbatch ")[1:]
    assert train.splitlines() == [
        f"--parsable {root}/slurm/a_256.sbatch",
        "#!/bin/bash",
        "#SBATCH --job-name=a_256",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --output='{root}/logs/a_256.log'",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        "#SBATCH --signal=TERM@120",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --time=1-0",
        "",
        f"srun --kill-on-bad-exit=1 {sys.executable} -m vgg_jax.main "
        f"--config=configs/mini.py:a_256 '--workdir={root}/mini_a_256' --config.eval.method=none "
        "|| exit",
        "# Stopped before its end, it has saved, and goes on when Slurm starts this job again.",
        f"if [ ! -e '{root}/mini_a_256/result.json' ]; then "
        'scontrol requeue "$SLURM_JOB_ID"; sleep 60; exit 1; fi',
        "",
    ]
    assert is_bash(train.partition("\n")[2])
    assert evaluate.startswith(
        f"--parsable '--dependency=afterok:ID_OF(b_256)' --kill-on-invalid-dep=yes {root}/slurm/"
    )
    assert "--mode=eval --config.eval.method=dense --config.eval.scales=64,73,82" in evaluate


def test_a_fusion_is_a_slurm_job_of_one_node(tmp_path):
    text = preview("--tables=6", f"--root={tmp_path}", "--backend=slurm", "--nodes=4")
    both = text.split("$ sbatch ")[-1]
    assert both.startswith(
        "--parsable '--dependency=afterok:ID_OF(d_multiscale-dense):ID_OF(d_multiscale-multicrop)"
        ":ID_OF(e_multiscale-dense):ID_OF(e_multiscale-multicrop)' --kill-on-invalid-dep=yes"
    )
    assert "--nodes=1\n" in both
    assert "srun" not in both


def jobs(text):
    return list(yaml.safe_load_all(text.partition("\n# The same on one TPU pod")[0]))


def test_a_tpu_pod():
    text = preview(
        *("--tables=6", "--root=gs://bucket/vgg", "--backend=sky", "--accelerator=tpu-v5e-64")
    )
    (first, *_), names = jobs(text), [job["name"] for job in jobs(text)]
    assert first == {
        "name": "vgg-a-256",
        "resources": {
            "infra": "gcp",
            "accelerators": "tpu-v5litepod-64",
            "accelerator_args": {"runtime_version": "v2-alpha-tpuv5-lite"},
            "use_spot": True,
        },
        "num_nodes": 1,
        "workdir": ".",
        "setup": "pip install -c constraints.txt -e '.[tpu,gcs]'\n",
        "run": "python -m vgg_jax.main --config=configs/a_256.py --workdir=gs://bucket/vgg/a_256 "
        "--config.eval.method=none\n",
    }
    assert len({*names}) == len(names) == 10 + 9  # Runs without A-LRN and B; evaluations.
    by_hand = text.partition("\n# The same on one TPU pod")[2]
    assert is_bash("#" + by_hand)
    lines = by_hand.rstrip().splitlines()
    at = 'gcloud compute tpus tpu-vm {} "$TPU" --zone="$ZONE"'
    assert lines[1] == (
        at.format("create") + " --accelerator-type=v5litepod-64 --version=v2-alpha-tpuv5-lite"
    )
    assert lines[5] == at.format("ssh") + (
        " --worker=all --command='python -m vgg_jax.main --config=configs/a_256.py "
        "--workdir=gs://bucket/vgg/a_256 --config.eval.method=none'"
    )
    fusions = [line for line in lines if line.startswith("python -m vgg_jax.fuse gs://bucket/vgg/")]
    assert len(fusions) == 4
    assert lines[-1] == at.format("delete")


def test_machines_with_gpus():
    text = preview(
        *("--runs=a_256", "--root=gs://bucket/vgg", "--backend=sky", "--accelerator=A100:8"),
        "--nodes=2",
    )
    job, _ = jobs(text)
    assert job["resources"] == {"accelerators": "A100:8", "use_spot": True}
    assert job["num_nodes"] == 2
    assert "[cuda,gcs]" in job["setup"]
    # The names that `vgg_jax.main` reads, from those that SkyPilot gives.
    environment = {
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_RANK": "1",
    }
    exports = job["run"].rpartition("python")[0]
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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--nodes=2"], "--nodes is of --backend=slurm and sky."),
        (["--sbatch=-p x", "--backend=sky"], "--sbatch is of --backend=slurm."),
        (["--accelerator=A100", "--backend=slurm"], "--accelerator is of --backend=sky."),
        (["--root=gs://b/x"], "--backend=local needs a --root on a disk, not gs://b/x."),
        (["--backend=sky", "--accelerator=A100"], "jobs in a cloud don't see it"),
        (["--backend=sky", "--root=gs://b/x"], "--backend=sky needs --accelerator"),
        (
            ["--backend=sky", "--root=gs://b/x", "--accelerator=tpu-v9-64"],
            "--accelerator=tpu-v9-64 is no TPU: tpu-GENERATION-SIZE",
        ),
        (
            ["--backend=sky", "--root=gs://b/x", "--accelerator=tpu-v4-64", "--nodes=2"],
            "A TPU pod's hosts come with it: leave out --nodes.",
        ),
    ],
)
def test_what_a_backend_cannot_do(args, message):
    assert message in error("--tables=3", *args)


def test_where_there_is_no_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = small_runs.run_module(
        "launch.sweep", "--tables=3", "--backend=slurm", f"--root={tmp_path / 'runs'}"
    )
    assert done.returncode == 2
    assert "The command squeue isn't there: this machine submits to no Slurm." in done.stderr
