"""Sources from CSV files: their examples, their fingerprints, and errors with line numbers."""

import contextlib
import csv
import itertools
import os
import pickle
import re
import shutil

import numpy as np
import opened
import pytest
import small_runs

from vgg_jax.data import crops
from vgg_jax.data.sources.csv import CsvSource
from vgg_jax.data.specs import DataSpec
from vgg_jax.data.splits import open_sources, open_val_source
from vgg_jax.errors import UndecodableError, UserError

ROWS = [
    "path,label,split",
    "images/2.jpg,zebra,train",
    "images/1.png,ant,train",
    '"images/a, b.xyz",größe,train',
    "v/0.jpg,zebra,val",
    "v/1.jpg,ant,val",
    "v/2.jpg,größe,val",
    "v/0.jpg,,test",
    "images/1.png,,test",
]


@pytest.fixture
def root(tmp_path):
    images = ("images/1.png", "images/2.jpg", "images/a, b.xyz", "v/0.jpg", "v/1.jpg", "v/2.jpg")
    return small_runs.fill(tmp_path / "data", {name: name.encode() for name in images})


def write(root, rows=ROWS, *, ends="\n", start=b""):
    """Writes the rows as a CSV file, and returns its path."""
    file = root / "list.csv"
    file.write_bytes(start + "".join(row + ends for row in rows).encode())
    return file


def spec(file, **options):
    options = {"train_split": "train", "val_split": "", "cache_dir": ""} | options
    return DataSpec("csv", str(file), **options)


def contents(source):
    examples = [tuple(source[i]) for i in range(len(source))]
    names = [source.name(i) for i in range(len(source))]
    return source.class_names, examples, names, source.fingerprint, source.contents_key


def identity(file, split="train"):
    source = CsvSource(spec(file), split)
    return source.fingerprint, source.contents_key


# Reading.


def test_a_split_is_read_in_the_order_of_its_paths(root):
    train, val = open_sources(spec(write(root)))
    assert train.class_names == val.class_names == ("ant", "größe", "zebra")
    assert [tuple(train[i]) for i in range(len(train))] == [
        (b"images/1.png", 0, str(root / "images/1.png")),
        (b"images/2.jpg", 2, str(root / "images/2.jpg")),
        (b"images/a, b.xyz", 1, str(root / "images/a, b.xyz")),
    ]
    assert [val.label(i) for i in range(len(val))] == [2, 0, 1]
    assert train.name(2) == "images/a, b.xyz"


@pytest.mark.parametrize(
    "form",
    [
        {"ends": "\r\n"},
        {"ends": "\r"},
        {"ends": "\n\n"},
        {"start": b"\xef\xbb\xbf"},
        {"rows": [ROWS[0], *reversed(ROWS[1:])]},
        {"rows": [",".join(f'"{f}"' for f in next(csv.reader([row]))) for row in ROWS]},
    ],
    ids=["CRLF", "CR", "blank lines", "BOM", "another order of rows", "all in quotes"],
)
def test_the_same_rows_in_another_form_are_the_same_split(root, form):
    before = contents(CsvSource(spec(write(root)), "train"))
    assert contents(CsvSource(spec(write(root, **form)), "train")) == before


def test_columns_may_stand_in_any_order(root):
    before = contents(CsvSource(spec(write(root)), "val"))
    rows = ["split,path,label", *(f"val,v/{i}.jpg,{c}" for i, c in enumerate(["zebra", "ant"]))]
    turned = CsvSource(spec(write(root, [*rows, "val,v/2.jpg,größe"])), "val")
    assert contents(turned) == before


def test_a_split_survives_pickling(root):
    source = CsvSource(spec(write(root)), "train")
    assert contents(pickle.loads(pickle.dumps(source))) == contents(source)


