"""A user's own source, given as MODULE:NAME: training, evaluation and errors."""

import re
import zipfile

import numpy as np
import pytest
import small_runs

from vgg_jax.data import sources
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError

# This source has what vgg_jax/README.md requires, and no more.
MINE = '''
import zipfile

from vgg_jax.data.source import Example, hashed


class Images:
    """The images of a ZIP file: SPLIT/CLASS/image."""

    default_val_split = "val"

    def __init__(self, data, split):
        self._file = data.directory
        with zipfile.ZipFile(self._file) as archive:
            found = sorted((i.filename, i.CRC) for i in archive.infolist())
        found = [(name, crc) for name, crc in found if name.startswith(f"{split}/")]
        self._names = [name for name, _ in found]
        self.class_names = tuple(sorted({name.split("/")[1] for name in self._names}))
        self.fingerprint = self.contents_key = hashed(*found)

    def __len__(self):
        return len(self._names)

    def __getitem__(self, index):
        with zipfile.ZipFile(self._file) as archive:
            image = archive.read(self._names[index])
        return Example(image, self.label(index), self.name(index))

    def label(self, index):
        return self.class_names.index(self._names[index].split("/")[1])

    def name(self, index):
        return self._names[index]
'''


def spec(name):
    return DataSpec(name, "", "train", "", cache_dir="")


@pytest.mark.runs
def test_a_run_trains_and_evaluates_on_a_source_of_ones_own(folder, trained, tmp_path, own_module):
    where = str(own_module("mine", MINE))
    archive, workdir = tmp_path / "images.zip", tmp_path / "run"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.jpg")):
            file.write(path, path.relative_to(folder))
    done = small_runs.run_process(
        *small_runs.one_epoch(
            folder,
            workdir,
            "--config.data.name=mine:Images",
            f"--config.data.dir={archive}",
            "--config.data.num_workers=1",
        ),
        PYTHONPATH=where,
    )
    assert done.returncode == 0, done.stderr
    name = "eval/val-dense-73.npz"
    with np.load(trained / name) as of_a_folder, np.load(workdir / name) as own:
        np.testing.assert_array_equal(own["values"], of_a_folder["values"])
    (workdir / name).unlink()
    arguments = ("--mode=eval", f"--workdir={workdir}")
    again = small_runs.run_process(*arguments, PYTHONPATH=where)
    assert "on 9 images" in again.stdout, again.stderr
    lost = small_runs.run_process(*arguments)
    assert lost.stderr.startswith("error: data.name=mine:Images: there is no module mine.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"data.name=mine:Images: the module mine has no attribute Images"),
        ("Images = 3", "data.name=mine:Images must be a class, not 3"),
        ("class Images: pass", "data.name=mine:Images lacks default_val_split"),
    ],
)
def test_what_is_no_class_of_sources_is_refused_before_anything_is_opened(
    folder, tmp_path, own_module, run_main, text, message
):
    own_module("mine", text)
    arguments = small_runs.one_epoch(folder, tmp_path / "run", "--config.data.name=mine:Images")
    with pytest.raises(UserError, match=message):
        run_main(*arguments, "--config.init_from=absent")


def test_what_a_source_lacks_is_named(own_module):
    text = """
        class Images:
            default_val_split = "val"
            class_names, fingerprint = ("a", "b"), ""

            def __init__(self, data, split):
                pass

            def __len__(self):
                return 2

            def label(self, index):
                return index
        """
    own_module("mine", text)
    message = "The sources of data.name=mine:Images lack contents_key, __getitem__, name."
    with pytest.raises(UserError, match=re.escape(message)):
        sources.open_split(spec("mine:Images"), "train")


@pytest.mark.parametrize(
    ("class_names", "length", "message"),
    [
        (["a", "b"], 1, "class_names of data.name=mine:Images must be a tuple, not a list"),
        (("a", "b"), 0, "The split 'train' of data.name=mine:Images holds no images"),
    ],
)
def test_what_nothing_could_be_trained_on_is_refused(own_module, class_names, length, message):
    text = f"""
        from vgg_jax.data.sources.folder import FolderSource


        class Images(FolderSource):
            def __init__(self, data, split):
                self.class_names, self.fingerprint, self.contents_key = {class_names}, "", ""

            def __len__(self):
                return {length}
        """
    own_module("mine", text)
    with pytest.raises(UserError, match=message):
        sources.open_split(spec("mine:Images"), "train")


@pytest.mark.parametrize(
    ("class_names", "labels"), [(("a", "b"), (1, 2)), (("a", "b"), (-1, 0)), ((), (0, -1))]
)
def test_labels_that_are_no_indices_of_the_classes_are_refused(own_module, class_names, labels):
    text = f"""
        class Images:
            default_val_split = "val"
            class_names, fingerprint, contents_key = {class_names}, "", ""

            def __init__(self, data, split):
                pass

            def __len__(self):
                return 2

            def __getitem__(self, index):
                raise AssertionError

            def label(self, index):
                return {labels}[index]

            def name(self, index):
                return f"number {{index}}"
        """
    own_module("mine", text)
    message = "The image number [01] of data.name=mine:Images has the label"
    with pytest.raises(UserError, match=message):
        sources.open_split(spec("mine:Images"), "train")
