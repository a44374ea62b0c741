"""Workdirs and data at gs:// behave as on a disk, on a server that imitates Google's."""

import contextlib
import json
import pickle
import re
import shutil
import signal
import sys
import time

import gcs_server
import jax.numpy as jnp
import numpy as np
import opened
import pytest
import saved_runs
import small_runs
from small_runs import start

from launch.plan import finished, graph, selection, workdirs
from launch.plan.sweep_spec import Sweep
from vgg_jax.data import rendered_shapes, sources
from vgg_jax.data.sources.folder import set_name
from vgg_jax.data.specs import DataSpec
from vgg_jax.data.splits import open_sources, open_val_source
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.evaluation import fusion, posteriors
from vgg_jax.evaluation.result_key import Variant
from vgg_jax.evaluation.unfinished import Unfinished
from vgg_jax.nets import sharding
from vgg_jax.runs import run_config, saved_steps
from vgg_jax.runs.checkpoints import Checkpoints, SavedRun
from vgg_jax.runs.facts import RunFacts
from vgg_jax.runs.state import init_state
from vgg_jax.storage import files, growing_files
from vgg_jax.system import command_line
from vgg_jax.training.optimiser import sgd

FACTS = RunFacts(("a", "b", "c"), "train", "val", (120.0, 110.0, 100.0), ())


@pytest.fixture(scope="module")
def refused():
    """A run whose server refuses all connections. gcsfs tries again for half a minute."""
    arguments = small_runs.one_epoch("nowhere", "gs://bucket/run")
    with start(*arguments, STORAGE_EMULATOR_HOST="http://127.0.0.1:1") as process:
        yield process
        process.kill()


@pytest.fixture(scope="module", autouse=True)
def _refused_meanwhile(request):
    """Starts `refused` before the other tests, if a selected test waits for it."""
    if any("refused" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("refused")


@pytest.fixture
def root(server, request):
    """A folder for this test alone."""
    return files.path("gs://bucket/" + re.sub(r"\W", "_", request.node.name))


def finish(process):
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return output


def upload(server, folder, name):
    for file in folder.rglob("*"):
        if file.is_file():
            server.write(f"{name}/{file.relative_to(folder)}", file.read_bytes())


# Paths.


@pytest.mark.parametrize("name", ["s3://bucket/run", "gs://", "gs:///", "http://host/run"])
def test_other_places_are_refused(name):
    with pytest.raises(UserError, match="neither on this disk nor gs://BUCKET/FOLDER"):
        files.path(name)


@pytest.mark.parametrize("name", ["gs://bucket/run[1]", "gs://bucket/*", "gs://bucket/?"])
def test_names_that_are_patterns_are_refused(name):
    with pytest.raises(UserError, match="paths in buckets can't have"):
        files.path(name)


def test_without_gcsfs_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match=r"needs gcsfs: pip install -e '.\[gcs\]'"):
        files.path("gs://bucket/run")


def test_a_cache_in_a_bucket_is_refused(run_main):
    arguments = small_runs.one_epoch("nowhere", "nowhere", "--config.data.cache_dir=gs://bucket/c")
    with pytest.raises(UserError, match="cache_dir=gs://bucket/c must be a folder on this machine"):
        run_main(*arguments)


# Files.


def test_a_file_is_there_whole_or_as_it_was(root, server):
    file = root / "file.txt"

    def fail():
        with files.written_aside(file) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not file.exists()
    files.write_text(file, "whole")
    with pytest.raises(RuntimeError):
        fail()
    assert files.read(file) == b"whole"
    assert server.names(root.name) == [f"{root.name}/file.txt"]
    assert abs(files.modified_s(file) - time.time()) < 60


def test_what_others_write_is_seen(root, server):
    """The client would by default cache the first listing."""
    assert not list(root.glob("*"))
    server.write(f"{root.name}/a", b"")
    assert [path.name for path in root.glob("*")] == ["a"]
    server.write(f"{root.name}/b", b"")
    assert [path.name for path in root.iterdir()] == ["a", "b"]
    assert (root / "b").exists()


def test_a_tree_is_removed_and_one_that_is_not_there(root, server):
    for index in range(2 * gcs_server.PAGE):
        server.write(f"{root.name}/tree/{index % 3}/{index}", b"")
    server.write(f"{root.name}/trees", b"")
    files.remove_tree(root / "tree")
    files.remove_tree(root / "tree")
    assert server.names(root.name) == [f"{root.name}/trees"]


