"""The checkpoint files: round trips of any pytree, interrupted writes, damage, and pickles that would run code."""

import contextlib
import functools
import hashlib
import os
import pickle
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.saving import checkpoint
from autofit.non_linear.search.nest.nss.saving.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    Extent,
    History,
    _load_checkpoint,
    _save_checkpoint,
    history_path,
    load_notes,
    previous_path,
    restore_previous,
)
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


def test_notes_come_back(tmp_path):
    path = tmp_path / "nss_checkpoint.pkl"
    notes = {"seconds": 12.5, "fingerprint": {"a": ["b", 1]}}
    _save_checkpoint(path, {}, [np.zeros(1)], np.zeros(2, "u4"), 1, notes)
    assert load_notes(path) == notes


# The history: written once, cut where it does not belong


def block(i):
    return Pair(np.full((3, 2), float(i)), np.arange(i, i + 3))


def grow(path, history, blocks):
    for i in range(len(history), blocks):
        history.append(block(i))
    _save_checkpoint(path, {"x": np.zeros(5)}, history, np.zeros(2, "u4"), len(history))
    return history


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nss_checkpoint.pkl"


def test_a_history_comes_back_whole_and_goes_on(path):
    grow(path, grow(path, History(history_path(path)), 4), 9)
    dead = _load_checkpoint(path)[1]
    assert_same(list(dead), [block(i) for i in range(9)])
    grow(path, dead, 12)
    assert_same(list(_load_checkpoint(path)[1]), [block(i) for i in range(12)])


@given(blocks=st.lists(pytrees, min_size=1, max_size=4), repeat=st.integers(1, 3))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_blocks_of_any_kind_come_back(tmp_path, blocks, repeat):
    path = tmp_path / "nss_checkpoint.pkl"
    history = History(history_path(path))
    for block in blocks:
        history.extend([block] * repeat)
        _save_checkpoint(path, {}, history, np.zeros(2, "u4"), len(history))
    assert_same(list(_load_checkpoint(path)[1]), list(history))


def test_a_checkpoint_writes_what_is_new_and_not_what_was_there(path):
    history = grow(path, History(history_path(path)), 10)
    written = []
    for blocks in (20, 30, 200, 210):
        before, size = history_path(path).read_bytes(), history_path(path).stat().st_size
        grow(path, history, blocks)
        assert history_path(path).read_bytes()[:size] == before
        written.append(history_path(path).stat().st_size - size + path.stat().st_size)
    assert written[0] == written[1]
    assert abs(written[3] - written[0]) < 16


def test_what_lies_beyond_the_checkpoint_is_ignored_and_cut_off(path):
    grow(path, History(history_path(path)), 4)
    head = path.read_bytes()
    clean = history_path(path).read_bytes()
    grow(path, _load_checkpoint(path)[1], 9)
    path.write_bytes(head)

    dead = _load_checkpoint(path)[1]
    assert_same(list(dead), [block(i) for i in range(4)])
    grow(path, dead, 5)
    assert history_path(path).stat().st_size == dead.stored.length
    assert_same(list(_load_checkpoint(path)[1]), [block(i) for i in range(5)])
    assert history_path(path).read_bytes()[: len(clean)] == clean


def test_a_plain_list_and_a_history_hold_the_same(path):
    history = grow(path, History(history_path(path)), 3)
    found = _load_checkpoint(path)
    _save_checkpoint(path, {"x": np.zeros(5)}, list(history), np.zeros(2, "u4"), 3)
    assert_same(list(found[1]), _load_checkpoint(path)[1])


# Interrupted writes


