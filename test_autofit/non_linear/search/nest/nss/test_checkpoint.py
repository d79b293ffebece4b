"""The checkpoint file: round trips of any pytree, and writes that are interrupted."""

import os
import pickle
from typing import NamedTuple

import jax
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss import checkpoint
from autofit.non_linear.search.nest.nss.checkpoint import _load_checkpoint, _load_seconds, _save_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


class Pair(NamedTuple):
    first: object
    second: object


arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: st_numpy.arrays(dtype, st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
scalars = st.floats(allow_nan=True) | st.integers(-(2**60), 2**60) | st.booleans()
pytrees = st.recursive(
    arrays | scalars,
    lambda children: (
        st.dictionaries(st.text(max_size=3), children, max_size=3)
        | st.lists(children, max_size=3)
        | st.builds(Pair, children, children)
        | st.tuples(children)
    ),
    max_leaves=8,
)


def assert_same(found, expected):
    """The same structure, the same types of node, and leaves that are the same arrays to the last bit."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), map(np.asarray, jax.tree.leaves(expected)), strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@given(state=pytrees, dead=st.lists(pytrees, max_size=4), key=st_numpy.arrays("u4", 2), iteration=st.integers(0))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_round_trip(tmp_path, state, dead, key, iteration):
    path = tmp_path / "nss_checkpoint.pkl"
    _save_checkpoint(path, state, dead, key, iteration)
    found = _load_checkpoint(path)
    assert_same(found[0], state)
    assert_same(found[1], dead)
    assert_same(found[2], key)
    assert found[3] == iteration
    assert not path.with_name(path.name + ".tmp").exists()


def test_device_arrays_come_back_as_numpy(tmp_path):
    path = tmp_path / "nss_checkpoint.pkl"
    _save_checkpoint(path, {"x": jax.numpy.arange(3.0)}, [jax.numpy.ones(2)], jax.random.PRNGKey(1), 7)
    state, dead, key, iteration = _load_checkpoint(path)
    assert {type(leaf) for leaf in jax.tree.leaves((state, dead, key))} == {np.ndarray}
    assert np.array_equal(key, jax.random.PRNGKey(1))
    assert iteration == 7


def test_the_time_spent_is_kept(tmp_path):
    path = tmp_path / "nss_checkpoint.pkl"
    _save_checkpoint(path, {}, [np.zeros(1)], np.zeros(2, "u4"), 1, seconds=12.5)
    assert _load_seconds(path) == 12.5


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "nss_checkpoint.pkl"
    _save_checkpoint(path, {"x": np.arange(3)}, [np.ones(2)], np.zeros(2, "u4"), 1)
    return path


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("module", "name"), [(pickle, "dump"), (os, "fsync"), (os, "replace")])
def test_an_interrupted_write_leaves_the_previous_checkpoint_whole(saved, monkeypatch, module, name):
    before = saved.read_bytes()
    monkeypatch.setattr(module, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        _save_checkpoint(saved, {"x": np.zeros(9)}, [], np.zeros(2, "u4"), 2)
    assert saved.read_bytes() == before
    assert _load_checkpoint(saved)[3] == 1


def test_a_write_that_stops_halfway_leaves_the_previous_checkpoint_whole(saved, monkeypatch):
    def half(content, file, **_):
        file.write(pickle.dumps(content)[:40])
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint.pickle, "dump", half)
    with pytest.raises(OSError, match="No space"):
        _save_checkpoint(saved, {"x": np.zeros(9)}, [], np.zeros(2, "u4"), 2)
    assert _load_checkpoint(saved)[3] == 1


def test_the_file_is_on_disk_before_it_takes_the_name(saved, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths))[1])
    _save_checkpoint(saved, {}, [], np.zeros(2, "u4"), 2)
    assert calls == ["fsync", "replace", "fsync"]
