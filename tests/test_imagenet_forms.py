"""ImageNet as people have it: every form gives the same images, and bad input is named."""

import csv
import dataclasses
import importlib
import io
import os
import pathlib
import pickle
import shutil
import sys
import tarfile
import threading
from concurrent import futures

import jax
import made_imagenet
import made_parquet
import numpy as np
import pytest
import saved
import small_runs
import tensorflow_datasets as tfds

from vgg_jax.data import __main__ as data_command
from vgg_jax.data import sources
from vgg_jax.data.imagenet import classes, forms
from vgg_jax.data.source import Subset
from vgg_jax.data.sources import imagenet
from vgg_jax.data.sources.folder import FolderSource, is_whole
from vgg_jax.data.specs import DataSpec
from vgg_jax.data.splits import open_sources, open_val_source
from vgg_jax.errors import UserError

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


@pytest.fixture(scope="session")
def images():
    return made_imagenet.images()


with tfds.core.registered.skip_registration():

    class Imagenet2012(tfds.core.GeneratorBasedBuilder):
        """What `tfds build imagenet2012` makes, with the same features."""

        VERSION = tfds.core.Version("5.1.0")

        def __init__(self, images, **options):
            self._images = {"train": images["train"], "validation": images["val"]}
            super().__init__(**options)

        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=list(classes.synsets())),
                "file_name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in self._images}

        def _generate_examples(self, split):
            for (synset, name), data in self._images[split].items():
                yield name, {"image": io.BytesIO(data), "label": synset, "file_name": name}


@pytest.fixture(scope="session")
def prepared(images, tmp_path_factory):
    """TFDS's form."""
    root = tmp_path_factory.mktemp("tfds")
    builder = Imagenet2012(images, data_dir=root, file_format="array_record")
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    return root


@pytest.fixture(scope="session")
def made(images, tmp_path_factory):
    """A folder with each form."""
    root = tmp_path_factory.mktemp("imagenet")
    made_imagenet.tars(root / "tars", images)
    made_imagenet.kaggle(root / "kaggle", images)
    made_imagenet.folders(root / "sorted", images)
    made_imagenet.folders(root / "flat", images, flat_val=True)
    return root


FORMS = ("tars", "kaggle", "sorted", "flat")


def _spec(directory, cache="", **more):
    cache = cache or f"{directory}-cache"
    return DataSpec("imagenet", str(directory), "train", "", cache_dir=str(cache), **more)


def _open(directory, split, cache=""):
    return sources.open_split(_spec(directory, cache), split)


def _message(directory, split):
    with pytest.raises(UserError) as caught:
        _open(directory, split)
    return str(caught.value)


def _contents(source):
    return [(source.name(i), source.label(i), source[i].image) for i in range(len(source))]


# What the forms have in common.


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_images(made, images, form, split):
    source = _open(made / form, split)
    of_split = images["train" if split == "train" else "val"]
    expected = [
        (name, classes.synsets().index(synset), data)
        for (synset, name), data in sorted(of_split.items())
    ]
    assert _contents(source) == expected
    assert source.class_names == classes.synsets()
    assert source.fingerprint == _open(made / "sorted", split).fingerprint


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("name", ["imagenet", "imagenet2012"])
def test_tfds_has_the_same_images_in_another_order(made, prepared, name, split):
    source = sources.open_split(dataclasses.replace(_spec(prepared), name=name), split)
    expected = _open(made / "tars", split)
    assert _contents(source) != _contents(expected)
    assert sorted(_contents(source)) == sorted(_contents(expected))
    assert source.class_names == expected.class_names


def test_what_tfds_has_prepared_comes_before_its_archives(made, prepared, tmp_path):
    both = made_imagenet.copied(prepared, tmp_path / "both")
    made_imagenet.copied(made / "tars", both / "downloads/manual")
    assert _open(both, "train").fingerprint == _open(prepared, "train").fingerprint


@pytest.mark.parametrize("form", FORMS)
def test_every_form_survives_pickling(made, form):
    source = _open(made / form, "train")
    source[0]  # The archive is open then.
    copy = pickle.loads(pickle.dumps(source))
    assert copy[7] == source[7]
    assert (copy.fingerprint, copy.contents_key) == (source.fingerprint, source.contents_key)


def test_the_fingerprint_depends_on_names_labels_and_sizes(images, tmp_path):
    def fingerprint(name, of_split):
        made_imagenet.folders(tmp_path / name, {"train": of_split})
        return _open(tmp_path / name, "train").fingerprint

    (first, data), (second, other) = list(images["train"].items())[:2]
    few = {first: data, second: other}
    changed = [
        few,
        {first: data + b" ", second: other},
        {(first[0], f"{first[0]}_77777.JPEG"): data, second: other},
        {first: data, ("n15075141", second[1]): other},
    ]
    assert len({fingerprint(str(i), of_split) for i, of_split in enumerate(changed)}) == 4