@pytest.fixture
def saved(path):
    grow(path, History(history_path(path)), 2)
    return path


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("module", "name"), [(pickle, "dumps"), (os, "fsync"), (os, "link"), (os, "replace")])
def test_an_interrupted_write_leaves_the_previous_checkpoint_whole(saved, monkeypatch, module, name):
    before, history = saved.read_bytes(), _load_checkpoint(saved)[1]
    monkeypatch.setattr(module, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        grow(saved, history, 6)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert_same(list(_load_checkpoint(saved)[1]), [block(0), block(1)])


def test_a_failed_write_can_be_tried_again(saved, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    history = _load_checkpoint(saved)[1]
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        grow(saved, history, 6)
    with pytest.raises(OSError, match="No space"):
        grow(saved, history, 8)
    monkeypatch.undo()
    assert_same(list(_load_checkpoint(saved)[1]), [block(0), block(1)])
    grow(saved, history, 9)
    assert_same(list(_load_checkpoint(saved)[1]), [block(i) for i in range(9)])


def test_every_file_is_on_disk_before_another_refers_to_it(saved, monkeypatch):
    calls = []

    def recorded(name):
        real = getattr(os, name)

        def call(*arguments):
            target = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "fsync" else str(arguments[-1])
            calls.append(f"{name} {os.path.basename(target) or target}")
            return real(*arguments)

        return call

    history = _load_checkpoint(saved)[1]
    for name in ("fsync", "link", "replace"):
        monkeypatch.setattr(os, name, recorded(name))
    grow(saved, history, 3)
    assert calls == [
        "fsync nss_checkpoint.history",
        "fsync nss_checkpoint.pkl.tmp",
        "link nss_checkpoint.previous.tmp",
        "replace nss_checkpoint.previous.pkl",
        "replace nss_checkpoint.pkl",
        f"fsync {saved.parent.name}",
    ]


def test_without_hard_links_the_previous_checkpoint_is_a_copy(saved, monkeypatch):
    def no_links(*_):
        raise OSError(95, "Operation not supported")

    before = saved.read_bytes()
    monkeypatch.setattr(os, "link", no_links)
    grow(saved, _load_checkpoint(saved)[1], 3)
    assert previous_path(saved).read_bytes() == before


# Damage


@pytest.fixture
def two(saved):
    """Two checkpoints, of 2 and of 5 blocks."""
    grow(saved, _load_checkpoint(saved)[1], 5)
    return saved


def outcome(path):
    """How many blocks are recovered, or 'refused'; anything but a clean refusal fails."""
    with contextlib.suppress(DamagedCheckpointError):
        return len(_load_checkpoint(path)[1])
    try:
        restore_previous(path)
    except CheckpointError:
        return "refused"
    return len(_load_checkpoint(path)[1])


@pytest.mark.parametrize("name", ["nss_checkpoint.pkl", "nss_checkpoint.history"])
def test_truncated_at_every_byte(two, name):
    file, files = two.with_name(name), {p: p.read_bytes() for p in two.parent.iterdir()}
    outcomes = []
    for length in range(len(files[file])):
        for path, content in files.items():
            path.write_bytes(content)
        file.write_bytes(files[file][:length])
        outcomes.append(outcome(two))
    if name == "nss_checkpoint.pkl":
        assert set(outcomes) == {2}
    else:
        assert set(outcomes) == {"refused", 2}


@pytest.mark.parametrize("name", ["nss_checkpoint.pkl", "nss_checkpoint.history"])
def test_a_flipped_bit_anywhere(two, name):
    file, files = two.with_name(name), {p: p.read_bytes() for p in two.parent.iterdir()}
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(files[file]), 300):
        for path, content in files.items():
            path.write_bytes(content)
        content = bytearray(files[file])
        content[position] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        assert outcome(two) in ({2} if name == "nss_checkpoint.pkl" else {"refused", 2})


def test_the_damaged_file_is_kept(two):
    two.write_bytes(two.read_bytes()[:-7])
    damaged = two.read_bytes()
    assert restore_previous(two).read_bytes() == damaged
    assert len(_load_checkpoint(two)[1]) == 2


def test_nothing_is_changed_when_there_is_nothing_whole(two):
    for file in (two, previous_path(two)):
        file.write_bytes(file.read_bytes()[:-7])
    files = {p: p.read_bytes() for p in two.parent.iterdir()}
    with pytest.raises(DamagedCheckpointError):
        restore_previous(two)
    assert {p: p.read_bytes() for p in two.parent.iterdir()} == files


def test_an_unknown_format_is_refused(saved, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    _save_checkpoint(saved, {}, [], np.zeros(2, "u4"), 1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=f"format 99, and this version of af.NSS reads {checkpoint.FORMAT}"):
        _load_checkpoint(saved)


# Nothing executes


class Gadget:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def gadgets(marker):
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Gadget(os.system, f"touch {marker}"),
        "eval": Gadget(eval, touch),
        "exec": Gadget(exec, touch),
        "subprocess": Gadget(subprocess.check_call, ["touch", str(marker)]),
        "nested pickle": Gadget(pickle.loads, pickle.dumps(Gadget(os.system, f"touch {marker}"))),
        "numpy.load": Gadget(np.load, str(marker), None, True),
        "import": Gadget(__import__, "antigravity"),
        "partial": functools.partial(os.system, f"touch {marker}"),
        "path": Gadget(Path.touch, marker),
        "builtin type": Gadget(bytearray, 10),
    }


def in_object_array(gadget):
    array = np.empty(1, dtype=object)
    array[0] = gadget
    return array


WRAPPINGS = {
    "bare": lambda gadget: gadget,
    "in the state": lambda gadget: {"state": gadget, "dead": [], "run_key": np.zeros(2, "u4"), "iteration": 1},
    "in a NamedTuple": lambda gadget: {"state": Pair(np.zeros(1), [{"deep": gadget}]), "dead": []},
    "in an object array": lambda gadget: {"state": in_object_array(gadget), "dead": []},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", gadgets("x"))
@pytest.mark.parametrize("signed", [False, True], ids=["as stock", "with our trailer"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run_it(path, tmp_path, name, wrapping, signed):
    marker = tmp_path / "executed"
    payload = pickle.dumps(WRAPPINGS[wrapping](gadgets(marker)[name]))
    if signed:
        payload += checkpoint._TRAILER + hashlib.sha256(payload).digest()
    path.write_bytes(payload)
    with pytest.raises(CheckpointError):
        _load_checkpoint(path)
    assert not marker.exists()
    assert path.read_bytes() == payload


def test_a_history_that_would_run_code_is_refused(saved, tmp_path):
    marker = tmp_path / "executed"
    payload = pickle.dumps({"blocks": [Gadget(os.system, f"touch {marker}")]})
    digest = hashlib.sha256(bytes(32) + payload).digest()
    content = struct.pack("<Q32s", len(payload), digest) + payload
    history_path(saved).write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=r"posix\.system|nt\.system"):
        History.load(history_path(saved), Extent(len(content), 1, digest))
    assert not marker.exists()


def test_object_arrays_are_refused_even_when_harmless(path):
    _save_checkpoint(path, {"x": np.array([None, "text"], dtype=object)}, [], np.zeros(2, "u4"), 1)
    with pytest.raises(DamagedCheckpointError, match="array of Python objects"):
        _load_checkpoint(path)


def test_a_history_without_blocks_that_is_lost_is_written_anew(tmp_path):
    history = History(tmp_path / "nss_checkpoint.history")
    history.flush()
    history.path.unlink()
    assert history.begin_anew_if_lost()
    extent = (history + [np.arange(3)]).flush()
    assert [block.tolist() for block in History.load(history.path, extent)] == [[0, 1, 2]]
