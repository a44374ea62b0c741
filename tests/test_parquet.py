"""The Hub's parquet shards, read in place: examples, order, errors, and a run that resumes."""

import contextlib
import io
import itertools
import multiprocessing
import pickle
import re
import signal
import subprocess
import threading

import made_imagenet
import made_parquet
import numpy as np
import opened
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import saved
import small_runs
from PIL import Image

from vgg_jax.data import crops, decodable, decode_budget, sources, splits, workers
from vgg_jax.data.imagenet import classes, forms
from vgg_jax.data.imagenet.parquet import ParquetSource
from vgg_jax.data.prefetch import Shard
from vgg_jax.data.source import Subset, block_starts
from vgg_jax.data.specs import DataSpec, ScanOptions
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.runs import digests

NUM_TRAIN, NUM_VAL = 91, 20

pytestmark = pytest.mark.usefixtures("parsed_flags")


def spec(directory, **more):
    return DataSpec("imagenet", str(directory), "train", "", cache_dir="", **more)


def open_split(directory, split="train"):
    return ParquetSource(spec(directory), split)


def picture(level=0):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (level,) * 3).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return small_runs.small_images(
        tmp_path_factory.mktemp("parquet") / "folders", train=NUM_TRAIN, val=NUM_VAL
    )


@pytest.fixture(scope="session")
def shards(folders):
    target = folders.parent / "shards"
    made_parquet.of_folders(folders, "train", target / "data", "train")
    made_parquet.of_folders(folders, "val", target / "data", "validation", num_shards=1)
    return target


@pytest.fixture(scope="session")
def source(shards):
    return open_split(shards)


# Examples.


@pytest.mark.parametrize(("split", "folder"), [("train", "train"), ("validation", "val")])
def test_images_and_labels_are_those_of_the_folder_of_the_same_files(
    shards, folders, split, folder
):
    ours, theirs = open_split(shards, split), opened.folder(folders, folder)
    assert ours.class_names == theirs.class_names == ("a", "b", "c")
    assert len(ours) == len(theirs)
    for index in range(len(ours)):
        assert ours[index][:2] == theirs[index][:2]
        assert ours.label(index) == theirs.label(index)
        assert theirs.name(index).endswith(f"/{ours.name(index)}")


def test_shards_may_lie_in_the_folder_itself(shards, source):
    assert open_split(shards / "data").fingerprint == source.fingerprint


def test_the_key_names_shard_and_row(shards, source):
    assert source[47].key == f"{shards}/data/train-00001-of-00002.parquet[2] {source.name(47)}"


def test_validation_is_the_default_split_to_validate_on(shards):
    train, val = splits.open_sources(spec(shards))
    assert (len(train), len(val)) == (NUM_TRAIN, NUM_VAL)


IMAGENET = [
    ("n01440764_10026_n01440764.JPEG", 0, "n01440764_10026.JPEG"),
    ("ILSVRC2012_val_00000293_n01443537.JPEG", 1, "ILSVRC2012_val_00000293.JPEG"),
    ("n15075141_9_n15075141.JPEG", 999, "n15075141_9.JPEG"),
]


@pytest.mark.parametrize("listed", ["words", "synsets", "nothing"])
def test_ilsvrc_has_its_synsets_and_the_names_of_its_other_forms(tmp_path, listed):
    words = {
        "words": [f"{words}, and more" for words in classes.words().values()],
        "synsets": classes.synsets(),
        "nothing": None,
    }
    made_parquet.write(
        tmp_path / "train-00000-of-00001.parquet",
        [(picture(), path) for path, _, _ in IMAGENET],
        [label for _, label, _ in IMAGENET],
        names=words[listed],
    )
    source = open_split(tmp_path)
    assert source.class_names == classes.synsets()
    assert [source.name(i) for i in range(3)] == [name for _, _, name in IMAGENET]


def test_the_thousand_classes_have_the_images_labels_and_names_of_class_folders(tmp_path):
    images = made_imagenet.images()
    made_imagenet.folders(tmp_path / "folders", images)
    synsets = list(classes.synsets())
    for split, name in (("train", "train"), ("val", "validation")):
        rows = [
            (data, file.replace(".JPEG", f"_{synset}.JPEG"), synsets.index(synset))
            for (synset, file), data in images[split].items()
        ]
        rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
        made_parquet.write(
            tmp_path / f"shards/data/{name}-00000-of-00001.parquet",
            [row[:2] for row in rows],
            [row[2] for row in rows],
            names=[f"{words}, and more" for words in classes.words().values()],
            rows_per_group=100,
        )
        opened_forms = [
            sources.open_split(spec(tmp_path / form), name) for form in ("shards", "folders")
        ]
        ours, theirs = (
            {source.name(i): source[i][:2] for i in range(len(source))} for source in opened_forms
        )
        assert ours == theirs
        assert len(ours) == 1000
        assert opened_forms[0].class_names == opened_forms[1].class_names


