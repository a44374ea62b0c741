"""Damage to a workdir's files: it is noticed or harmless, and the error says what to do."""

import contextlib
import gc
import json
import random
import shutil
import threading

import jax
import numpy as np
import pytest
import saved_runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgg_jax import base_config, verify
from vgg_jax.errors import UserError
from vgg_jax.evaluation import posteriors, results
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.unfinished import Unfinished
from vgg_jax.runs import checkpoint_check, run_config, run_result, saved_steps
from vgg_jax.runs.checkpoint_errors import PrunedError, until_not_pruned
from vgg_jax.runs.checkpoints import Checkpoints
from vgg_jax.storage import sealed_json
from vgg_jax.training import metrics, metrics_file

# Orbax leaves coroutines of failed reads unfinished.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

VALUES = np.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]], np.float32)
MADE_BY = {"identity": {"images": "f"}, "checkpoint_step": 2}
POSTERIORS = Posteriors(("a", "b", "c"), np.array([0, 1, 1], np.int32), ("x", "y"), VALUES, MADE_BY)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with two checkpoints and an evaluation, made by the functions of real runs."""
    return saved_runs.finished(tmp_path_factory.mktemp("finished") / "run", POSTERIORS)


@pytest.fixture
def workdir(finished, tmp_path):
    """A copy of that run, which a test may damage."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def _removals_are_quick(monkeypatch):
    """A damaged checkpoint is waited for no longer than this, in case its run removes it."""
    monkeypatch.setattr(saved_steps, "_REMOVAL_S", 0.1)


def flipped(data, at, bit):
    data = bytearray(data)
    data[at] ^= 1 << bit
    return bytes(data)


def outcome(read, *args):
    """Returns what a function returns, and None; or None and the text of its error."""
    try:
        return read(*args), None
    except UserError as error:
        return None, str(error)


def restored(workdir):
    with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        state = checkpoints.restore(saved_runs.like())
        arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
        return arrays, checkpoints.restore_run(), checkpoints.step_of("best")


@pytest.mark.usefixtures("_removals_are_quick")
def test_flipped_bits_of_a_checkpoint_are_noticed_or_harmless(workdir):
    before, rng = restored(workdir), random.Random(0)
    checkpoint = workdir / "checkpoints" / "2"
    paths = sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.stat().st_size)
    sizes, num_noticed = [path.stat().st_size for path in paths], 0
    for path in rng.choices(paths, sizes, k=12):
        data = path.read_bytes()
        path.write_bytes(flipped(data, rng.randrange(len(data)), rng.randrange(8)))
        found, error = outcome(restored, workdir)
        assert found == before or f"{checkpoint} can't be read" in error, path
        if error:
            assert "Step 1 is good" in error
            assert f"rm -r {checkpoint} {workdir / 'result.json'} && python -m" in error
            num_noticed += 1
        path.write_bytes(data)
    assert num_noticed >= 3
    gc.collect()


def test_what_is_wrong_with_a_checkpoint_names_no_object_of_python():
    text = "Error while reading array index: (slice(0, 3, 1)). See full TensorStore details: "
    told = checkpoint_check.reason(OSError(f"{text}<bound method spec of TensorStore({{\n"))
    assert told == "OSError: Error while reading array index: (slice(0, 3, 1))"


def test_a_checkpoint_under_another_steps_name_is_refused(workdir):
    (workdir / "checkpoints/2").rename(workdir / "checkpoints/3")
    with pytest.raises(UserError, match=r"checkpoints/3 can't be read \(it holds step 2"):
        restored(workdir)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "3",
        "null",
        "\x00",
        '{"item_handlers": 3}',
        '{"custom_metadata": []}',
        '{"performance_metrics": 5}',
        '{"init_timestamp_nsecs": "x"}',
    ],
)
def test_odd_metadata_of_orbax_is_refused_or_harmless(workdir, text):
    before = restored(workdir)
    (workdir / "checkpoints/2/_CHECKPOINT_METADATA").write_text(text)
    found, error = outcome(restored, workdir)
    assert found == before or "STEP/_CHECKPOINT_METADATA" in error


def test_another_validation_error_is_refused(workdir):
    (workdir / "checkpoints/2/metrics/metrics").write_text('{"top1_error": 1.0}')
    with pytest.raises(UserError, match=r"checkpoints/2 can't be read \(the error in"):
        restored(workdir)