def test_images_are_sorted_by_label_and_name(tmp_path):
    names = ["n01440764_9.JPEG", "n01440764_10.JPEG", "n01440764_100.JPEG"]
    of_train = {("n01440764", name): name.encode() for name in names}
    of_train |= {("n01443537", "n01443537_1.JPEG"): b"x"}
    source = _open(made_imagenet.folders(tmp_path, {"train": of_train}), "train")
    assert [source.name(i) for i in range(4)] == [*sorted(names), "n01443537_1.JPEG"]
    assert [source[i].image.decode() for i in range(3)] == sorted(names)


@pytest.mark.parametrize("form", FORMS)
def test_hidden_files_do_not_count(made, images, form, tmp_path):
    before = _open(made / form, "train").fingerprint
    if form == "tars":
        of_classes = made_imagenet.class_archives(images["train"])
        of_classes = {"._n01440764": b"Apple's", **of_classes}
        made_imagenet.train_archive(tmp_path, of_classes)
        assert _open(tmp_path, "train").fingerprint == before
        return
    root = made_imagenet.copied(made / form, tmp_path / "form")
    train = next(root.rglob("train"))
    small_runs.fill(train, {".DS_Store": b"", "n01440764/._n01440764_10026.JPEG": b"Apple's"})
    assert _open(root, "train").fingerprint == before


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_archives_may_be_of_any_tar_format(made, images, tar_format, tmp_path):
    made_imagenet.tars(tmp_path, images, format=tar_format)
    for split in ("train", "validation"):
        assert _open(tmp_path, split).fingerprint == _open(made / "tars", split).fingerprint


def test_headers_of_pax_long_names_and_folders_are_read(made, images, tmp_path):
    with tarfile.open(tmp_path / VAL_TAR, "w", format=tarfile.PAX_FORMAT) as tar:
        folder = tarfile.TarInfo("val")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for index, ((_, name), data) in enumerate(images["val"].items()):
            info = tarfile.TarInfo(f"{'long/' * (30 * (index % 2))}ünï/{name}")
            info.size, info.mtime = len(data), 1.5  # Only a header of pax can say half a second.
            tar.addfile(info, io.BytesIO(data))
    source = _open(tmp_path, "validation")
    assert source.fingerprint == _open(made / "tars", "validation").fingerprint


def test_archives_may_lie_where_tfds_expects_them(made, tmp_path):
    made_imagenet.copied(made / "tars", tmp_path / "downloads/manual")
    assert len(_open(tmp_path, "train")) == 1000


def test_one_split_may_be_an_archive_and_the_other_a_folder(made, tmp_path, capsys):
    shutil.copy(made / "tars" / VAL_TAR, tmp_path)
    made_imagenet.copied(made / "sorted/train", tmp_path / "train")
    for split in ("train", "validation"):
        assert _open(tmp_path, split).fingerprint == _open(made / "tars", split).fingerprint
    imagenet._told.clear()
    capsys.readouterr()
    _open(tmp_path, "train")
    assert capsys.readouterr().out == (
        f"{tmp_path} holds ImageNet. train: class folders in train; validation: the archive "
        f"{VAL_TAR}.\n"
    )


def test_what_was_found_is_said_once(made, capsys):
    imagenet._told.clear()
    for split in ("train", "validation", "train"):
        _open(made / "kaggle", split)
    assert capsys.readouterr().out == (
        f"{made / 'kaggle'} holds ImageNet. train: class folders in train; validation: images in "
        "val, labelled by LOC_val_solution.csv; test: unlabelled images in test.\n"
    )


# Kaggle and folders.


@pytest.mark.parametrize("below", ["", "ILSVRC"])
def test_kaggles_folder_may_be_given_itself(made, below):
    assert _open(made / "kaggle" / below, "train").fingerprint == (
        _open(made / "tars", "train").fingerprint
    )


def test_kaggles_test_images_have_no_labels(made):
    source = _open(made / "kaggle", "test")
    assert [(source.name(i), source.label(i)) for i in range(len(source))] == [
        ("ILSVRC2012_test_00000001.JPEG", -1),
        ("ILSVRC2012_test_00000002.JPEG", -1),
    ]
    assert source.class_names == ()


def test_the_split_val_is_the_validation_split(made):
    assert _open(made / "sorted", "val").fingerprint == _open(made / "tars", "val").fingerprint


def test_some_of_the_classes_may_be_in_folders(made, tmp_path):
    for synset in ("n01440764", "n15075141"):
        for split in ("train", "val"):
            made_imagenet.copied(made / "sorted" / split / synset, tmp_path / split / synset)
    train = _open(tmp_path, "train")
    assert (train.class_names, len(train)) == (("n01440764", "n15075141"), 2)
    assert _open(tmp_path, "validation").class_names == train.class_names


def test_images_may_lie_in_subfolders_of_their_class(made, tmp_path):
    deep = made_imagenet.copied(made / "sorted/train", tmp_path / "train")
    (deep / "n01440764/images").mkdir()
    for path in [*(deep / "n01440764").glob("*.JPEG")]:
        path.rename(deep / "n01440764/images" / path.name)
    source = _open(tmp_path, "train")
    assert _contents(source) == _contents(_open(made / "sorted", "train"))
    assert source[0].key.startswith(f"{deep}/n01440764/images/")