def test_a_thousand_other_classes_keep_their_names(tmp_path):
    names = tuple(f"class {k}" for k in range(1000))
    path = "x_n01440764.JPEG"
    made_parquet.write(
        tmp_path / "train-00000-of-00001.parquet", [(picture(), path)], [7], names=names
    )
    source = open_split(tmp_path)
    assert source.class_names == names
    assert source.name(0) == path


def test_a_split_whose_labels_are_all_minus_one_is_unlabelled(tmp_path):
    path = "ILSVRC2012_test_00000001.JPEG"
    made_parquet.write(
        tmp_path / "test-00000-of-00001.parquet",
        [(picture(), path), (picture(), None)],
        [-1, -1],
        names=classes.words().values(),
    )
    source = open_split(tmp_path, "test")
    assert source.class_names == ()
    assert [source.label(i) for i in range(2)] == [-1, -1]
    assert [source.name(i) for i in range(2)] == [path, "test[1]"]


def test_a_pickled_source_reads_in_another_process(source):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(pickle.loads(pickle.dumps(source)).__getitem__, [90, 0])
    assert found == [source[90], source[0]]


def test_threads_read_side_by_side(source):
    expected = [source[index] for index in range(len(source))]
    found = {}

    def read(seed):
        order = np.random.default_rng(seed).permutation(len(source))
        found[seed] = {int(index): source[int(index)] for index in order}

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all([of[i] for i in range(len(source))] == expected for of in found.values())
    assert len(found) == 4


# The hashes.


def changed(folders, tmp_path, **more):
    return open_split(made_parquet.of_folders(folders, "train", tmp_path, "train", **more))


def test_the_fingerprint_depends_on_the_row_groups_because_the_order_does(
    folders, source, tmp_path
):
    same = changed(folders, tmp_path / "same")
    other = changed(folders, tmp_path / "other", rows_per_group=9)
    assert same.fingerprint == source.fingerprint
    assert other.fingerprint != source.fingerprint
    assert source.fingerprint != opened.folder(folders, "train").fingerprint


def test_a_shard_that_is_written_again_has_another_contents_key(folders, source, tmp_path):
    before = changed(folders, tmp_path)
    after = changed(folders, tmp_path)
    assert before.fingerprint == after.fingerprint == source.fingerprint
    assert before.contents_key != after.contents_key


# The order of training.


def batches(source, count, *, seed=0, start_step=0, **batching):
    batching = crops.Batching(**{"batch_size": 8, "crop_px": 32} | batching)
    made = crops.train_batches(
        source, batching, train_scale=(33, 48), seed=seed, start_step=start_step
    )
    with contextlib.closing(made) as found:
        return list(itertools.islice(found, count))


def assert_equal(found, expected):
    for batch, other in zip(found, expected, strict=True):
        for name in ("image", "label"):
            np.testing.assert_array_equal(batch[name], other[name])


class Numbered(ParquetSource):
    """Its labels are the images' numbers."""

    def __getitem__(self, index):
        return super().__getitem__(index)._replace(label=index)


@pytest.fixture(scope="session")
def numbered(shards):
    return Numbered(spec(shards), "train")


def epochs(source, count, **more):
    labels = np.concatenate(
        [batch["label"] for batch in batches(source, count * 13, batch_size=7, **more)]
    )
    return labels.reshape(count, NUM_TRAIN).tolist()


def test_every_epoch_has_every_image_once_in_a_new_order(numbered):
    found = epochs(numbered, 3)
    assert [sorted(epoch) for epoch in found] == [list(range(NUM_TRAIN))] * 3
    assert len({tuple(epoch) for epoch in [*found, range(NUM_TRAIN)]}) == 4


def test_the_seed_changes_the_order(numbered):
    assert epochs(numbered, 1) != epochs(numbered, 1, seed=1)


@pytest.mark.parametrize(("num_workers", "start_step"), [(1, 13), (2, 0)])
def test_workers_change_nothing(source, num_workers, start_step):
    expected = batches(source, 16)[start_step:]
    found = batches(source, 16 - start_step, num_workers=num_workers, start_step=start_step)
    assert_equal(found, expected)


@pytest.mark.parametrize("count", [2, 4])
def test_shards_of_hosts_make_up_the_whole(source, count):
    parts = [batches(source, 14, shard=Shard(i, count)) for i in range(count)]
    joined = [
        {name: np.concatenate([part[name] for part in of_batch]) for name in of_batch[0]}
        for of_batch in zip(*parts, strict=True)
    ]
    assert_equal(joined, batches(source, 14))