def test_of_a_tree_that_moves_the_mark_comes_last_and_goes_first(root, server):
    contents = {f"{index % 3}/{index}": b"%d" % index for index in range(2 * gcs_server.PAGE)}
    contents["mark"] = b""
    for name, data in contents.items():
        server.write(f"{root.name}/old/{name}", data)
    server.requests.clear()
    files.move_tree(root / "old", root / "new", "mark")
    moved = server.names(root.name)
    assert {n.removeprefix(f"{root.name}/new/"): server.read(n) for n in moved} == contents
    changes = [r.replace(f"{root.name}/", "") for r in server.requests if "GET" not in r]
    at = [index for index, change in enumerate(changes) if "old/mark" in change]
    assert "rewriteTo" in changes[at[0]]
    assert changes[at[1]].startswith("DELETE")
    assert all("rewriteTo" in change for change in changes[: at[0]])
    assert at[1] == at[0] + 1 == len(contents)
    assert all(change.startswith("DELETE") for change in changes[at[1] :])


def test_a_mirror_brings_what_has_grown(root, server):
    mirrored = growing_files.Mirror(root)
    file = mirrored.here / "events" / "1"
    file.parent.mkdir()
    for text in ("a", "ab"):
        file.write_text(text)
        mirrored.sync()
        assert server.read(f"{root.name}/events/1") == text.encode()
    server.requests.clear()
    mirrored.sync()
    assert server.requests == []
    mirrored.close()
    assert not mirrored.here.exists()
    assert server.names(root.name) == [f"{root.name}/events/1"]


def test_a_bucket_that_is_not_there_is_one_error(server, run_main):
    with pytest.raises(UserError, match="gs://other/run can't be written to"):
        run_main(*small_runs.one_epoch("nowhere", "gs://other/run"))


def test_a_workdir_without_a_run_is_one_error(root):
    with pytest.raises(UserError, match=f"There is no run in {root}"):
        fusion.keys_of({root: (), root / "b": ()}, "dense", None, Variant())


@pytest.mark.parametrize("status", [401, 403])
def test_a_bucket_that_is_closed_to_us_is_one_error(root, server, monkeypatch, capsys, status):
    monkeypatch.setattr(server, "refuse_with", status)
    with pytest.raises(Exception, match="refused") as raised:
        run_config.load(root)
    assert command_line.report(raised.value) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: The bucket can't be reached (")
    assert "refused" in line


def test_an_evaluation_goes_on_from_its_parts(root, server):
    def unfinished(**identity):
        return Unfinished(root / "x.unfinished", identity, 4, 3, save_every_s=0.0)

    values = np.full((2, 3), 1 / 3, np.float32)
    unfinished(net="A").add(np.array([3, 1]), values)
    again = unfinished(net="A")
    assert again.done.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(again.values[[3, 1]], values)
    assert not unfinished(net="B").done.any()
    again.remove()
    assert not server.names(root.name)


# Checkpoints.


def test_orbax_marks_a_complete_checkpoint_as_we_read_it():
    from orbax.checkpoint._src.path import atomicity_types

    assert saved_steps.COMMIT == atomicity_types.COMMIT_SUCCESS_FILE


@pytest.fixture
def save(root):
    params = {"fc8": {"kernel": jnp.arange(6.0).reshape(1, 1, 2, 3), "bias": jnp.ones(3)}}
    made = init_state(params, sgd(0.9, 5e-4))
    made = sharding.put_replicated(made, sharding.make_mesh())

    def save(at, error, about=""):
        with contextlib.closing(Checkpoints(root)) as checkpoints:
            run = SavedRun(FACTS, {"about": about})
            checkpoints.save(made.replace(step=jnp.int32(at)), run, error)
            checkpoints.wait()

    return save


def test_the_last_two_and_the_best_are_kept(root, save):
    for at, error in ((1, 50.0), (2, 40.0), (3, 45.0), (4, None), (5, None)):
        save(at, error)
    assert sorted(path.name for path in (root / "checkpoints").iterdir()) == ["2", "4", "5"]
    with contextlib.closing(Checkpoints(root, read_only=True)) as checkpoints:
        assert (checkpoints.step_of("last"), checkpoints.step_of("best")) == (5, 2)


