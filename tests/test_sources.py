"""Sources: their examples, their fingerprints, and their messages when something is missing."""

import hashlib
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import opened
import pytest
import tensorflow_datasets as tfds
from small_runs import fill

from vgg_jax import base_config
from vgg_jax.data import photos, rendered_shapes, settings, sources
from vgg_jax.data.source import SourceClass, Subset
from vgg_jax.data.sources.folder import set_name
from vgg_jax.data.specs import DataSpec
from vgg_jax.data.splits import open_sources, open_val_source
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.system import by_name

FEW = {"train": 30, "validation": 20}


@pytest.fixture
def folder(tmp_path):
    """Three classes, with files among them that aren't images."""
    return fill(
        tmp_path / "data",
        {
            "train/zebra/1.jpg": b"z1",
            "train/zebra/0.PNG": b"z00",
            "train/ant/photo.JPEG": b"ant",
            "train/ant/notes.txt": b"no image",
            "train/ant/.DS_Store": b"no image",
            "train/größe/ünï 日本.jpg": b"unicode",
            "train/README.md": b"not a class",
            "val/ant/v.jpg": b"v0",
            "val/größe/v.jpg": b"v1",
            "val/zebra/v.jpg": b"v2",
        },
    )


def _open(name, directory, cache, **options):
    options = {"train_split": "train", "val_split": ""} | options
    return open_sources(DataSpec(name, str(directory), cache_dir=str(cache), **options))


# Folders.


def test_a_folder_is_read_in_sorted_order(folder):
    source = opened.folder(folder, "train")
    assert source.class_names == ("ant", "größe", "zebra")
    root = folder / "train"
    assert [tuple(source[i]) for i in range(len(source))] == [
        (b"ant", 0, str(root / "ant/photo.JPEG")),
        (b"unicode", 1, str(root / "größe/ünï 日本.jpg")),
        (b"z00", 2, str(root / "zebra/0.PNG")),
        (b"z1", 2, str(root / "zebra/1.jpg")),
    ]


def test_images_in_subfolders_are_the_classs(folder):
    small = {
        "train/ant/a/2.jpg": b"a2",
        "train/ant/a/b/3.png": b"ab3",
        "train/ant/notes/x.txt": b"",
    }
    fill(folder, small)
    source = opened.folder(folder, "train")
    assert source.class_names == ("ant", "größe", "zebra")
    assert [source.name(i) for i in range(3)] == ["ant/a/2.jpg", "ant/a/b/3.png", "ant/photo.JPEG"]
    assert [(source[i].image, source.label(i)) for i in range(2)] == [(b"a2", 0), (b"ab3", 0)]


def test_a_class_may_have_all_its_images_in_subfolders(folder):
    fill(folder, {"train/bee/1/0.jpg": b"b"})
    assert "bee" in opened.folder(folder, "train").class_names


@pytest.mark.parametrize(
    "hidden",
    [
        *(".ipynb_checkpoints/1.jpg", "__MACOSX/ant/1.jpg", "@eaDir/1.jpg", "ant/._photo.jpg"),
        *("ant/.thumbnails/1.jpg", "ant/@eaDir/photo.JPEG/SYNOPHOTO_THUMB.jpg"),
    ],
)
def test_what_programs_hide_is_neither_a_class_nor_an_image(folder, hidden):
    before = opened.folder(folder, "train")
    fill(folder, {f"train/{hidden}": b"hidden"})
    after = opened.folder(folder, "train")
    assert after.class_names == before.class_names
    assert after.fingerprint == before.fingerprint


def _links(folder, name):
    """Makes one path that is no image, though its suffix says so."""
    path = folder / f"train/ant/{name}.jpg"
    match name:
        case "nowhere":
            path.symlink_to("nowhere else.jpg")
        case "itself":
            path.symlink_to(path.name)
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("name", ["nowhere", "itself", "pipe", "device"])
def test_what_is_no_file_is_named_with_the_undecodable(folder, name):
    path = _links(folder, name)
    source = opened.folder(folder, "train")
    (index,) = (i for i in range(len(source)) if source.name(i) == f"ant/{name}.jpg")
    with pytest.raises(UndecodableError, match=r"ant/.* is not a readable image"):
        source[index]
    with pytest.raises(UndecodableError, match="not a readable image"):
        photos.Photos((str(path),))(0)
    assert photos.find([str(folder / "train/ant")]).paths == tuple(
        sorted(map(str, (path, folder / "train/ant/photo.JPEG")))
    )