def test_paths_may_be_absolute_on_a_disk(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    rows = ["path,label", f"{root}/v/0.jpg,a", "../data/v/1.jpg,b"]
    source = open_val_source(spec(write(elsewhere, rows)))
    assert [source[i].image for i in range(2)] == [b"v/1.jpg", b"v/0.jpg"]
    assert source.name(1) == f"{root}/v/0.jpg"


def test_names_are_read_where_the_encoding_is_ascii(root):
    file = write(small_runs.fill(root, {"größe.jpg": b"g"}), ["path,label", "größe.jpg,größe"])
    code = (
        "from vgg_jax.data.sources.csv import CsvSource\n"
        "from vgg_jax.data.specs import DataSpec\n"
        f"source = CsvSource(DataSpec('csv', {str(file)!r}, 'train', '', ''), 'val')\n"
        "print(source[0].image, ascii(source[0].key), ascii(source.name(0)))"
    )
    done = small_runs.run_python("-c", code, **small_runs.ASCII_ALONE)
    key = ascii(f"{root}/größe.jpg")
    assert done.stdout.split() == ["b'g'", key, ascii("größe.jpg")], done.stderr


def test_an_unlabelled_split_can_be_evaluated_and_not_trained_on(root):
    file = write(root)
    test = open_val_source(spec(file, val_split="test"))
    assert (test.class_names, [test.label(i) for i in range(len(test))]) == ((), [-1, -1])
    with pytest.raises(UserError, match=f"The images of 'test' of {file} have no labels"):
        open_sources(spec(write(root, ROWS[:-1]), val_split="test"))


def test_a_file_without_splits_is_evaluated_whole_and_trained_on_with_held_out_images(root):
    rows = ["path,label", "v/0.jpg,a", "v/1.jpg,a", "v/2.jpg,b", "images/1.png,b"]
    file = write(root, rows)
    for val_split in ("", "train", "anything"):
        assert len(open_val_source(spec(file, val_split=val_split))) == 4
    train, val = open_sources(spec(file, held_out=1))
    assert (len(train), len(val)) == (3, 1)
    with pytest.raises(UserError, match=r"list\.csv:1: the file has no column split.*held_out=N"):
        open_sources(spec(file))


def test_labels_are_compared_among_the_splits_in_use_alone(root):
    rows = [*ROWS, "images/2.jpg,cow,other", "images/1.png,,half", "images/2.jpg,cow,half"]
    file = write(root, rows)
    assert len(open_sources(spec(file))) == 2
    assert open_val_source(spec(file, val_split="other")).class_names == ("cow",)
    rows = [row for row in rows if not row.endswith("val")]
    assert len(open_sources(spec(write(root, rows), held_out=1))) == 2


def test_an_image_that_is_gone_later_is_named(root):
    source = CsvSource(spec(write(root)), "train")
    (root / "images/2.jpg").unlink()
    with pytest.raises(UndecodableError) as caught:
        source[1]
    assert caught.value.key == str(root / "images/2.jpg")
    assert source.label(1) == 2


# Fingerprints.


def test_the_fingerprint_is_not_of_the_place(root, tmp_path):
    before = identity(write(root))
    moved = shutil.move(root, tmp_path / "moved")
    assert identity(moved / "list.csv") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("images/2.jpg,zebra,train", "images/2.jpg,ant,train"),
        ("images/2.jpg,zebra,train", "v/2.jpg,zebra,train"),
        ("images/2.jpg,zebra,train", "images/2.jpg,zebra,unused"),
        ("zebra", "zebras"),
    ],
    ids=["another label", "another path", "a row less", "a class renamed"],
)
def test_the_fingerprint_is_of_the_rows(root, old, new):
    data = {"val_split": "train"}  # Then the labels of other splits don't matter.
    before = CsvSource(spec(write(root), **data), "train").fingerprint
    file = write(root, [row.replace(old, new) for row in ROWS])
    assert CsvSource(spec(file, **data), "train").fingerprint != before


def test_the_fingerprint_tells_where_a_path_ends_and_a_label_begins(root):
    small_runs.fill(root, {"p:1q": b"same", "p": b"same"})
    rows = (["path,label", "p:1q,2"], ["path,label", "p,1q:12"])
    fingerprints = {identity(write(root, of), "val")[0] for of in rows}
    assert len(fingerprints) == 2


def test_an_image_of_another_size_or_time_is_another_one(root):
    file = write(root)
    before = identity(file)
    os.utime(root / "images/1.png", ns=(0, 10**19 // 2))
    touched = identity(file)
    assert touched[0] == before[0]
    assert touched[1] != before[1]
    (root / "images/1.png").write_bytes(b"longer than it was")
    assert identity(file)[0] != before[0]


# Errors.


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ([], 1, "the header lacks the column path, lacks the column label. It must be path,label"),
        (["path,label,set"], 1, "the header has an unknown column 'set'"),
        (["path,split"], 1, "the header lacks the column label"),
        (["path,label,path"], 1, "the header has the column path 2 times"),
        (["path;label;split"], 1, "the header has an unknown column 'path;label;split'"),
        (["path,label"], 1, "no row follows the header"),
        ([*ROWS, "v/0.jpg,a"], 10, "the row has 2 fields, but the header has 3"),
        ([*ROWS, "v/0.jpg,a,train,"], 10, "the row has 4 fields, but the header has 3"),
        ([*ROWS[:2], "", ",ant,train"], 4, "the path is empty"),
        ([*ROWS, "v/0.jpg,ant,"], 10, "the split is empty"),
        ([*ROWS, '"a\nb",x,other', "v/0.jpg"], 12, "the row has 1 field, "),
        ([*ROWS, '"v/0.jpg,ant,train', "v/1.jpg,ant,train"], 10, "this row isn't CSV"),
        ([*ROWS, '"v/0"x,ant,train'], 10, "this row isn't CSV"),
        ([*ROWS, "w/0.jpg,ant,train", "./w/0.jpg,ant,train"], 11, "line 10 names the image ./w/0"),
        (
            [*ROWS, "./images/2.jpg,zebra,val"],
            10,
            "line 2 names the image ./images/2.jpg already, for 'train', and no run may validate",
        ),
        ([*ROWS, "v/0.jpg,,train", "v/1.jpg,,train"], 10, "the label is empty"),
        (
            [*ROWS[:6], "v/2.jpg,cow,val", "v/1.jpg,bee,val"],
            4,
            "the label 'größe' occurs in 'train' but not in 'val'; these also occur in only one "
            "of them: bee, cow. Both must have the same labels.",
        ),
        ([*ROWS, "v/0.jpg,cow,val"], 10, "the label 'cow' occurs in 'val' but not in 'train'"),
        ([*ROWS, "images,ant,train"], 10, "there is no image "),
        ([*ROWS, "v/\0.jpg,ant,train"], 10, "there is no image "),
    ],
)
def test_what_is_wrong_is_told_by_its_line(root, rows, line, message):
    file = write(root, rows)
    with pytest.raises(UserError) as caught:
        open_sources(spec(file))
    assert str(caught.value).startswith(f"{file}:{line}: {message}")