def test_other_class_folders_are_read_as_such(folder, capsys):
    imagenet._told.clear()
    spec = DataSpec("folder", str(folder), "train", "", cache_dir="")
    for split, name in (("train", "train"), ("validation", "val")):
        source, plain = _open(folder, split, "-"), sources.open_split(spec, name)
        assert (source.fingerprint, len(source)) == (plain.fingerprint, len(plain))
    assert "Its class folders are read as with data.name=folder" in capsys.readouterr().out


@pytest.fixture(scope="session")
def train_shards(made, tmp_path_factory):
    """The training images alone, as shards."""
    root = tmp_path_factory.mktemp("shards")
    return made_parquet.of_folders(made / "sorted", "train", root, "train")


def test_images_of_other_sets_are_not_taken_for_ilsvrcs(made, prepared, train_shards, folder):
    for directory in (made / "tars", made / "sorted", prepared, train_shards):
        source = _open(directory, "train")
        assert forms.is_ilsvrc("imagenet", source)
        assert forms.is_ilsvrc("imagenet", Subset(source, np.array([5, 7])))
    others = made_parquet.of_folders(folder, "train", folder.parent / "others", "train")
    for directory in (folder, others):
        assert not forms.is_ilsvrc("imagenet", _open(directory, "train"))
    assert not forms.is_ilsvrc("imagenet_v2", _open(made / "sorted", "train"))


def test_one_split_may_be_shards_and_the_other_an_archive(made, train_shards, tmp_path):
    root = made_imagenet.copied(train_shards, tmp_path / "both")
    shutil.copy(made / "tars" / VAL_TAR, root)
    train, val = open_sources(_spec(root))
    assert val.fingerprint == _open(made / "tars", "validation").fingerprint
    tar = _open(made / "tars", "train")
    assert (len(train), train.class_names) == (1000, tar.class_names)
    assert {*_contents(train)} == {*_contents(tar)}


# The index of an archive.


def _index_files(cache):
    return list((cache / "archives").glob("*.npz"))


def test_an_index_is_made_once(made, tmp_path):
    _open(made / "tars", "train", tmp_path)
    (path,) = _index_files(tmp_path)
    written = path.stat().st_mtime_ns
    _open(made / "tars", "train", tmp_path)
    assert path.stat().st_mtime_ns == written