def test_a_link_to_a_folder_above_is_refused(folder):
    (folder / "train/ant/again").symlink_to(folder / "train/ant")
    with pytest.raises(UserError, match="ant/again is a link to a folder that it lies in"):
        opened.folder(folder, "train")


def test_a_class_folder_may_be_a_link(folder, tmp_path):
    fill(tmp_path, {"elsewhere/1.jpg": b"bee"})
    (folder / "train/bee").symlink_to(tmp_path / "elsewhere")
    source = opened.folder(folder, "train")
    assert source.class_names == ("ant", "bee", "größe", "zebra")
    assert source[1].image == b"bee"


def test_a_folder_survives_pickling(folder):
    source = opened.folder(folder, "train")
    copy = pickle.loads(pickle.dumps(source))
    assert [copy[i] for i in range(len(copy))] == [source[i] for i in range(len(source))]
    assert (copy.class_names, copy.fingerprint) == (source.class_names, source.fingerprint)


def test_a_folder_takes_the_home_directory(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert opened.folder("~/data", "train")[0].image == b"ant"


def test_a_name_that_is_not_utf_8_has_a_key_that_prints(folder):
    (folder / os.fsdecode(b"train/zebra/\xff.jpg")).write_bytes(b"latin")
    source = opened.folder(folder, "train")
    assert source[4].image == b"latin"
    assert source[4].key == str(folder / "train/zebra") + r"/\xff.jpg"


def test_a_file_that_is_gone_is_named_and_has_a_label(folder):
    source = opened.folder(folder, "train")
    (folder / "train/zebra/0.PNG").unlink()
    with pytest.raises(UndecodableError) as caught:
        source[2]
    assert caught.value.key == str(folder / "train/zebra/0.PNG")
    assert caught.value.reason == "No such file or directory"
    assert source.label(2) == 2
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.key, again.reason) == (caught.value.key, caught.value.reason)


def test_the_fingerprint_is_not_of_the_place(folder, tmp_path):
    before = opened.folder(folder, "train").fingerprint
    (folder / "train/ant/notes.txt").unlink()
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert opened.folder(moved, "train").fingerprint == before


@pytest.mark.parametrize(
    "change",
    [
        lambda train: (train / "zebra/1.jpg").rename(train / "zebra/2.jpg"),
        lambda train: (train / "zebra/1.jpg").rename(train / "ant/1.jpg"),
        lambda train: (train / "zebra/1.jpg").unlink(),
        lambda train: (train / "zebra/1.jpg").write_bytes(b"longer"),
        lambda train: (train / "zebra/3.webp").write_bytes(b"new"),
        lambda train: (train / "zebra").rename(train / "zebras"),
    ],
    ids=["renamed", "moved", "removed", "resized", "added", "class renamed"],
)
def test_the_fingerprint_is_of_the_files(folder, change):
    before = opened.folder(folder, "train").fingerprint
    change(folder / "train")
    assert opened.folder(folder, "train").fingerprint != before


def test_a_folders_validation_split_is_called_val(folder, tmp_path):
    train, val = _open("folder", folder, tmp_path)
    assert [val[i].image for i in range(len(val))] == [b"v0", b"v1", b"v2"]
    assert train.class_names == val.class_names
    (folder / "val").rename(folder / "test")
    _, renamed = _open("folder", folder, tmp_path, val_split="test")
    assert renamed.fingerprint == val.fingerprint


def _message(*args, **options):
    with pytest.raises(UserError) as caught:
        _open(*args, **options)
    return str(caught.value)


def test_an_empty_data_dir_is_refused(tmp_path):
    message = _message("folder", "", tmp_path)
    assert "data.dir is empty" in message
    assert "--config.data.dir" in message
    assert "train/CLASS/image.jpg" in message


def test_a_missing_folder_is_named(folder, tmp_path):
    message = _message("folder", tmp_path / "nowhere", tmp_path)
    assert message.startswith(f"There is no folder {tmp_path}/nowhere. Set --config.data.dir")
    (tmp_path / "my_images").mkdir()
    message = _message("folder", tmp_path / "my_image", tmp_path)
    assert f"no folder {tmp_path}/my_image. Did you mean {tmp_path}/my_images? Set " in message
    message = _message("folder", folder / "train", tmp_path)
    assert message.endswith(f"Did you mean --config.data.dir={folder}, which holds train?")
    message = _message("folder", folder, tmp_path, val_split="valid")
    assert str(folder / "valid") in message
    assert "--config.data.train_split" in message
    assert "val_split" in message