@pytest.mark.usefixtures("_removals_are_quick")
def test_without_a_good_checkpoint_the_message_says_so(workdir):
    for step in ("1", "2"):
        (workdir / "checkpoints" / step / "run/metadata").write_text("{}")
    with pytest.raises(UserError, match="No other checkpoint there is good") as error:
        restored(workdir)
    assert f"rm -r {workdir / 'checkpoints'} {workdir / 'result.json'} && " in str(error.value)


def test_a_checkpoint_without_digests_is_read_and_it_is_said_once(workdir, monkeypatch, capsys):
    monkeypatch.setattr(sealed_json, "_said", [])
    for step in ("1", "2"):
        path = workdir / "checkpoints" / step / "run/metadata"
        values = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in values.items() if k not in NEW_KEYS}))
    restored(workdir)
    restored(workdir)
    assert capsys.readouterr().err.count("carries no digest") == 1


NEW_KEYS = ("step", "top1_error", "digests", "sealed")


def test_a_checkpoint_that_is_removed_while_it_is_read_is_not_called_damaged(workdir, monkeypatch):
    monkeypatch.setattr(saved_steps, "_REMOVAL_S", 0.2)
    run_result.remove(workdir)  # Only a run that goes on removes checkpoints.
    steps = []

    def read():
        with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
            steps.append(checkpoints.step_of("last"))
            if len(steps) == 1:
                shutil.rmtree(workdir / "checkpoints/2")
            return checkpoints.restore_params(saved_runs.like().params, steps[-1])

    with pytest.raises(PrunedError, match="was removed while it was read"):
        read()
    steps.clear()
    saved_runs.save(workdir, 2)
    until_not_pruned(read)
    assert steps == [2, 1]


def test_the_last_checkpoint_of_a_finished_run_is_missed(workdir):
    shutil.rmtree(workdir / "checkpoints/2")
    message = "result.json is damaged \\(it ends at step 2, but the last checkpoint is .*/1\\)"
    for read in (restored, run_result.read):
        with pytest.raises(UserError, match=message):
            read(workdir)
    assert any("ends at step 2" in checked.damage for checked in verify.check(workdir))


def test_the_result_of_another_run_is_refused(workdir):
    result = run_result.read(workdir)
    run_result.write(workdir, result | {"last": result["last"] | {"top1_error": 41.0}})
    with pytest.raises(UserError, match=r"result.json is damaged .its last error, 41.0%, is not"):
        run_result.read(workdir)


def test_the_config_of_another_run_is_refused(workdir):
    c = run_config.load(workdir)
    c.data.cache_dir, c.num_epochs, c.eval.method = "elsewhere", 80, "both"
    run_config.save(c, workdir)
    restored(workdir)
    c.seed = 7
    run_config.save(c, workdir)
    message = r"config.json is not the config of the checkpoints beside it: seed is 0 there and 7 "
    with pytest.raises(UserError, match=message):
        restored(workdir)
    assert any("seed is 0 there" in checked.damage for checked in verify.check(workdir))


# JSON.

READERS = {
    "config.json": run_config.load,
    "result.json": run_result.read,
    "eval/val-dense-64.json": lambda workdir: results.read_result(
        workdir / "eval/val-dense-64.json"
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_flipped_bits_of_json_are_noticed_or_harmless(workdir, name):
    path, rng = workdir / name, random.Random(name)
    data, before = path.read_bytes(), READERS[name](workdir)
    for _ in range(40):
        path.write_bytes(flipped(data, rng.randrange(len(data)), rng.randrange(8)))
        found, error = outcome(READERS[name], workdir)
        assert found == before or error.startswith(f"{path} is damaged (")


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"3", b"null", b"\xff\xfe", b"{", b"[" * 100_000, b'{"last": 3}']
)
@pytest.mark.parametrize("name", [*READERS][1:])
def test_what_is_no_such_file_is_one_error(workdir, name, text):
    (workdir / name).write_bytes(text)
    with pytest.raises(UserError, match=rf"{name} is damaged \("):
        READERS[name](workdir)


@pytest.mark.parametrize("name", READERS)
def test_a_folder_or_a_huge_file_is_one_error(workdir, name):
    path = workdir / name
    with path.open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(UserError, match="has more than 67,108,864 bytes"):
        READERS[name](workdir)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="it is not a file"):
        READERS[name](workdir)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