def test_a_checkpoint_counts_once_it_is_complete(root, server, save):
    save(1, None, "first")
    save(2, None)
    bucket_name = f"{root.name}/checkpoints/2/{saved_steps.COMMIT}"
    mark = server.objects.pop(bucket_name)
    assert saved_steps.last_step(root) == 1
    with contextlib.closing(Checkpoints(root, read_only=True)) as checkpoints:
        assert checkpoints.restore_run().progress == {"about": "first"}
    server.objects[bucket_name] = mark
    assert saved_steps.last_step(root) == 2
    del server.objects[bucket_name]
    with contextlib.closing(Checkpoints(root)) as checkpoints:
        assert checkpoints.last_step == 1
    save(3, None)  # The incomplete checkpoint 2 has been removed by then.
    assert sorted(path.name for path in (root / "checkpoints").iterdir()) == ["1", "3"]


def test_a_checkpoint_is_replaced_after_its_validation(root, server, save):
    save(1, None, "before")
    save(1, 40.0, "after")
    assert not server.names(f"{root.name}/{saved_steps.REPLACED}")
    with contextlib.closing(Checkpoints(root)) as checkpoints:
        assert checkpoints.restore_run().progress == {"about": "after"}
        assert checkpoints.step_of("best") == 1


@pytest.mark.parametrize("killed", ["putting aside", "removing", "saving", "bringing back"])
def test_killed_where_a_checkpoint_is_replaced_the_old_one_counts(root, server, save, killed):
    save(1, None, "before")
    here, aside = f"{root.name}/checkpoints/1/", f"{root.name}/{saved_steps.REPLACED}/1/"
    old = [name.removeprefix(here) for name in server.names(here)]
    for name in old:
        if killed != "putting aside" or name < "m":
            server.write(aside + name, server.read(here + name))
    if killed == "removing":
        del server.objects[here + saved_steps.COMMIT]
    if killed in ("saving", "bringing back"):
        for name in old:
            del server.objects[here + name]
    if killed == "saving":
        server.write(here + "params/_METADATA", b"of the new one")
        server.write(here + "metrics/metrics", b'{"top1_error": 40.0}')
    if killed == "bringing back":
        server.write(here + "params/_METADATA", server.read(aside + "params/_METADATA"))
    assert saved_steps.last_step(root) == 1
    with contextlib.closing(Checkpoints(root)) as checkpoints:
        assert checkpoints.restore_run().progress == {"about": "before"}
    assert [name.removeprefix(here) for name in server.names(here)] == old
    assert not server.names(aside)


# Data.