@pytest.mark.parametrize("step", [1, 11, 12, 30])
def test_it_resumes_at_any_step(source, step):
    assert_equal(batches(source, 3, start_step=step), batches(source, step + 3)[step:])


def test_images_that_are_left_out_are_in_no_batch(numbered):
    left = np.setdiff1d(np.arange(NUM_TRAIN), [0, 10, 11, 12, 13, 14, 90])
    subset = Subset(numbered, left)
    labels = np.concatenate([batch["label"] for batch in batches(subset, 12, batch_size=7)])
    assert sorted(labels.tolist()) == left.tolist()


def test_a_subset_has_what_is_left_of_the_blocks(source):
    # Shards of 45 and 46 rows, in row groups of 10.
    assert block_starts(source).tolist() == [0, 10, 20, 30, 40, 45, 55, 65, 75, 85]
    left = np.array([3, 4, 10, 12, 44, 45, 90])
    assert block_starts(Subset(source, left)).tolist() == [0, 2, 4, 5, 6]
    assert block_starts(Subset(Subset(source, left), np.array([1, 4]))).tolist() == [0, 1]


def test_a_source_of_files_is_not_in_blocks(folders):
    files = opened.folder(folders, "train")
    assert block_starts(files) is None
    assert block_starts(Subset(files, np.arange(3))) is None


# Images that are missing or damaged.


def test_an_image_without_bytes_is_undecodable_and_named(tmp_path):
    path = made_parquet.write(
        tmp_path / "train-00000-of-00001.parquet",
        [(picture(), "a.png"), (None, "b.png"), None],
        [0, 1, 0],
        names="ab",
    )
    source = open_split(tmp_path)
    assert source[0].image == picture()
    for index, name in ((1, "b.png"), (2, "train[2]")):
        with pytest.raises(UndecodableError) as error:
            source[index]
        assert error.value.key == f"{path}[{index}] {name}"
        assert "its bytes are null" in error.value.reason


def test_a_damaged_row_group_is_found_by_the_scan(tmp_path):
    path = made_parquet.write(
        tmp_path / "train-00000-of-00001.parquet",
        [(picture(level), f"{level}.png") for level in range(20)],
        [0, 1] * 10,
        names="ab",
    )
    column = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    begin = column.dictionary_page_offset or column.data_page_offset
    data[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(data)
    source = open_split(tmp_path)
    options = ScanOptions(str(tmp_path / "cache"), "leave_out", progress=False)
    found = decodable.one_split(source, "training", options)
    assert [found.source.name(i) for i in range(len(found.source))] == [
        f"{level}.png" for level in range(10)
    ]
    with pytest.raises(UndecodableError, match="row group 1 is damaged"):
        source[15]


def test_a_shard_that_is_gone_or_replaced_ends_the_run(folders, tmp_path):
    source = changed(folders, tmp_path, num_shards=1)
    made_parquet.of_folders(folders, "val", tmp_path, "train", num_shards=1, rows_per_group=5)
    with pytest.raises(UserError, match=r"has changed since it was opened"):
        source[0]
    (tmp_path / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match=r"can't be read at present: No such file"):
        source[15]


# Bad input.


def refused(match, directory, split="train"):
    with pytest.raises(UserError, match=match) as error:
        open_split(directory, split)
    assert not isinstance(error.value, UndecodableError)
    return str(error.value)


@pytest.fixture
def two(tmp_path):
    """Two shards of two images."""
    for k in range(2):
        made_parquet.write(
            tmp_path / f"train-{k:05}-of-00002.parquet",
            [(picture(k), f"{k}.png")] * 2,
            [0, 1],
            names="ab",
        )
    return tmp_path


def test_other_columns_are_named(tmp_path):
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"img": pa.array([b""]), "label": [0]}), path)
    text = refused("has the columns img: binary, label: int64. They must be image", tmp_path)
    assert str(path) in text
    pq.write_table(pa.table({"image": pa.array([b""]), "label": [0]}), path)
    refused("has the columns image: binary, label: int64", tmp_path)