# Values of the right keys, and of others.
LIKE_RESULTS = st.dictionaries(
    st.sampled_from(
        ["last", "best", "imported", "commits", "split", "method", "num_images", "seed"]
    )
    | st.sampled_from([*base_config.get_config()])
    | st.text(),
    JSON,
)


@given(values=JSON | LIKE_RESULTS)
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)
def test_arbitrary_json_is_read_or_refused(tmp_path, values):
    (tmp_path / "eval").mkdir(exist_ok=True)
    for name, read in READERS.items():
        (tmp_path / name).write_text(json.dumps(values))
        with contextlib.suppress(UserError):
            read(tmp_path)
    with contextlib.suppress(UserError):
        posteriors.read(tmp_path / name)


def test_checkpoints_without_their_config_are_refused(workdir):
    (workdir / "config.json").unlink()
    with pytest.raises(UserError, match=r"config.json is missing\. .*choose another workdir\.$"):
        run_config.refuse_other_run(base_config.get_config(), workdir)


# The metrics.


def log(workdir, mark):
    return metrics.MetricsLog(workdir, start_step=2, total_steps=2, write=True, mark=mark)


@pytest.mark.parametrize("change", ["removed", "cut", "changed", "not JSON"])
def test_metrics_that_a_checkpoint_knows_are_missed(workdir, change):
    path = workdir / "metrics.jsonl"
    mark, lines = metrics_file.last_mark(workdir), path.read_bytes().splitlines(keepends=True)
    contents = {
        "cut": b"".join(lines[:-1]),
        "changed": flipped(b"".join(lines), 50, 0),
        "not JSON": b"".join([b"x\n", *lines[1:]]),
    }
    path.unlink()
    if change in contents:
        path.write_bytes(contents[change])
    state = "missing" if change == "removed" else "damaged"
    with pytest.raises(UserError, match=rf"metrics.jsonl is {state}(.|\n)*init_from="):
        log(workdir, mark)
    with pytest.raises(UserError, match=rf"metrics.jsonl is {state}"):
        metrics_file.read(workdir, "train")


def test_lines_beyond_the_checkpoint_are_removed_and_the_others_kept(workdir):
    path, mark = workdir / "metrics.jsonl", metrics_file.last_mark(workdir)
    before = path.read_bytes()
    path.write_bytes(before + b'{"kind": "train", "step": 3, "loss": 1.0}\n{"kind')
    log(workdir, mark).close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["removed", "replaced", "cut"])
def test_metrics_that_vanish_during_a_run_are_written_again(workdir, change, capsys):
    path = workdir / "metrics.jsonl"
    opened = log(workdir, metrics_file.last_mark(workdir))
    before = path.read_bytes()
    if change == "cut":
        with path.open("r+b") as file:
            file.truncate(3)
    else:
        path.unlink()
    if change == "replaced":
        path.write_bytes(before[:5])
    opened.sync()
    opened.train(3, saved_runs.TRAIN)
    opened.close()
    assert path.read_bytes().startswith(before)
    assert path.read_bytes().count(b"\n") == before.count(b"\n") + 1
    assert "was removed or changed" in "".join(capsys.readouterr())


# Posteriors.