def test_images_that_are_not_there_are_named_by_their_lines(root):
    file = write(root, [*ROWS, *(f"no/{9 - i}.jpg,ant,train" for i in range(8))])
    with pytest.raises(UserError) as caught:
        open_sources(spec(file))
    assert str(caught.value).startswith(
        f"{file}:10: there is no image {root}/no/9.jpg, nor those of 7 more lines: 11, 12, 13, "
        "14, 15 and 2 more. Paths are relative to the file's folder."
    )


def test_a_file_in_another_encoding_is_told_by_its_line(root):
    file = root / "list.csv"
    file.write_bytes("\n".join(ROWS).encode("latin-1"))
    with pytest.raises(UserError, match=re.escape(f"{file}:4: a character isn't UTF-8")):
        open_sources(spec(file))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "data.name is 'csv' but data.dir is empty. Set --config.data.dir to a CSV file"),
        ("{root}/none.csv", "{root}/none.csv isn't there. Set --config.data.dir"),
        ("{root}/list.csv/x", "{root}/list.csv/x isn't there. Set --config.data.dir"),
        ("{root}", "{root} is a folder, and data.name=folder reads"),
    ],
)
def test_what_is_no_file_is_refused(root, name, message):
    write(root)
    with pytest.raises(UserError) as caught:
        open_sources(spec(name.format(root=root)))
    assert str(caught.value).startswith(message.format(root=root))


def test_a_split_without_rows_comes_with_those_that_are_there(root):
    file = write(root)
    with pytest.raises(UserError) as caught:
        open_val_source(spec(file, val_split="valid"))
    assert str(caught.value).startswith(
        f"{file} has no rows of a split 'valid'; its splits are test, train, val."
    )


# The same images as a folder.


def listing(folder, file):
    """Writes a CSV file that lists the images of class folders, in reverse order."""
    images = sorted(folder.glob("*/*/*.jpg"), reverse=True)
    with file.open("w", newline="") as opened_file:
        writer = csv.writer(opened_file)
        writer.writerow(["split", "label", "path"])
        writer.writerows([image.parts[-3], image.parts[-2], image] for image in images)
    return file


@pytest.mark.usefixtures("parsed_flags")
def test_its_batches_are_those_of_a_folder(folder, tmp_path):
    train, _ = open_sources(spec(listing(folder, tmp_path / "list.csv")))
    batching = crops.Batching(batch_size=5, crop_px=32, num_workers=2)
    batches = []
    for source in (train, opened.folder(folder, "train")):
        made = crops.train_batches(source, batching, train_scale=(36, 48), seed=3)
        with contextlib.closing(made) as made_batches:
            batches.append(list(itertools.islice(made_batches, 7)))
    for ours, theirs in zip(*batches, strict=True):
        np.testing.assert_array_equal(ours["image"], theirs["image"])
        np.testing.assert_array_equal(ours["label"], theirs["label"])


def test_a_run_gives_what_it_gives_on_a_folder(folder, trained, tmp_path, run_main):
    file = listing(folder, tmp_path / "list.csv")
    run_main(
        *small_runs.one_epoch(folder, tmp_path / "run"),
        "--config.data.name=csv",
        f"--config.data.dir={file}",
    )
    name = "eval/val-dense-73.npz"
    with np.load(tmp_path / "run" / name) as ours, np.load(trained / name) as theirs:
        np.testing.assert_allclose(ours["values"], theirs["values"], atol=1e-5)
        np.testing.assert_array_equal(ours["labels"], theirs["labels"])
