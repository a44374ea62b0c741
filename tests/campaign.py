"""A campaign against real runs: kills, flipped bits, faults of files and simultaneous starts.

    python tests/campaign.py --folder=campaign                # all of it: 20 minutes on two cores
    python tests/campaign.py --folder=campaign --only=flips   # one part
    python tests/campaign.py --folder=campaign --code=OTHER   # the same, of another checkout

It prints a line per trial and a table of how many were tried, survived, refused and lost. A trial
has survived if the run ends as if nothing had happened, to the bit; it is refused if the command
exits with status 2 and one error. All else is lost: another result, a traceback, a process that
hangs. What is left in shared memory, in the temporary folder, in the workdir and in the process
table is leaked. The exit status is 1 if anything was lost or leaked. Run it where nothing else
uses /dev/shm, for instance under `unshare --mount`.
"""

import argparse
import collections
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import small_runs

NUM_EPOCHS, STEPS_PER_EPOCH = 5, 11
TIMEOUT_S = 240
SURVIVOR_S = 60  # Then a launcher ends the processes of a job that has lost one.
SHARED_MEMORY = pathlib.Path("/dev/shm")


@dataclasses.dataclass
class End:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def is_refusal(self):
        return self.status == 2 and "error: " in self.err and not self.is_noisy

    @property
    def is_noisy(self):
        return "Traceback" in self.err or "Exception ignored" in self.err

    @property
    def last_line(self):
        lines = self.err.strip().splitlines() or ["nothing on stderr"]
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or lines[-1:])[0][:200]