def test_flipped_bits_of_posteriors_are_noticed_or_harmless(tmp_path):
    path, rng = tmp_path / "p.npz", random.Random(0)
    POSTERIORS.save(path)
    data = path.read_bytes()
    for _ in range(200):
        path.write_bytes(flipped(data, rng.randrange(len(data)), rng.randrange(8)))
        found, error = outcome(posteriors.read, path)
        if error:
            assert "Remove it; the evaluation then makes it again" in error
            continue
        np.testing.assert_array_equal(found.values, VALUES)
        np.testing.assert_array_equal(found.labels, POSTERIORS.labels)
        assert (found.names, found.made_by) == (POSTERIORS.names, MADE_BY)


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": VALUES * np.float32("nan")},
        {"values": VALUES * 2},
        {"values": VALUES - 1},
        {"values": VALUES[:2]},
        {"values": VALUES > 0},
        {"labels": np.array([0, 1, 2], np.int32)},
        {"labels": np.array([0.0, 1, 1])},
        {"names": np.zeros(3)},
        {"made_by": np.array("[]")},
        {"made_by": np.array('{"identity": 3}')},
        {"made_by": np.zeros(3)},
    ],
)
def test_posteriors_that_cannot_be_are_refused(tmp_path, wrong):
    arrays = {
        "names": np.array(POSTERIORS.names),
        "labels": POSTERIORS.labels,
        "class_names": np.array(POSTERIORS.class_names),
        "values": VALUES,
        "made_by": np.array(json.dumps(MADE_BY)),
    }
    np.savez(tmp_path / "p.npz", **arrays)  # An earlier version wrote no digest either.
    posteriors.read(tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", **arrays | wrong)
    with pytest.raises(UserError, match="not a complete file of posteriors"):
        posteriors.read(tmp_path / "p.npz")


def test_a_part_with_values_that_cannot_be_is_computed_again(tmp_path):
    folder = tmp_path / "it.unfinished"
    Unfinished(folder, {"of": 1}, 3, 2, save_every_s=0.0).add(np.arange(2), VALUES[:2])
    assert Unfinished(folder, {"of": 1}, 3, 2, save_every_s=0.0).done.sum() == 2
    np.savez(folder / "other.npz", indices=np.array([2]), values=VALUES[2:] * np.float32("nan"))
    np.savez(folder / "more.npz", indices=np.array([3]), values=VALUES[2:])
    assert Unfinished(folder, {"of": 1}, 3, 2, save_every_s=0.0).done.tolist() == [
        True,
        True,
        False,
    ]


# All of it.


@pytest.mark.usefixtures("_removals_are_quick")
def test_verify_says_of_each_file_whether_it_is_good(workdir, capsys):
    verify.verify(workdir)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        *("config.json: ok", "result.json: ok", "metrics.jsonl: ok"),
        *("checkpoints/1: ok", "checkpoints/2: ok"),
        *("eval/val-dense-64.json: ok", "eval/val-dense-64.npz: ok"),
    ]
    (workdir / "config.json").unlink()
    path = workdir / "checkpoints/1/run/metadata"
    path.write_bytes(flipped(path.read_bytes(), 20, 1))
    with pytest.raises(UserError, match="2 of the files above are damaged or missing"):
        verify.verify(workdir)
    out = capsys.readouterr().out
    assert "config.json: missing. " in out
    assert "checkpoints/1: damaged (" in out
    assert "checkpoints/2: ok" in out


@pytest.mark.usefixtures("_removals_are_quick")
@pytest.mark.parametrize("steps", [(1,), (2,), (1, 2)])
def test_verify_ends_with_the_command_that_goes_on_from_the_last_good_checkpoint(workdir, steps):
    damaged = [workdir / f"checkpoints/{step}" for step in steps]
    for checkpoint in damaged:
        shutil.rmtree(checkpoint / "params")
    _, message = outcome(verify.verify, workdir)
    *_, last = message.splitlines()
    removed = {
        (1,): damaged,
        (2,): [*damaged, workdir / "result.json"],
        (1, 2): [workdir / "checkpoints", workdir / "result.json"],
    }[steps]
    goes_on = f"python -m vgg_jax.main --workdir={workdir}"
    assert last == f"    rm -r {' '.join(map(str, removed))} && {goes_on}"
    are = "is" if len(steps) == 1 else "are"
    assert message.startswith(f"{len(steps)} of the files above {are} damaged or missing.\n")


def test_verify_says_that_the_line_of_a_file_says_what_to_do(workdir):
    (workdir / "metrics.jsonl").unlink()
    with pytest.raises(
        UserError, match=r"^1 of the files above is .*\. The line of each file says"
    ):
        verify.verify(workdir)


def test_a_checkpoint_that_its_run_removes_meanwhile_is_not_called_damaged(workdir):
    run_result.remove(workdir)
    shutil.rmtree(workdir / "checkpoints/1/params")
    removal = threading.Timer(0.5, lambda: shutil.rmtree(workdir / "checkpoints/1"))
    checked = verify.check(workdir)
    removal.start()
    assert not any(found.damage for found in checked)
    removal.join()


def test_there_is_nothing_to_verify_without_a_run(tmp_path):
    with pytest.raises(UserError, match="There is no run in"):
        verify.verify(tmp_path)
