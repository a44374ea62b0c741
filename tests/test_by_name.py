"""Finding the objects that a config names."""

import pytest

from vgg_jax.errors import UserError
from vgg_jax.system import by_name


def _load(key, name):
    return by_name.load(key, name, "vgg_jax.evaluation.methods", "METHOD")


def test_an_object_of_ones_own_is_found(own_module):
    own_module("mine", "VALUE = 3")
    assert _load("key", "mine:VALUE") == 3


@pytest.mark.parametrize("name", ["absent:VALUE", "absent.within:VALUE"])
def test_a_module_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match=rf"^data.name={name}: there is no module absent\."):
        _load("data.name", name)


def test_an_attribute_that_is_not_there_is_refused(own_module):
    own_module("mine", "VALUE = 3")
    with pytest.raises(
        UserError, match=r"^key=mine:ABSENT: the module mine has no attribute ABSENT\.$"
    ):
        _load("key", "mine:ABSENT")


def test_a_module_without_a_file_is_named():
    with pytest.raises(UserError, match=r"^key=sys:absent: the module sys has no attribute absent"):
        _load("key", "sys:absent")


def test_what_fails_within_a_module_of_ones_own_shows_as_it_is(own_module):
    own_module("mine", "import absent_package")
    with pytest.raises(ModuleNotFoundError, match="absent_package"):
        _load("key", "mine:VALUE")


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("mine:Class", True),
        ("a.b_c:NAME", True),
        (".a:NAME", False),
        ("..:NAME", False),
        ("a:b.c", False),
        ("folder", False),
        ("cifar10:3.0.2", False),  # This is a TFDS data set and its version.
        ("imagenet_v2/matched-frequency:3.*.*", False),
    ],
)
def test_an_own_object_is_told_from_the_names_of_tfds(name, own):
    assert by_name.is_own(name) == own


@pytest.mark.parametrize("name", ["b", "a.b", "a:3", ""])
def test_a_name_that_is_neither_known_nor_ones_own_is_refused(name):
    message = f"^key='{name}' must be one of a, c, MODULE:NAME\\.$"
    with pytest.raises(UserError, match=message):
        by_name.require_known("key", name, ("a", "c"))
    by_name.require_known("key", "a", ("a", "c"))


def test_the_names_of_a_package_are_its_files():
    names = by_name.names("vgg_jax.storage")
    assert "writer" in names
    assert names == tuple(sorted(names))