class Campaign:
    """The commands of a campaign, its reference runs, and its counts."""

    def __init__(self, folder, code, seed):
        self.folder, self.code = folder.resolve(), code.resolve()
        self.rng = random.Random(seed)
        self.counts = collections.defaultdict(collections.Counter)
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.images = small_runs.small_images(self.folder / "images", train=91, val=60)
        self.numbers = itertools.count()
        self.references = {}

    def arguments(self, workdir, workers=0):
        return small_runs.small_crops(
            self.images,
            workdir,
            "--config.eval.batch_size=4",
            f"--config.num_epochs={NUM_EPOCHS}",
            "--config.log_every_steps=4",
            "--config.checkpoint_every_steps=5",
            f"--config.data.num_workers={workers}",
        )

    def start(self, arguments, **more):
        """Starts `vgg_jax.main` in a process group of its own."""
        environment = small_runs.environment(
            TMPDIR=str(self.temporary), PYTHONPATH=str(self.code), **more
        )
        return subprocess.Popen(
            [sys.executable, "-m", "vgg_jax.main", *arguments],
            cwd=self.code,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            env=environment,
        )

    def start_job(self, workdir, *more, hosts=1, workers=0):
        """Starts a run as one process, or as two that are a job."""
        arguments = [*self.arguments(workdir, workers), *more]
        if hosts == 1:
            return [self.start(arguments)]
        port = self.rng.randrange(20000, 60000)
        return [
            self.start(
                arguments,
                JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
                JAX_NUM_PROCESSES=str(hosts),
                JAX_PROCESS_ID=str(index),
            )
            for index in range(hosts)
        ]

    def new_workdir(self):
        return self.folder / "runs" / f"{next(self.numbers):03}"

    def reference(self, hosts=1):
        """Returns the outcome of an undisturbed run, and the seconds that it took."""
        if hosts not in self.references:
            workdir, begin_s = self.folder / f"whole-{hosts}", time.monotonic()
            ends = wait(self.start_job(workdir, hosts=hosts))
            assert [end.status for end in ends] == [0] * hosts, ends
            self.references[hosts] = self.outcome(workdir), time.monotonic() - begin_s
        return self.references[hosts]

    def outcome(self, workdir):
        """Returns all that two equal runs share: their results, metrics and parameters."""
        result = json.loads((workdir / "result.json").read_text())
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        timing = ("images_per_s", "input_wait_share", "digest", "chain")
        records = [
            {key: value for key, value in json.loads(line).items() if key not in timing}
            for line in lines
        ]
        code = f"import vgg_jax; print(vgg_jax.load({str(workdir)!r}).digest())"
        digest = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.code,
            env=small_runs.environment(PYTHONPATH=str(self.code), TMPDIR=str(self.temporary)),
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        errors = {
            path.name: (values["top1_error"], values["top5_error"], values["num_images"])
            for path in sorted((workdir / "eval").glob("*.json"))
            for values in [json.loads(path.read_text())]
        }
        posteriors = {
            path.name: np.load(path)["values"].tobytes()
            for path in sorted((workdir / "eval").glob("*.npz"))
        }
        return result["last"], result["best"], records, digest, errors, posteriors

    def ends_as(self, workdir, hosts=1):
        """Returns whether a finished run equals the undisturbed one."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            return self.outcome(workdir) == self.reference(hosts)[0]
        return False

    def go_on(self, workdir, *more, hosts=1, workers=0):
        """Lets a run go on to its end; returns how the first process that failed ended, if any."""
        ends = wait(self.start_job(workdir, *more, hosts=hosts, workers=workers))
        return next((end for end in ends if end.status or end.is_noisy), ends[0])

    def judge(self, kind, name, end, is_same, number=1):
        """Counts a trial, or several before one end, by this end, and prints it."""
        if end.status == 0 and not end.is_noisy:
            verdict = "survived" if is_same else "LOST"
            why = "" if is_same else "status 0 with another result"
        else:
            verdict = "refused" if end.is_refusal else "LOST"
            why = f"status {end.status}: {end.last_line}"
        self.count(kind, verdict, f"{name}: {why}", number)

    def count(self, kind, verdict, text, number=1):
        self.counts[kind][verdict] += number
        print(f"{kind:8} {verdict:8} {text}", flush=True)

    def left(self):
        """Returns what there is in shared memory, in the temporary folder and as processes."""
        return {
            *(f"{SHARED_MEMORY}/{name}" for name in os.listdir(SHARED_MEMORY)),
            *(f"tmp/{name}" for name in os.listdir(self.temporary)),
            *(f"process {name}" for name in self._processes()),
        }

    def _processes(self):
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # The children have the campaign's temporary folder in their environment.
                if f"TMPDIR={self.temporary}".encode() in (entry / "environ").read_bytes():
                    yield f"{entry.name} {(entry / 'cmdline').read_bytes()[-60:]!r}"

    def strange(self, workdir, hosts):
        """Returns the names in a workdir that an undisturbed run has not."""
        whole = self.folder / f"whole-{hosts}"
        return {
            str(path.relative_to(workdir))
            for folder in (".", "eval", "checkpoints")
            for path in (workdir / folder).iterdir()
            if not (whole / path.relative_to(workdir)).exists()
        }


def wait(processes, timeout_s=TIMEOUT_S):
    """Waits for processes, and kills those that hang."""
    ends = []
    for process in processes:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            err += "\nIt was still running when the campaign gave up."
        ends.append(End(process.returncode, out, err))
    return ends


def kills(campaign, number):
    """Kills runs at random moments: one process or its group, on one host or one of two, or both.

    A run is killed and started again a few times; then it ends, and must equal the undisturbed run.
    """
    variants = list(itertools.product((1, 2), (0, 2)))
    for index, (hosts, workers) in enumerate(variants):
        kind = f"kills, {hosts} host{'s' * (hosts > 1)}, {workers} workers"
        _, whole_s = campaign.reference(hosts)
        before, left = campaign.left(), len(range(index, number, len(variants)))
        while left:
            workdir, of_run = campaign.new_workdir(), 0
            while of_run < left and not (workdir / "result.json").exists():
                processes = campaign.start_job(workdir, hosts=hosts, workers=workers)
                time.sleep(campaign.rng.uniform(0, 0.8 * whole_s))
                of_run += kill(campaign, processes)
                # JAX ends a process from C++, with a status of its own, if its peer is lost.
                allowed = (-signal.SIGKILL, 0) if hosts == 1 else (-signal.SIGKILL, 0, 1, 2, -6)
                for end in wait(processes, SURVIVOR_S):
                    if end.status not in allowed or (hosts == 1 and end.is_noisy):
                        campaign.count(kind, "LOST", f"status {end.status}: {end.last_line}")
            end = campaign.go_on(workdir, hosts=hosts, workers=workers)
            is_same = campaign.ends_as(workdir, hosts)
            campaign.judge(kind, f"a run of {of_run} kills", end, is_same, of_run)
            left -= of_run
        time.sleep(2)  # Workers notice within a second that their parent is gone.
        leaked = campaign.left() - before | campaign.strange(workdir, hosts)
        for name in sorted(leaked):
            campaign.count(kind, "leaked", name)


def kill(campaign, processes):
    """Kills some processes of a job, or their groups; returns whether one was still running."""
    victims = campaign.rng.sample(processes, campaign.rng.randint(1, len(processes)))
    end = campaign.rng.choice((os.kill, os.killpg))
    was_running = any(victim.poll() is None for victim in victims)
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            end(victim.pid, signal.SIGKILL)
    return was_running


def half_done(campaign):
    """Returns the workdir of a run that was killed after three checkpoints."""
    workdir = campaign.folder / "half"
    if not workdir.exists():
        (process,) = campaign.start_job(workdir)
        while (
            len(list(workdir.glob("checkpoints/[0-9]*[0-9]"))) < 2
            or not (workdir / "checkpoints" / "20").exists()
        ):
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return workdir


def copied(campaign, base):
    campaign.reference()
    workdir = campaign.new_workdir()
    source = half_done(campaign) if base == "half" else campaign.folder / "whole-1"
    return pathlib.Path(shutil.copytree(source, workdir, symlinks=True))


def last_checkpoint(workdir):
    return max(workdir.glob("checkpoints/*[0-9]"), key=lambda path: int(path.name))


FLIPPED = {
    "arrays of a checkpoint": ("half", "checkpoints/*/params/**/*", "checkpoints/*/opt_state/**/*"),
    "the JSON of a checkpoint": ("half", "checkpoints/*/run/*", "checkpoints/*/metrics/*"),
    "metrics.jsonl": ("half", "metrics.jsonl"),
    "config.json": ("half", "config.json"),
    "result.json": ("whole", "result.json"),
    "posteriors": ("whole", "eval/*.npz"),
}
WEIGHTS = (20, 6, 4, 3, 3, 4)


def flips(campaign, number):
    """Flips one random bit of a file of a run; then the same command goes on."""
    for name in itertools.islice(itertools.cycle(spread(FLIPPED, WEIGHTS)), number):
        base, *patterns = FLIPPED[name]
        workdir = copied(campaign, base)
        last = last_checkpoint(workdir).name
        patterns = [pattern.replace("checkpoints/*", f"checkpoints/{last}") for pattern in patterns]
        found = [p for pattern in patterns for p in sorted(workdir.glob(pattern)) if p.is_file()]
        sizes = [path.stat().st_size for path in found]
        (path,) = campaign.rng.choices(found, sizes)
        place, bit = campaign.rng.randrange(path.stat().st_size), campaign.rng.randrange(8)
        with path.open("r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ (1 << bit)]))
        end = campaign.go_on(workdir)
        what = f"bit {bit} of byte {place:,} of {path.relative_to(workdir)}"
        campaign.judge("flips", what, end, end.status == 0 and campaign.ends_as(workdir))
        shutil.rmtree(workdir)


def spread(items, weights):
    """Returns each item as often as its weight says, mixed evenly."""
    places = [(k / n, item) for item, n in zip(items, weights, strict=True) for k in range(n)]
    return [item for _, item in sorted(places, key=lambda place: place[0])]


def _write(name, text):
    return lambda workdir: (workdir / name).write_text(text)


def _remove(name):
    def act(workdir):
        path = workdir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def _rename_step(workdir):
    last = last_checkpoint(workdir)
    last.rename(last.with_name(str(int(last.name) + 1)))


def _truncate_array(workdir):
    arrays = [path for path in last_checkpoint(workdir).glob("params/**/*") if path.is_file()]
    largest = max(arrays, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def _in_last_checkpoint(name, text):
    return lambda workdir: (last_checkpoint(workdir) / name).write_text(text)


def _edit_metrics(edit):
    def act(workdir):
        path = workdir / "metrics.jsonl"
        path.write_text("".join(edit(path.read_text().splitlines(keepends=True))))

    return act


def _edit_posteriors(edit):
    def act(workdir):
        path = next((workdir / "eval").glob("*.npz"))
        arrays = dict(np.load(path))
        edit(arrays)
        np.savez(path, **arrays)

    return act


def _truncate(pattern):
    def act(workdir):
        path = next(workdir.glob(pattern))
        os.truncate(path, path.stat().st_size * 2 // 3)

    return act


def _folder_instead(name):
    def act(workdir):
        (workdir / name).unlink()
        (workdir / name).mkdir()

    return act


FAULTS = (
    ("config.json is gone", "half", _remove("config.json")),
    ("config.json is garbage", "half", _write("config.json", "\x00garbage")),
    ("config.json is a list", "half", _write("config.json", "[]")),
    ("config.json is gone, the seed is another", "half", _remove("config.json"), "--config.seed=5"),
    ("config.json is a folder", "half", _folder_instead("config.json")),
    ("result.json is {}", "whole", _write("result.json", "{}")),
    ("result.json is cut short", "whole", _truncate("result.json")),
    ("metrics.jsonl is gone", "half", _remove("metrics.jsonl")),
    ("a line of metrics.jsonl is gone", "half", _edit_metrics(lambda lines: lines[1:])),
    ("a line of metrics.jsonl is bad", "half", _edit_metrics(lambda ls: [ls[0], "{\n", *ls[2:]])),
    ("two lines of metrics.jsonl are swapped", "half", _edit_metrics(
        lambda lines: [lines[1], lines[0], *lines[2:]])),
    ("a step's folder is renamed", "half", _rename_step),
    ("an array is cut short", "half", _truncate_array),
    ("run/metadata is {}", "half", _in_last_checkpoint("run/metadata", "{}")),
    ("posteriors are NaN", "whole", _edit_posteriors(lambda a: a["values"].fill(np.nan))),
    ("posteriors are short", "whole", _edit_posteriors(
        lambda a: a.update(values=a["values"][:-1]))),
    ("posteriors have odd made_by", "whole", _edit_posteriors(
        lambda a: a.update(made_by=np.array("[1]")))),
    ("posteriors are of other labels", "whole", _edit_posteriors(
        lambda a: a.update(labels=np.roll(a["labels"], 1)))),
    ("posteriors are cut short", "whole", _truncate("eval/*.npz")),
    ("eval/*.json is garbage", "whole", lambda w: next(w.glob("eval/*.json")).write_text("[")),
)  # fmt: skip


def faults(campaign, number):
    """Damages a file as disks, editors and people do; then the same command goes on."""
    for name, base, act, *more in itertools.islice(itertools.cycle(FAULTS), number):
        workdir = copied(campaign, base)
        act(workdir)
        end = campaign.go_on(workdir, *more)
        campaign.judge("faults", name, end, end.status == 0 and campaign.ends_as(workdir))
        shutil.rmtree(workdir)


def pairs(campaign, number):
    """Starts two commands in one workdir; every other time, the first is stopped meanwhile."""
    whole_s = campaign.reference()[1]
    for index in range(number):
        workdir = campaign.new_workdir()
        first = campaign.start(campaign.arguments(workdir))
        time.sleep(campaign.rng.uniform(0, whole_s / 2))
        second = campaign.start(campaign.arguments(workdir))
        if index % 2:
            time.sleep(campaign.rng.uniform(0, whole_s / 2))
            first.terminate()
        ends = wait([first, second])
        refused = [end for end in ends if end.is_refusal]
        # The second may begin only after the first has ended, and then goes on.
        strange = [end for end in ends if end.is_noisy or (end.status and not end.is_refusal)]
        end = campaign.go_on(workdir) if not strange else strange[0]
        name = f"pair {index}: status {[end.status for end in ends]}, {len(refused)} refused"
        campaign.judge("pairs", name, end, end.status == 0 and campaign.ends_as(workdir))


PARTS = {"kills": (kills, 50), "flips": (flips, 40), "faults": (faults, 20), "pairs": (pairs, 10)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="a new folder")
    parser.add_argument("--code", type=pathlib.Path, default=small_runs.ROOT, help="a checkout")
    parser.add_argument("--only", choices=PARTS, help="one part; by default all")
    parser.add_argument("--number", type=int, help="the number of trials of that part")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    campaign = Campaign(given.folder, given.code, given.seed)
    for name, (part, number) in PARTS.items():
        if given.only in (None, name):
            part(campaign, given.number or number)
    print(
        f"\n{'':28}" + "".join(f"{word:>10}" for word in ("survived", "refused", "LOST", "leaked"))
    )
    for kind, count in campaign.counts.items():
        print(
            f"{kind:28}"
            + "".join(f"{count[word]:10}" for word in ("survived", "refused", "LOST", "leaked"))
        )
    sys.exit(any(count["LOST"] or count["leaked"] for count in campaign.counts.values()))


if __name__ == "__main__":
    main()