def test_a_damaged_index_is_made_again(made, tmp_path):
    expected = _contents(_open(made / "tars", "train", tmp_path))
    (path,) = _index_files(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert _contents(_open(made / "tars", "train", tmp_path)) == expected
    assert path.read_bytes() != bytes(data)


def test_another_archive_of_the_same_name_has_another_index(made, images, tmp_path):
    _open(made_imagenet.tars(tmp_path / "tars", images), "train", tmp_path)
    changed = {key: data + b"more" for key, data in images["train"].items()}
    made_imagenet.tars(tmp_path / "tars", images | {"train": changed})
    source = _open(tmp_path / "tars", "train", tmp_path)
    assert [image for _, _, image in _contents(source)] == [
        data for _, data in sorted(changed.items())
    ]
    assert len(_index_files(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_to_is_named_before_the_pass(made, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="can't be written to"):
        _open(made / "tars", "train", tmp_path / "cache")


@pytest.fixture
def hasty_threads():
    """Threads that take turns a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


def test_threads_that_open_two_archives_at_once_read_the_right_bytes(made, hasty_threads):
    opened = [_open(made / "tars", split) for split in ("train", "validation")]
    expected = [source[3].image for source in opened]
    pickled, num_threads = pickle.dumps(opened), 16
    barrier = threading.Barrier(num_threads)

    def read(sources_and_thread):
        of_both, thread = sources_and_thread
        barrier.wait()
        return of_both[thread % 2][3].image == expected[thread % 2]

    with futures.ThreadPoolExecutor(num_threads) as threads:
        for _ in range(300):
            fresh = pickle.loads(pickled)  # They have no open file.
            assert all(threads.map(read, [(fresh, i) for i in range(num_threads)]))


# Bad input.


def test_a_folder_with_nothing_names_the_forms(tmp_path):
    message = _message(tmp_path, "train")
    assert message.startswith(f"{tmp_path} holds no images. Give a folder (--config.data.dir)")
    assert forms.FORMS in message


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert _message(tmp_path / "no", "train").startswith(f"{tmp_path / 'no'} isn't there. Give")
    for name, about in ((VAL_TAR, "is a file"), ("photos.csv", "is a CSV file, which needs --con")):
        (tmp_path / name).touch()
        assert _message(tmp_path / name, "train").startswith(f"{tmp_path / name} {about}")
    assert f"give its folder, {tmp_path}." in _message(tmp_path / VAL_TAR, "train")


@pytest.mark.parametrize(("split", "held_out"), [("train", 1), ("validation", 0), ("", 0)])
def test_class_folders_without_splits_are_one(folder, split, held_out):
    where, whole = folder / "train", DataSpec("folder", str(folder), "train", "", cache_dir="")
    expected = sources.open_split(whole, "train")
    source = sources.open_split(_spec(where, held_out=held_out), split)
    assert _contents(source) == _contents(expected)
    assert is_whole(Subset(source, np.array([0, 2])))
    assert not is_whole(expected)


def test_all_of_a_folder_without_splits_is_not_trained_and_validated_on(folder):
    message = _message(folder / "train", "train")
    assert f"Did you mean --config.data.dir={folder}, which holds train?" in message


def test_a_split_that_is_named_is_not_all_of_other_folders(folder):
    spec = dataclasses.replace(_spec(folder / "train"), val_split="nosuch")
    with pytest.raises(UserError, match=r"train/nosuch\. .* name none: --config.data.val_split=''"):
        open_val_source(spec)
    assert len(open_val_source(dataclasses.replace(spec, val_split=""))) == 17


@pytest.mark.parametrize("split", ["train", "val"])
def test_folders_among_those_of_synsets_are_named(made, tmp_path, split):
    root = made_imagenet.copied(made / "sorted", tmp_path / "sorted")
    small_runs.fill(root, {f"{split}/extra/1.jpg": b"x", f"{split}/more/1.jpg": b"x"})
    for opened in ("train", "validation"):
        message = _message(root, opened)
        assert message.startswith(f"Most folders in {root / split} are synsets of ImageNet, but")
        assert "but not these: extra, more. Move these away" in message


def test_a_part_of_kaggles_tree_names_the_folder_above(made):
    ilsvrc = made / "kaggle/ILSVRC"
    message = _message(ilsvrc / "Data", "train")
    assert message.startswith(f"{ilsvrc / 'Data'} is a part of Kaggle's tree of ImageNet. Set ")
    assert message.endswith(f"to the folder above, {ilsvrc}.")


@pytest.mark.parametrize("form", ["sorted", "flat"])
def test_the_folder_of_the_validation_images_may_be_given_itself(made, form):
    source = _open(made / form / "val", "validation")
    assert source.fingerprint == _open(made / "tars", "validation").fingerprint


def test_no_folder_names_the_forms(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _message("", "train").startswith(
        "data.dir is empty, and data.name is imagenet, not csv or folder or shapes. Give a folder "
        "(--config.data.dir)"
    )


@pytest.mark.parametrize(
    ("split", "absent", "remedy"),
    [("train", TRAIN_TAR, "--mode=eval"), ("validation", VAL_TAR, "--config.data.held_out")],
)
def test_a_missing_archive_is_named(made, tmp_path, split, absent, remedy):
    made_imagenet.copied(made / "tars", tmp_path / "tars")
    (tmp_path / "tars" / absent).unlink()
    message = _message(tmp_path / "tars", split)
    assert f"but no {split} images. Put {absent} there" in message
    assert remedy in message
    other = {"train": "validation", "validation": "train"}[split]
    assert len(_open(tmp_path / "tars", other)) == 1000


def _truncated(source, target, num_bytes):
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(source.read_bytes()[:num_bytes])
    return target.parent


def _begin_of(path, name):
    with tarfile.open(path) as tar:
        return tar.getmember(name).offset, tar.getmember(name).offset_data


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_truncated_archive_is_named_with_the_member(made, tmp_path, split):
    whole = made / "tars" / {"train": TRAIN_TAR, "validation": VAL_TAR}[split]
    with tarfile.open(whole) as tar:
        before, name = tar.getnames()[499:501]
    header, data = _begin_of(whole, name)
    folder = _truncated(whole, tmp_path / "cut" / whole.name, data + 100)
    assert f"{whole.name} is truncated: it ends within {name}" in _message(folder, split)
    for end in (header, header + 100):
        folder = _truncated(whole, tmp_path / "cut" / whole.name, end)
        message = _message(folder, split)
        assert f"after {before} there is neither a file nor the end of the archive" in message


def test_a_damaged_header_is_named(made, tmp_path):
    data = bytearray((made / "tars" / VAL_TAR).read_bytes())
    with tarfile.open(made / "tars" / VAL_TAR) as tar:
        before, name = tar.getnames()[499:501]
    data[_begin_of(made / "tars" / VAL_TAR, name)[0] + 5] ^= 1
    (tmp_path / VAL_TAR).write_bytes(data)
    assert f"after {before} there is neither" in _message(tmp_path, "validation")


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b compressed" * 100, b"no archive"])
def test_what_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / VAL_TAR).write_bytes(data)
    assert "is truncated or damaged: after its beginning" in _message(tmp_path, "validation")


def test_a_negative_size_is_damage(tmp_path):
    info = tarfile.TarInfo("ILSVRC2012_val_00000001.JPEG")
    info.size = -1024
    (tmp_path / VAL_TAR).write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert "is truncated or damaged" in _message(tmp_path, "validation")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_zeros_where_the_rest_of_an_archive_belongs_are_named(made, tmp_path, split):
    whole = made / "tars" / {"train": TRAIN_TAR, "validation": VAL_TAR}[split]
    with tarfile.open(whole) as tar:
        before, name = tar.getnames()[499:501]
    folder = _truncated(whole, tmp_path / "cut" / whole.name, _begin_of(whole, name)[0])
    os.truncate(folder / whole.name, _begin_of(whole, name)[0] + 2**20 + 1)
    message = _message(folder, split)
    assert f"after {before} it ends, but 1,048,577 more bytes follow." in message


def test_the_padding_of_an_archive_may_have_a_mebibyte(made, images, tmp_path):
    with tarfile.open(made / "tars" / VAL_TAR) as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    _truncated(made / "tars" / VAL_TAR, tmp_path / VAL_TAR, end)
    os.truncate(tmp_path / VAL_TAR, end + 2**20)
    assert len(_open(tmp_path, "validation")) == len(images["val"])


def test_zeros_instead_of_some_images_are_named(made, tmp_path):
    data = bytearray((made / "tars" / VAL_TAR).read_bytes())
    with tarfile.open(made / "tars" / VAL_TAR) as tar:
        before, first, *_, after = tar.getmembers()[499:510]
    data[first.offset : after.offset] = bytes(after.offset - first.offset)
    (tmp_path / VAL_TAR).write_bytes(data)
    message = _message(tmp_path, "validation")
    assert f"after {before.name} it ends, but " in message


def test_an_archive_that_is_appended_to_another_is_named(made, tmp_path):
    whole = (made / "tars" / VAL_TAR).read_bytes()
    with tarfile.open(made / "tars" / VAL_TAR) as tar:
        image = tar.getmembers()[0]
    more = whole[image.offset : image.offset_data + 512]
    (tmp_path / VAL_TAR).write_bytes(whole + more)
    assert "it ends, but " in _message(tmp_path, "validation")


@pytest.mark.parametrize("num_bytes", [10240, 2**21])
def test_an_archive_of_a_class_without_images_is_named(images, tmp_path, num_bytes):
    of_classes = made_imagenet.class_archives(images["train"])
    made_imagenet.train_archive(tmp_path, {**of_classes, "n01443537": bytes(num_bytes)})
    message = _message(tmp_path, "train")
    assert message.startswith(f"n01443537.tar in {tmp_path / TRAIN_TAR} ")
    assert ("holds no images" if num_bytes == 10240 else "after its beginning it ends") in message


@pytest.mark.parametrize("split", ["train", "validation"])
def test_two_images_of_one_name_in_an_archive_are_named(images, tmp_path, split):
    of_classes = made_imagenet.class_archives(images["train"])
    of_classes["n01443537"] = of_classes["n01440764"]
    made_imagenet.train_archive(tmp_path, of_classes)
    name = {"train": "n01440764_908.JPEG", "validation": "ILSVRC2012_val_00000001.JPEG"}[split]
    with tarfile.open(tmp_path / VAL_TAR, "w") as tar:
        for data in (b"one", b"other"):
            made_imagenet.add(tar, f"{len(data)}/{name}", data)
    assert f".tar holds two images of the name {name}." in _message(tmp_path, split)


@pytest.mark.parametrize(("split", "name"), [("train", TRAIN_TAR), ("validation", VAL_TAR)])
def test_a_folder_with_the_name_of_an_archive_is_named(tmp_path, split, name):
    (tmp_path / name).mkdir()  # Linux opens it, but doesn't read from it.
    assert f"{tmp_path / name} can't be read: Is a directory. Replace it." == _message(
        tmp_path, split
    )


def test_a_truncated_archive_of_a_class_is_named(images, tmp_path):
    of_classes = made_imagenet.class_archives(images["train"])
    of_classes["n01443537"] = of_classes["n01443537"][:600]
    made_imagenet.train_archive(tmp_path, of_classes)
    message = _message(tmp_path, "train")
    assert message.startswith(f"n01443537.tar in {tmp_path / TRAIN_TAR} is truncated")


@pytest.mark.parametrize("name", ["n00000001", "n01440764.zip", "README"])
def test_what_is_no_class_of_imagenet_is_named(images, tmp_path, name):
    of_classes = made_imagenet.class_archives(images["train"])
    made_imagenet.train_archive(tmp_path, {**of_classes, name: of_classes["n01440764"]})
    message = _message(tmp_path, "train")
    assert message.startswith(f"{name}.tar in ")
    assert "is not the archive of one of ImageNet's 1,000 classes" in message


def test_missing_classes_are_named(images, tmp_path):
    of_classes = made_imagenet.class_archives(images["train"])
    del of_classes["n01440764"], of_classes["n15075141"]
    made_imagenet.train_archive(tmp_path, of_classes)
    message = _message(tmp_path, "train")
    assert "lacks the archives of 2 of ImageNet's 1,000 classes: n01440764, n15075141" in message


def test_a_link_in_an_archive_is_named(made, tmp_path):
    shutil.copy(made / "tars" / VAL_TAR, tmp_path)
    link = tarfile.TarInfo("ILSVRC2012_val_00049999.JPEG")
    link.type, link.linkname = tarfile.SYMTYPE, "ILSVRC2012_val_00000001.JPEG"
    with tarfile.open(tmp_path / VAL_TAR, "a") as tar:
        tar.addfile(link)
    assert "is neither a file nor a folder" in _message(tmp_path, "validation")


def test_an_archive_that_changes_while_it_is_used_is_named(made, tmp_path):
    shutil.copy(made / "tars" / VAL_TAR, tmp_path)
    source = _open(tmp_path, "validation")
    with open(tmp_path / VAL_TAR, "ab") as file:
        file.write(bytes(512))
    with pytest.raises(UserError, match="has changed since this command began to read it"):
        source[0]


def test_an_archive_that_is_gone_is_named(made, tmp_path):
    shutil.copy(made / "tars" / VAL_TAR, tmp_path)
    source = _open(tmp_path, "validation")
    (tmp_path / VAL_TAR).unlink()
    with pytest.raises(UserError, match="No such file"):
        source[0]


def _with_solution(made, tmp_path, change):
    root = made_imagenet.copied(made / "kaggle", tmp_path / "kaggle")
    path = root / "LOC_val_solution.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    path.unlink()  # It is a link.
    path.write_text("".join(f"{','.join(row)}\n" for row in change(rows)))
    return root


def test_images_that_the_solution_lacks_are_named(made, tmp_path):
    lost = []

    def change(rows):
        lost.append(rows.pop(5)[0])
        return rows

    message = _message(_with_solution(made, tmp_path, change), "validation")
    assert f"has no rows of these images in {tmp_path}" in message
    assert lost[0] in message


def test_images_that_the_solution_alone_has_are_named(made, tmp_path):
    root = made_imagenet.copied(made / "kaggle", tmp_path / "kaggle")
    lost = min((root / "ILSVRC/Data/CLS-LOC/val").iterdir())
    lost.unlink()
    message = _message(root, "validation")
    assert f"lacks images that {root / 'LOC_val_solution.csv'} lists: {lost.stem}." in message
    (root / "LOC_val_solution.csv").unlink()
    assert len(_open(root, "validation")) == 999


@pytest.mark.parametrize("row", [["ILSVRC2012_val_00000001", "n00000001 1 2 3 4"], ["x"]])
def test_a_row_of_no_synset_is_named(made, tmp_path, row):
    root = _with_solution(made, tmp_path, lambda rows: [*rows[:7], row, *rows[8:]])
    message = _message(root, "validation")
    assert message.startswith(f"{root / 'LOC_val_solution.csv'}:8: ")
    assert "none of ImageNet's 1,000 synsets" in message


def test_another_file_as_solution_is_refused(made, tmp_path):
    root = _with_solution(made, tmp_path, lambda rows: rows[1:])
    assert "must begin with the line ImageId,PredictionString" in _message(root, "validation")


@pytest.mark.parametrize("name", ["photo.jpg", "ILSVRC2012_val_00050001.JPEG"])
def test_a_flat_image_without_a_label_is_named(made, tmp_path, name):
    root = made_imagenet.copied(made / "flat", tmp_path / "flat")
    small_runs.fill(root, {f"val/{name}": b"x"})
    assert f"These images in {root / 'val'} have no label: {name}." in _message(root, "validation")


def test_validation_images_of_other_classes_than_the_training_images_are_named(made, tmp_path):
    root = made_imagenet.copied(made / "flat", tmp_path / "flat")
    shutil.rmtree(root / "train/n01443537")
    assert f"no folder in {root / 'train'}: n01443537." in _message(root, "validation")


def test_an_empty_class_folder_is_named(made, tmp_path):
    root = made_imagenet.copied(made / "sorted", tmp_path / "sorted")
    for path in (root / "train/n01443537").iterdir():
        path.unlink()
    assert f"class folders in {root / 'train'} hold no images: n01443537" in _message(root, "train")


def test_two_images_of_one_name_are_named(made, tmp_path):
    root = made_imagenet.copied(made / "sorted", tmp_path / "sorted")
    path = min((root / "train/n01440764").iterdir())
    os.link(path, root / "train/n01443537" / path.name)
    message = _message(root, "train")
    assert str(path) in message
    assert "have the same name" in message


# Runs.


def _arguments(directory, workdir, *more):
    return (
        "--config=configs/mini.py:a_256",
        f"--workdir={workdir}",
        f"--config.data.dir={directory}",
        f"--config.data.cache_dir={workdir}-cache",
        "--config.width=0.03125",
        "--config.crop_px=32",
        "--config.train_scale=33,48",
        "--config.val_scale=36",
        "--config.data.held_out=40",
        "--config.batch_size=480",
        "--config.eval.batch_size=40",
        "--config.eval.method=none",
        *more,
    )


def test_a_run_goes_on_with_another_form_and_ends_with_the_same_parameters(
    made, run_main, tmp_path, capsys
):
    """Four steps on the archives, and two on folders and then two on Kaggle's tree."""
    name = "--config.data.name=imagenet"
    run_main(*_arguments(made / "tars", tmp_path / "tars", name, "--config.num_epochs=2"))
    other = tmp_path / "other"
    before = "--config.data.name=imagenet2012"  # The same run in earlier versions and now.
    run_main(*_arguments(made / "flat", other, before, "--config.num_epochs=1"))
    run_main(*_arguments(made / "kaggle", other, name, "--config.num_epochs=2"))
    assert "goes on at step 2" in capsys.readouterr().out
    assert saved.steps(tmp_path / "tars")[-1] == saved.steps(other)[-1] == 4
    jax.tree.map(
        np.testing.assert_array_equal, saved.arrays(tmp_path / "tars"), saved.arrays(other)
    )


# The command.


def _said(*arguments):
    done = small_runs.run_module("vgg_jax.data", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_the_command_says_what_a_folder_holds_and_how_to_train_on_it(made, tmp_path):
    where = made / "kaggle"
    status, output, _ = _said(where, f"--cache_dir={tmp_path}")
    assert status == 0
    assert output.splitlines()[1:] == [
        "split             images     classes",
        "train              1,000       1,000",
        "validation         1,000       1,000",
        "test                   2   no labels",
        "The scan before training finds images that can't be decoded.",
        "Train on them:",
        f"    python -m vgg_jax.main --config=configs/a_256.py --config.data.dir={where}",
        "Evaluate a run's net on them:",
        f"    python -m vgg_jax.main --mode=eval --workdir=RUN --config.data.dir={where}",
    ]


def test_the_command_says_what_is_missing(made, tmp_path):
    made_imagenet.copied(made / "tars", tmp_path / "tars")
    (tmp_path / "tars" / TRAIN_TAR).unlink()
    status, output, _ = _said(tmp_path / "tars", f"--cache_dir={tmp_path}")
    assert status == 0
    assert f"There is no split train. Put {TRAIN_TAR} there" in output
    assert output.endswith(f"--mode=eval --workdir=RUN --config.data.dir={tmp_path / 'tars'}\n")


def test_the_command_ends_with_the_error_of_a_split_and_shows_the_others(made, tmp_path):
    made_imagenet.copied(made / "tars", tmp_path / "tars")
    (tmp_path / "tars" / TRAIN_TAR).unlink()
    (tmp_path / "tars" / TRAIN_TAR).write_bytes(b"no archive")
    status, output, errors = _said(tmp_path / "tars", f"--cache_dir={tmp_path}")
    assert status == 2
    assert "validation         1,000       1,000" in output
    assert f"error: {tmp_path / 'tars' / TRAIN_TAR} is truncated or damaged" in errors


def test_the_command_names_its_own_flag_once(made, tmp_path):
    (tmp_path / "file").touch()
    status, _, errors = _said(made / "tars", f"--cache_dir={tmp_path / 'file'}")
    assert status == 2
    assert errors.count("can't be written to") == 1
    assert "Set --cache_dir to a folder" in errors


def test_the_command_says_which_shards_are_missing(train_shards):
    status, output, _ = _said(train_shards)
    assert status == 0
    assert "There is no split validation. Download its shards, validation-00000-of-" in output
    assert "Or hold some of the training images out" in output
    assert ".tar" not in output


def test_the_command_knows_class_folders(folder):
    status, output, _ = _said(folder)
    assert status == 0
    assert output.splitlines() == [
        f"{folder} holds folders of splits.",
        "split             images     classes",
        "train                 17           3",
        "val                    9           3",
        "The scan before training finds images that can't be decoded.",
        "Train a miniature net on them; the whole net would need more images:",
        "    python -m vgg_jax.main --config=configs/mini.py:a_256 --config.data.name=folder "
        f"--config.data.dir={folder} --config.batch_size=8 --config.learning_rate=0.002 "
        "--config.plateau.patience_epochs=10",
        "Evaluate a run's net on them:",
        "    python -m vgg_jax.main --mode=eval --workdir=RUN --config.data.name=folder "
        f"--config.data.dir={folder}",
    ]


@pytest.mark.parametrize("where", ["absent", "photo.jpg"])
def test_the_command_says_what_it_wants_if_it_gets_no_folder(tmp_path, where):
    (tmp_path / "photo.jpg").touch()
    status, _, errors = _said(tmp_path / where)
    assert status == 2
    assert errors.startswith(f"error: {tmp_path / where} isn't a folder. Name one with the folders")


def test_the_suggested_configs_have_the_batch_sizes_that_the_command_knows():
    for config, size in data_command.BATCH_SIZES.items():
        name, _, argument = config.partition(".py:")
        module = importlib.import_module(f"configs.{name.removesuffix('.py')}")
        assert module.get_config(*filter(None, [argument])).batch_size == size


def test_the_command_names_splits_and_images_to_hold_out(folder, tmp_path):
    shutil.copytree(folder / "train", tmp_path / "photos/training")
    _, output, _ = _said(tmp_path / "photos")
    assert "There is no split val. Name another one with --config.data.val_split, or" in output
    assert "--config.data.train_split=training --config.data.held_out=3 " in output
    assert "--config.batch_size=8 " in output
    assert "Evaluate" not in output
    for split in ("zest", "another"):  # After the training split in the alphabet, or before it.
        shutil.copytree(folder / "val", tmp_path / "photos" / split)
        _, output, _ = _said(tmp_path / "photos")
        assert f"--config.data.train_split=training --config.data.val_split={split} " in output
        assert output.endswith(
            f"--config.data.dir={tmp_path / 'photos'} --config.data.val_split={split}\n"
        )
        shutil.rmtree(tmp_path / "photos" / split)


def test_the_command_suggests_the_larger_split_to_train_on(folder, tmp_path):
    shutil.copytree(folder / "train", tmp_path / "work")
    shutil.copytree(folder / "val", tmp_path / "test")
    _, output, _ = _said(tmp_path)
    assert "--config.data.train_split=work --config.data.val_split=test " in output


def test_the_command_suggests_the_whole_net_for_many_images(folder, monkeypatch, capsys):
    monkeypatch.setattr(data_command, "FEW_IMAGES", 17)
    data_command.flags.FLAGS.mark_as_parsed()
    data_command.main(["", str(folder)])
    output = capsys.readouterr().out
    assert "Train a miniature net on them, on a CPU:" in output
    assert "--config.num_classes=0 --config.batch_size=17\n" in output


# Files, the lines of the command's table, and whether a run takes them all for one set.
LAYOUTS = {
    "nested classes": (("apple/red/0.jpg", "pear/a/0.jpg"), ("all 2 2",), True),
    "nested and not": (("apple/red/0.jpg", "pear/0.jpg"), ("all 2 2",), True),
    "images": (("0.jpg", "1.jpg"), ("all 2 no labels",), True),
    "a class train": (
        ("train/0.jpg", "bus/0.jpg"),
        ("bus 1 no labels", "train 1 no labels"),
        False,
    ),
    "unlabelled val and test": (
        ("val/0.jpg", "test/0.jpg", "notes/a.txt"),
        ("test 1 no labels", "val 1 no labels"),
        False,
    ),
    "unlabelled test": (
        ("train/a/0.jpg", "train/b/0.jpg", "test/0.jpg"),
        ("test 1 no labels", "train 2 2"),
        False,
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_command_sees_the_splits_that_a_run_sees(tmp_path, layout):
    names, expected, is_unsplit = LAYOUTS[layout]
    small_runs.fill(tmp_path, dict.fromkeys(names, b"x"))
    status, output, _ = _said(tmp_path)
    assert status == 0
    table = [" ".join(line.split()) for line in output.splitlines()[2:]]
    assert table[: len(expected)] == [*expected]
    assert len(table) == len(expected) or table[len(expected)].startswith(("T", "E"))
    assert FolderSource.is_unsplit(_spec(tmp_path)) is is_unsplit
    if is_unsplit:
        folder = DataSpec("folder", str(tmp_path), "train", "", cache_dir="")
        assert len(open_val_source(folder)) == len(open_val_source(_spec(tmp_path))) == len(names)
    assert ("move all of them into one folder, train" in output) is (layout == "a class train")


def test_the_command_says_that_validation_images_alone_are_evaluated(folder, tmp_path):
    shutil.copytree(folder / "val", tmp_path / "val")
    status, output, _ = _said(tmp_path)
    assert status == 0
    assert "There is no split train. " in output
    assert "Train on" not in output
    assert output.endswith(f"--config.data.name=folder --config.data.dir={tmp_path}\n")


def test_the_command_names_differing_classes_after_the_table(folder, tmp_path):
    root = pathlib.Path(shutil.copytree(folder, tmp_path / "folder"))
    (root / "val/a").rename(root / "val/d")
    status, output, errors = _said(root)
    assert status == 2
    assert "train                 17           3\nval                    9           3\n" in output
    assert "Train on" not in output
    assert "train and val differ. train lacks d. val lacks a." in errors


def test_the_command_refuses_a_single_class_as_a_run_does(folder, tmp_path):
    shutil.copytree(folder / "train", tmp_path / "photos/all")
    status, output, errors = _said(tmp_path / "photos")
    assert status == 2
    assert "all                   17           1\n" in output
    assert "The data set has only one class, all, so there is nothing to tell apart." in errors


def test_the_command_knows_csv_files(folder, tmp_path):
    rows = [f"{p},{p.parent.name},{p.parent.parent.name}" for p in sorted(folder.glob("*/*/*"))]
    path = tmp_path / "photos.csv"
    path.write_text("path,label,split\n" + "\n".join(rows))
    status, output, _ = _said(path)
    assert status == 0
    assert "train                 17           3\nval                    9           3\n" in output
    assert f"--config.data.name=csv --config.data.dir={path} --config.batch_size=8" in output
    path.write_text("path,label\n" + "\n".join(row.rpartition(",")[0] for row in rows))
    _, output, _ = _said(path)
    assert "all                   26           3\n" in output
    assert "--config.data.held_out=5 " in output


@pytest.mark.parametrize("arguments", [(), ("one", "two")])
def test_the_command_takes_one_folder(arguments):
    assert _said(*arguments)[::2] == (
        2,
        "error: Name one folder or FILE.csv, for example /data/imagenet.\n",
    )