def test_a_folder_without_classes_is_named(folder, tmp_path):
    fill(folder, {"flat/1.jpg": b"no class"})
    message = _message("folder", folder, tmp_path, train_split="flat")
    assert f"The images of 'flat' of {folder} have no labels" in message
    assert "--mode=eval" in message


def test_an_empty_class_is_named(folder, tmp_path):
    fill(folder, {"train/bee/notes.txt": b"no image"})
    message = _message("folder", folder, tmp_path)
    assert str(folder / "train" / "bee") in message
    assert "Fill it or remove it" in message
    assert ".jpg" in message


def test_differing_classes_are_named(folder, tmp_path):
    fill(folder, {"val/bee/1.jpg": b"b", "train/cow/1.jpg": b"c"})
    message = _message("folder", folder, tmp_path)
    assert "train and val differ. train lacks bee. val lacks cow. " in message
    assert "Both must have the same classes: " in message


def test_a_run_does_not_validate_on_the_images_that_it_trains_on(folder, tmp_path):
    message = _message("folder", folder, tmp_path, val_split="train")
    assert "data.val_split=train would validate on the images that the net is trained on" in message


def test_of_many_differing_classes_five_are_named(folder, tmp_path):
    fill(folder, {f"val/new{i}/1.jpg": b"b" for i in range(7)})
    message = _message("folder", folder, tmp_path)
    assert "new0, new1, new2, new3, new4 and 2 more" in message
    assert "new5" not in message


def test_a_folder_for_the_embedded_set_names_the_kinds_of_data(tmp_path):
    c = base_config.get_config()
    c.data.name, c.data.dir = "shapes", str(tmp_path)
    with pytest.raises(UserError, match=r"no effect with data\.name=shapes") as caught:
        settings.check(c)
    for name in ("imagenet", "folder", "csv"):
        assert f"--config.data.name={name}" in str(caught.value)


# Folders without splits.


@pytest.fixture
def unsplit(tmp_path):
    names = ("ant/1.jpg", "ant/2.jpg", "bee/1.jpg", ".cache/1.jpg", "LICENSE")
    return fill(tmp_path / "photos-v2", {name: name.encode() for name in names})


def _whole(folder, train_split="train", val_split="", **options):
    return open_val_source(
        DataSpec("folder", str(folder), train_split, val_split, cache_dir="", **options)
    )


def test_all_of_a_folder_without_splits_is_evaluated(unsplit):
    source = _whole(unsplit)
    assert source.class_names == ("ant", "bee")
    assert [source.name(i) for i in range(len(source))] == ["ant/1.jpg", "ant/2.jpg", "bee/1.jpg"]
    assert _images(source) == [b"ant/1.jpg", b"ant/2.jpg", b"bee/1.jpg"]


def test_a_folder_of_images_alone_is_evaluated_too(unsplit):
    source = _whole(unsplit / "ant")
    assert (source.class_names, len(source), source.label(0)) == ((), 2, -1)


@pytest.mark.parametrize("split", ["train", "validation", "test", "mine"])
def test_a_folder_of_a_split_is_no_class(unsplit, split):
    fill(unsplit, {f"{split}/bee/1.jpg": b"b"})
    with pytest.raises(UserError, match=r"There is no folder .*/val\."):
        _whole(unsplit, train_split="mine")


def test_a_named_split_is_not_taken_for_all_of_a_folder(unsplit):
    with pytest.raises(UserError, match=r"photos-v2/new\. .*name none: --config.data.val_split=''"):
        _whole(unsplit, val_split="new")
    assert len(_whole(unsplit, val_split="ant")) == 2