def test_a_folder_of_images_is_the_same_as_on_a_disk(folder, root, server, tmp_path):
    disk = shutil.copytree(folder, tmp_path / "images")
    names = ("a/notes.txt", "a/below/deeper.jpg", "a/.hidden.jpg", ".ipynb_checkpoints/0.jpg")
    small_runs.fill(disk / "train", dict.fromkeys(names, b"more"))
    upload(server, disk, root.name)
    server.requests.clear()
    here, there = opened.folder(disk, "train"), opened.folder(root, "train")
    assert len(server.requests) == -(-21 // gcs_server.PAGE)  # One per page, none per image.
    there = pickle.loads(pickle.dumps(there))
    assert there.class_names == here.class_names
    assert there.fingerprint == here.fingerprint
    assert there.contents_key != here.contents_key
    for index in range(len(here)):
        ours, theirs = here[index], there[index]
        assert (ours.image, ours.label) == (theirs.image, theirs.label)
        assert here.name(index) == there.name(index)
        assert theirs.key == f"{root}/train/{there.name(index)}"
    del server.objects[f"{root.name}/train/{there.name(0)}"]
    with pytest.raises(UndecodableError, match="it isn't there"):
        there[0]


def test_unlabelled_images_in_a_bucket(root, server):
    server.write(f"{root.name}/test/b.jpg", b"b")
    server.write(f"{root.name}/test/a.jpg", b"a")
    source = opened.folder(root, "test")
    assert source.class_names == ()
    assert [source[index].image for index in range(2)] == [b"a", b"b"]
    with pytest.raises(UserError, match=f"There is no folder {root}/train"):
        opened.folder(root, "train")
    server.write(f"{root.name}/train/a/notes.txt", b"")
    with pytest.raises(UserError, match=f"The class folder {root}/train/a holds no images"):
        opened.folder(root, "train")


def test_a_folder_without_splits_in_a_bucket(root, server):
    for name in ("b/1.jpg", "a/1.jpg", "a/2.jpg"):
        server.write(f"{root.name}/{name}", name.encode())
    spec = DataSpec("folder", str(root), "train", "", "")
    source = open_val_source(spec)
    assert [source[index].image for index in range(3)] == [b"a/1.jpg", b"a/2.jpg", b"b/1.jpg"]
    assert set_name(str(root)) == root.name
    server.write(f"{root.name}/train/a/1.jpg", b"a")
    with pytest.raises(UserError, match=f"There is no folder {root}/val"):
        open_val_source(spec)


def test_imagenets_class_folders_are_the_same_as_on_a_disk(root, server, tmp_path):
    synsets = ("n01440764", "n01443537")
    names = [f"train/{synset}/{synset}_{i}.JPEG" for synset in synsets for i in range(3)]
    names += [f"val/ILSVRC2012_val_{number:08}.JPEG" for number in (293, 236)]
    names += ["train/README.md"]
    small_runs.fill(tmp_path, {name: name.encode() for name in names})
    upload(server, tmp_path, root.name)
    server.write(f"{root.name}/ILSVRC2012_img_val.tar", b"")  # Beside folders it doesn't matter.
    for split in ("train", "validation"):
        here, there = (
            sources.open_split(DataSpec("imagenet", str(where), "train", "", cache_dir=""), split)
            for where in (tmp_path, root)
        )
        assert here.fingerprint == there.fingerprint
        assert [here[i].image for i in range(len(here))] == [
            there[i].image for i in range(len(there))
        ]


def test_imagenets_archives_are_refused(root, server):
    server.write(f"{root.name}/ILSVRC2012_img_val.tar", b"")
    with pytest.raises(UserError, match=r"ILSVRC2012_img_val\.tar\. Archives can't be read in a b"):
        sources.open_split(DataSpec("imagenet", str(root), "train", "", cache_dir=""), "validation")


def test_a_csv_file_is_the_same_as_on_a_disk(folder, root, server, tmp_path):
    upload(server, folder, root.name)
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in folder.glob("train/*/*")]
    lists = tmp_path / "list.csv"
    small_runs.fill(tmp_path, {"list.csv": "\n".join(["path,label", *rows]).encode()})
    server.write(f"{root.name}/list.csv", lists.read_bytes())
    for image in folder.glob("train/*/*"):
        small_runs.fill(tmp_path, {str(image.relative_to(folder)): image.read_bytes()})
    server.requests.clear()
    here, there = (
        open_val_source(DataSpec("csv", str(file), "train", "", ""))
        for file in (lists, root / "list.csv")
    )
    pages = -(-len(server.names(root.name)) // gcs_server.PAGE)
    assert len(server.requests) == pages + 1  # One per page, one for the CSV file, none per image.
    there = pickle.loads(pickle.dumps(there))
    assert there.fingerprint == here.fingerprint
    for index in range(len(here)):
        ours, theirs = here[index], there[index]
        assert (ours.image, ours.label) == (theirs.image, theirs.label)
        assert here.name(index) == there.name(index)
        assert theirs.key == f"{root}/{there.name(index)}"


@pytest.mark.parametrize("path", ["/data/1.jpg", "../1.jpg", "gs://other/1.jpg"])
def test_a_csv_file_in_a_bucket_names_what_lies_below_it(root, server, path):
    server.write(f"{root.name}/list.csv", f"path,label\n{path},a\n".encode())
    with pytest.raises(UserError, match=f"{root}/list.csv:2: {path} doesn't lie below"):
        open_val_source(DataSpec("csv", f"{root}/list.csv", "train", "", ""))


def test_what_a_csv_file_in_a_bucket_lacks_is_named(root, server):
    server.write(f"{root.name}/list.csv", b"path,label\nno.jpg,a\n")
    with pytest.raises(UserError, match=f"list.csv:2: there is no image {root}/no.jpg"):
        open_val_source(DataSpec("csv", f"{root}/list.csv", "train", "", ""))
    with pytest.raises(UserError, match=f"{root}/none.csv isn't there"):
        open_val_source(DataSpec("csv", f"{root}/none.csv", "train", "", ""))
    with pytest.raises(UserError, match=f"{root} is a folder"):
        open_val_source(DataSpec("csv", str(root), "train", "", ""))


def test_a_csv_file_lies_in_the_bucket_itself(server):
    server.write("top.csv", b"path,label\ntop/1.jpg,a\n")
    server.write("top/1.jpg", b"image")
    source = open_val_source(DataSpec("csv", "gs://bucket/top.csv", "train", "", ""))
    assert tuple(source[0]) == (b"image", 0, "gs://bucket/top/1.jpg")


def test_a_tfds_set_is_the_same_as_on_a_disk(root, server, tmp_path, monkeypatch):
    monkeypatch.setattr(rendered_shapes, "SPLITS", {"train": 12, "validation": 4})
    splits = {"train_split": "train", "val_split": "validation", "cache_dir": str(tmp_path)}
    here = open_sources(DataSpec("shapes", "", **splits))
    upload(server, tmp_path, root.name)
    there = open_sources(DataSpec("vgg_jax_shapes", str(root), **splits))
    for ours, theirs in zip(here, there, strict=True):
        theirs = pickle.loads(pickle.dumps(theirs))
        assert [ours[i] for i in range(len(ours))] == [theirs[i] for i in range(len(ours))]
        assert ours.fingerprint == theirs.fingerprint
    with pytest.raises(UserError, match=f"not prepared in {root}/none|none lies in {root}/none"):
        open_sources(DataSpec("vgg_jax_shapes", f"{root}/none", **splits))


# Runs.


def test_a_run_in_a_bucket_ends_as_one_on_a_disk(folder, trained, server):
    """The run is killed, resumes with images in the bucket, is evaluated, fused and predicts."""
    workdir = files.path("gs://bucket/runs/a")
    upload(server, folder, "images")
    arguments = small_runs.one_epoch(
        folder, workdir, "--config.eval.method=both", "--config.checkpoint_every_steps=1"
    )
    process = start(*arguments)
    committed = "runs/a/checkpoints/1/commit_success.txt"
    while committed not in server.objects:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert saved_steps.last_step(workdir) == 1
    arguments.append("--config.data.dir=gs://bucket/images")
    output = finish(start(*arguments))
    assert "goes on at step 1" in output

    def records(of):
        lines = map(json.loads, (of / "metrics.jsonl").read_text().splitlines())
        timings = ("images_per_s", "input_wait_share")
        return [{k: v for k, v in line.items() if k not in timings} for line in lines]

    assert records(workdir) == records(trained)
    for method in ("dense", "multicrop"):
        ours, theirs = (
            posteriors.read(of / "eval" / f"val-{method}-73.npz") for of in (workdir, trained)
        )
        np.testing.assert_array_equal(ours.values, theirs.values)
        assert ours.names == theirs.names
        assert ours.made_by["identity"]["parameters"] == theirs.made_by["identity"]["parameters"]
    assert not [n for n in server.names("runs/a") if "partial" in n or "unfinished" in n]
    assert server.read("runs/a/curves.png").startswith(b"\x89PNG")
    assert server.names("runs/a/tensorboard/events.out")
    assert "The report is in gs://bucket/runs/a/report.html" in output
    assert json.loads(server.read("runs/a/result.json"))["last"]["step"] == 2

    photo = folder / "val" / "a" / "0.jpg"
    predictions = [
        start(photo, f"--workdir={of}", module="vgg_jax.predict") for of in (workdir, trained)
    ]
    fused = start(workdir, trained, "--method=both", module="vgg_jax.fuse")
    again = start("--mode=eval", *arguments)
    assert "9 images" in finish(fused)
    assert "batches" not in finish(again)  # All results were there.
    ours, theirs = map(finish, predictions)
    assert ours == theirs
    assert server.names("runs/fused/")


def test_a_sweep_sees_what_is_done_in_a_bucket(root, server):
    sweep = Sweep(root, mini=True)
    sweep.save()
    assert Sweep.load(root) == sweep
    tasks = graph.tasks(sweep, selection.of_runs(["a_256"]))
    workdirs.check(tasks)
    assert finished.done(tasks) == set()
    run_config.save(tasks[0].config(), tasks[0].workdir)
    saved_runs.write_result(tasks[0].workdir)
    workdirs.check(tasks)
    assert finished.done(tasks) == {"a_256"}
    assert finished.done(graph.tasks(Sweep(root, mini=True, seeds=2), [])) == set()


@pytest.mark.runs
def test_a_server_that_is_out_of_reach_is_one_error(refused):
    _, errors = refused.communicate(timeout=120)
    assert refused.returncode == 2
    (line,) = [line for line in errors.splitlines() if line]
    assert line.startswith("error: gs://bucket/run can't be written to (ClientConnector")
