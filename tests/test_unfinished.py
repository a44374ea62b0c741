"""The parts of a pass that isn't finished: how they are saved, resumed and removed."""

import json

import numpy as np
import pytest
from test_posteriors import DAMAGE, IDENTITY

from vgg_jax.errors import UserError
from vgg_jax.evaluation.unfinished import Unfinished

VALUES = np.random.default_rng(0).random((12, 3), np.float32)


@pytest.fixture
def begin(tmp_path):
    def begin(identity=IDENTITY, save_every_s=0.0):
        return Unfinished(tmp_path / "it.unfinished", identity, 12, 3, save_every_s=save_every_s)

    return begin


def _add(unfinished, *indices):
    unfinished.add(np.array(indices), VALUES[list(indices)])


def _check_holds(unfinished, *indices):
    assert np.flatnonzero(unfinished.done).tolist() == sorted(indices)
    np.testing.assert_array_equal(unfinished.values[unfinished.done], VALUES[unfinished.done])


def _parts(tmp_path):
    return sorted((tmp_path / "it.unfinished").glob("*.npz"), key=lambda path: path.stat().st_size)


def test_what_a_stopped_pass_had_saved_is_taken_up(begin, tmp_path):
    _check_holds(begin())
    stopped = begin()
    _add(stopped, 3, 0, 7)
    assert len(_parts(tmp_path)) == 1
    _add(stopped, 11)
    assert len(_parts(tmp_path)) == 2
    resumed = begin()
    _check_holds(resumed, 0, 3, 7, 11)
    _add(resumed, 11, 5)  # Image 11 was done; batches are computed whole.
    _check_holds(begin(), 0, 3, 5, 7, 11)


def test_between_saves_nothing_is_written(begin, tmp_path):
    stopped = begin(save_every_s=1000.0)
    _add(stopped, 1, 2)
    _add(stopped, 4)
    _check_holds(begin())
    stopped.save()
    stopped.save()
    assert len(_parts(tmp_path)) == 1
    _check_holds(begin(), 1, 2, 4)


@pytest.mark.parametrize("identity", [IDENTITY | {"parameters": "other"}, {}])
def test_parts_of_another_pass_are_removed(begin, tmp_path, identity):
    _add(begin(), 1, 2)
    _check_holds(begin(identity))
    assert not _parts(tmp_path)
    _add(begin(identity), 4)
    _check_holds(begin(identity), 4)
    _check_holds(begin())


def test_parts_of_no_known_pass_are_removed(begin, tmp_path):
    _add(begin(), 1, 2)
    (tmp_path / "it.unfinished" / "identity.json").write_text(json.dumps(IDENTITY)[:20])
    _check_holds(begin())
    assert not _parts(tmp_path)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_part_is_computed_again(begin, tmp_path, damage):
    stopped = begin()
    _add(stopped, 0)
    _add(stopped, 1, 2, 3)
    _add(stopped, *range(4, 12))
    damaged = _parts(tmp_path)[1]
    damage(damaged)
    resumed = begin()
    _check_holds(resumed, 0, *range(4, 12))
    assert not damaged.exists()
    _add(resumed, 1)
    _add(resumed, 2, 3)  # No part overwrites another.
    _check_holds(begin(), *range(12))


def test_a_part_that_was_being_written_is_no_part(begin, tmp_path):
    _add(begin(), 0)
    (part,) = _parts(tmp_path)
    part.with_name(f"{part.name}.123.partial").write_bytes(b"PK")
    _check_holds(begin(), 0)


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unfinished = Unfinished(None, IDENTITY, 12, 3, save_every_s=0.0)
    _add(unfinished, 2, 9)
    unfinished.save()
    _check_holds(unfinished, 2, 9)
    unfinished.remove()
    assert not list(tmp_path.iterdir())


def test_the_parts_of_a_whole_are_removed(begin, tmp_path):
    unfinished = begin()
    _add(unfinished, 0)
    unfinished.remove()
    assert not list(tmp_path.iterdir())
    unfinished.remove()
    _check_holds(begin())


def test_what_is_not_finite_is_refused_and_not_kept(tmp_path):
    unfinished = Unfinished(tmp_path / "it", {}, 4, 3, save_every_s=0.0)
    values = np.full((3, 3), 1 / 3, np.float32)
    values[1, 2] = np.nan
    with pytest.raises(UserError, match="1 images of 3 are not finite"):
        unfinished.add(np.arange(3), values)
    assert not unfinished.done.any()
    assert not list((tmp_path / "it").glob("*.npz"))