def test_training_on_a_folder_without_splits_holds_images_out(unsplit, tmp_path):
    message = _message("folder", unsplit, tmp_path)
    assert message.startswith(f"There is no folder {unsplit}/train. ")
    assert f"If {unsplit} holds the class folders itself, hold N of the images out" in message
    assert "--config.data.held_out=N. Otherwise set --config.data.dir" in message
    train, val = _open("folder", unsplit, tmp_path, held_out=1)
    assert sorted(_images(train) + _images(val)) == _images(_whole(unsplit))
    assert _images(_whole(unsplit, held_out=1)) == _images(val)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("a/photos", "photos"), ("a/photos/", "photos"), ("a/../b/val", "b-val"), (".", "here")],
)
def test_a_set_is_named_after_its_folder(tmp_path, monkeypatch, folder, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert set_name(folder) == name


# Held out.


@pytest.fixture
def many(tmp_path):
    files = {f"train/{'ab'[i % 2]}/{i:02d}.jpg": b"%02d" % i for i in range(20)}
    return fill(tmp_path / "many", files | {"val/a/v.jpg": b"v", "val/b/v.jpg": b"v"})


def _images(source):
    return [source[i].image for i in range(len(source))]


def test_held_out_images_are_not_trained_on(many, tmp_path):
    whole, _ = _open("folder", many, tmp_path)
    train, val = _open("folder", many, tmp_path, held_out=6)
    assert (len(train), len(val)) == (14, 6)
    assert sorted(_images(train) + _images(val)) == sorted(_images(whole))
    labels = {whole[i].image: whole[i].label for i in range(len(whole))}
    for part in (train, val):
        assert part.class_names == ("a", "b")
        assert all(labels[part[i].image] == part[i].label for i in range(len(part)))
    assert len({whole.fingerprint, train.fingerprint, val.fingerprint}) == 3
    assert _images(pickle.loads(pickle.dumps(val))) == _images(val)


def test_held_out_images_are_of_the_seed(many, tmp_path):
    first, again, other = (
        _open("folder", many, tmp_path, held_out=6, seed=seed)[1] for seed in (0, 0, 1)
    )
    assert _images(first) == _images(again)
    assert first.fingerprint == again.fingerprint
    assert _images(first) != _images(other)
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize("held_out", [20, 21, -1])
def test_too_many_held_out_are_refused(many, tmp_path, held_out):
    message = _message("folder", many, tmp_path, held_out=held_out)
    assert f"data.held_out={held_out} must lie between 1 and 19" in message
    assert "20 images" in message


# Kinds.


def test_each_file_of_the_package_is_a_kind_of_its_name():
    for name in by_name.names(sources.__name__):
        kind = sources.find(name)
        assert kind.__module__ == f"{sources.__name__}.{name}"
        assert isinstance(kind, SourceClass)
    assert sources.find("cifar10:3.0.2") is sources.find("tfds")


def test_kinds_are_found_without_tfds_and_jax():
    code = (
        "import sys; from vgg_jax.data import sources\n"
        "[sources.find(name) for name in (*sources.names(), 'cifar10')]\n"
        "print({'tensorflow_datasets', 'jax'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


# TFDS.


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """The embedded set with fewer images, prepared by opening it."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendered_shapes, "SPLITS", FEW)
        _open("shapes", "", directory)
    return directory


@pytest.fixture
def embedded(cache):
    return _open("shapes", "", cache)


def test_the_embedded_set_is_what_the_renderer_draws(embedded):
    for source, (split, number_of_images) in zip(embedded, FEW.items(), strict=True):
        assert len(source) == number_of_images
        assert source.class_names == rendered_shapes.CLASS_NAMES
        rendered = {
            hashlib.sha256(example["image"].read()).digest(): example["label"]
            for example in _generated(split)
        }
        read = {
            hashlib.sha256(e.image).digest(): e.label
            for e in map(source.__getitem__, range(len(source)))
        }
        assert read == rendered


def _generated(split):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendered_shapes, "SPLITS", FEW)
        return [example for _, example in rendered_shapes.Shapes._generate_examples(None, split)]


def test_the_key_names_the_image(embedded):
    train, _ = embedded
    keys = [train[i].key for i in range(len(train))]
    assert len(set(keys)) == len(keys)
    assert keys[0].startswith("vgg_jax_shapes/1.0.0/train[0] train_")


def test_the_embedded_set_is_rendered_once(cache, embedded, monkeypatch):
    def refuse(*args):
        raise AssertionError("rendered again")

    monkeypatch.setattr(rendered_shapes, "render", refuse)
    again = _open("shapes", "", cache)
    assert [s.fingerprint for s in again] == [s.fingerprint for s in embedded]
    assert again[0].fingerprint != again[1].fingerprint


def test_tfds_sources_survive_pickling(embedded):
    source, _ = embedded
    copy = pickle.loads(pickle.dumps(source))
    assert [copy[i] for i in (0, 29)] == [source[i] for i in (0, 29)]
    assert (copy.class_names, copy.fingerprint) == (source.class_names, source.fingerprint)


def test_labels_are_the_examples(embedded):
    subset = Subset(embedded[0], np.array([4, 7, 29]))
    assert [subset.label(i) for i in range(3)] == [subset[i].label for i in range(3)]


def test_no_tensorflow_is_needed(cache):
    code = (
        "import sys\n"
        "from vgg_jax.data.specs import DataSpec\n"
        "from vgg_jax.data.splits import open_sources\n"
        f"train, val = open_sources(DataSpec('shapes', '', 'train', '', {str(cache)!r}))\n"
        "print(train[3].image[:2].hex(), len(val), 'tensorflow' in sys.modules)"
    )
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.split() == ["ffd8", "20", "False"], done.stderr


def test_a_tfds_set_is_opened_by_name(cache, embedded, tmp_path):
    train, val = _open("vgg_jax_shapes", cache, tmp_path)
    assert (train.fingerprint, val.fingerprint) == tuple(s.fingerprint for s in embedded)
    assert train[7] == embedded[0][7]


def test_tfds_splits_can_be_sliced(cache, tmp_path):
    train, val = _open(
        "vgg_jax_shapes", cache, tmp_path, train_split="train[:10]", val_split="train[10:]"
    )
    assert (len(train), len(val)) == (10, 20)
    assert not set(_images(train)) & set(_images(val))
    assert train.fingerprint != val.fingerprint


def test_an_unknown_split_is_named_with_the_known(cache, tmp_path):
    message = _message("vgg_jax_shapes", cache, tmp_path, val_split="test")
    assert "'test'" in message
    assert "'train', 'validation'" in message


def test_an_unknown_tfds_name_is_refused(tmp_path):
    message = _message("no_such_set", tmp_path, tmp_path)
    must_be = f"must be {', '.join(sources.names())}, the name of a TFDS data set"
    assert message.startswith(f"data.name='no_such_set' {must_be}")
    assert (
        f"of your own. TFDS knows no data set of this name, and none lies in {tmp_path}" in message
    )
    assert "own. Did you mean folder? TFDS knows" in _message("foldr", tmp_path, tmp_path)


def test_imagenet_comes_with_the_commands_that_prepare_it(tmp_path):
    lines = _message("imagenet2012", tmp_path, tmp_path).splitlines()
    assert "        pip install -e '.[prepare]'" in lines
    assert "        tfds build imagenet2012 --file_format=array_record --data_dir=DIR" in lines


def test_another_tfds_set_comes_without_imagenets_files(tmp_path):
    message = _message("mnist", tmp_path, tmp_path)
    assert f"tfds build mnist --file_format=array_record --data_dir={tmp_path}" in message
    assert "ILSVRC" not in message


def test_a_set_without_random_access_comes_with_the_conversion(tmp_path, monkeypatch):
    # Parquet stands in for TFDS's default, tfrecord, which only TensorFlow can write.
    monkeypatch.setattr(rendered_shapes, "SPLITS", {"train": 2, "validation": 1})
    builder = rendered_shapes.Shapes(data_dir=tmp_path, file_format="parquet")
    builder.download_and_prepare()
    message = _message("vgg_jax_shapes", tmp_path, tmp_path)
    assert "is stored as parquet, which has no random access" in message
    assert (
        f"tfds convert_format --dataset_dir={builder.data_dir} --out_file_format=array_record"
        in message
    )
    assert "--config.data.dir" in message


def test_a_set_without_images_is_refused(tmp_path):
    class Words(tfds.core.GeneratorBasedBuilder):
        name = "vgg_jax_words"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"label": tfds.features.ClassLabel(names=["a", "b"])}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples() for split in FEW}

        def _generate_examples(self):
            yield 0, {"label": "b"}

    Words(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    message = _message("vgg_jax_words", tmp_path, tmp_path)
    assert "vgg_jax_words/1.0.0 has no 'image' with a class 'label'" in message
    assert "image classification" in message


def test_photos_of_formats_that_are_not_read_are_named(tmp_path):
    names = ("train/a/1.png", "train/a/IMG_1.HEIC", "train/b/2.png", "train/b/3.dng")
    fill(tmp_path, dict.fromkeys(names, b"image"))
    source = opened.folder(tmp_path, "train")
    assert [source.name(index) for index in range(4)] == [name[6:] for name in names]
    with pytest.raises(UndecodableError, match=r"IMG_1.HEIC is .* \(HEIC isn't read; convert it"):
        source[1]
    with pytest.raises(UndecodableError, match=r"3.dng is .* \(DNG isn't read"):
        source[3]