def test_a_shard_that_is_cut_short_is_named(two):
    path = two / "train-00001-of-00002.parquet"
    whole = path.read_bytes()
    for data in (whole[:-9], whole[: len(whole) // 2], b"", b"version https://git-lfs.github.com"):
        path.write_bytes(data)
        text = refused(rf"\({len(data):,} bytes\) is no complete parquet file", two)
        assert str(path) in text
        assert "Download it again" in text


def test_a_missing_shard_is_named(two):
    (two / "train-00000-of-00002.parquet").unlink()
    refused(r"1 of the 2 shards of 'train' are missing .*: train-00000-of-00002\.parquet", two)


def test_two_sets_of_shards_in_one_folder_are_named(two):
    first = two / "train-00000-of-00002.parquet"
    (two / "train-00000-of-00003.parquet").write_bytes(first.read_bytes())
    refused("of several sets: .*-of-00002.parquet and .*-of-00003.parquet", two)
    (two / "train-00000-of-00003.parquet").unlink()
    (two / "train-00000-of-00002-0123abcd.parquet").write_bytes(first.read_bytes())
    refused("of several sets: .*0123abcd.parquet and .*-of-00002.parquet", two)
    (two / "train-00000-of-00002-0123abcd.parquet").unlink()
    (two / "train-00002-of-00002.parquet").write_bytes(first.read_bytes())
    refused("train-00002-of-00002.parquet is no shard of 2", two)


def test_the_folder_says_which_splits_it_holds(shards):
    form = forms.recognise(spec(shards))
    assert form.splits == ("train", "validation")
    assert form.about == f"{shards} holds parquet shards of the Hub: train, validation."


def test_an_unknown_split_is_told_the_ones_that_are_there(two):
    refused(
        "no parquet shards of the split 'validation' .*; its splits are train", two, "validation"
    )
    refused("it has no shards of any split", two / "absent")
    refused("data.dir is empty", "")


def test_shards_in_a_bucket_are_refused():
    pytest.importorskip("gcsfs")
    refused(
        "gs://bucket/imagenet is in a bucket, and parquet shards are read", "gs://bucket/imagenet"
    )


@pytest.mark.parametrize(("label", "wrong"), [(2, "but there are 2 classes"), (None, "is null")])
def test_a_label_that_is_no_class_is_named(tmp_path, label, wrong):
    path = made_parquet.write(
        tmp_path / "train-00000-of-00001.parquet",
        [(picture(), "a.png"), (picture(), "b.png")],
        [0, label],
        names="ab",
    )
    text = refused(wrong, tmp_path)
    assert str(path) in text
    assert re.search(r"\[1\] b.png|row 1", text)


def test_a_label_that_contradicts_the_synset_is_named(tmp_path):
    made_parquet.write(
        tmp_path / "train-00000-of-00001.parquet",
        [(picture(), path) for path, _, _ in IMAGENET],
        [0, 2, 999],
        names=classes.synsets(),
    )
    refused(r"\[1\] ILSVRC2012_val_00000293_n01443537.JPEG has the label 2, but its name", tmp_path)


def test_shards_that_name_no_classes_are_refused(tmp_path):
    made_parquet.write(tmp_path / "train-00000-of-00001.parquet", [(picture(), "a.png")], [0])
    refused("doesn't name its classes", tmp_path)


def test_shards_that_name_other_classes_are_refused(two):
    second = two / "train-00001-of-00002.parquet"
    made_parquet.write(second, [(picture(), "a.png")], [0], names="ba")
    assert str(second) in refused("name different classes", two)


def test_a_row_group_beyond_the_memory_for_decoding_is_refused(tmp_path):
    rows = [(np.random.default_rng(i).bytes(2**18), f"{i}.png") for i in range(20)]
    path = tmp_path / "train-00000-of-00001.parquet"
    made_parquet.write(path, rows, [0, 1] * 10, names="ab", rows_per_group=20)
    decode_budget.set_bytes(decode_budget.LEAST_BYTES)
    try:
        text = refused(r"row group 0 have 5 MB\. Set --config\.data\.decode_bytes=", tmp_path)
        decode_budget.set_bytes(int(re.search(r"decode_bytes=(\d+)", text)[1]))
        assert open_split(tmp_path)[3].image == rows[3][0]
    finally:
        decode_budget.set_bytes(decode_budget.DEFAULT_BYTES)


def test_workers_are_decided_by_a_few_images(source):
    assert workers.decoding_s(source) > 0


# Whole runs.


def arguments(folder, workdir):
    return small_runs.small_crops(
        folder,
        workdir,
        "--config.data.name=imagenet",
        "--config.eval.batch_size=8",
        "--config.num_epochs=2",
        "--config.checkpoint_every_steps=4",
        "--config.eval.method=none",
    )


def finish(folder, workdir):
    done = small_runs.run_process(*arguments(folder, workdir))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.runs
def test_a_run_that_is_killed_ends_like_an_uninterrupted_one_and_keeps_its_form(
    shards, folders, run_main, tmp_path
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(shards, whole)
    process = small_runs.start(*arguments(shards, killed))
    while not saved.steps(killed) and process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with pytest.raises(UserError, match="parquet"):
        run_main(*arguments(folders, killed))
    assert "goes on at step" in finish(shards, killed)
    assert saved.steps(killed) == saved.steps(whole)
    assert digests.of_tree(saved.arrays(killed)) == digests.of_tree(saved.arrays(whole))
