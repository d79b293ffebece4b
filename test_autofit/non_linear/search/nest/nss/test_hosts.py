"""One run on several processes: the bytes of one process, whatever happens to any of them. The processes are real,
and talk to each other through the loopback."""

import signal
import time

import numpy as np
import pytest
from support.together import ROUNDS_ALIKE, Processes, checkpoint_time, wait_for_a_checkpoint

SCRIPT = "killable_fit.py"
CHUNK_SIZE, NUM_DELETE = 2, 50


def same(found, expected):
    found, expected = np.load(found), np.load(expected)
    return all(found[name].tobytes() == expected[name].tobytes() for name in expected.files)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The result of one process."""
    folder = tmp_path_factory.mktemp("alone")
    arguments = folder / "output", folder / "result.npz", CHUNK_SIZE, NUM_DELETE
    with Processes(1, SCRIPT, *arguments, folder=folder, **ROUNDS_ALIKE) as processes:
        assert processes.statuses() == [0], processes.told()
    return folder / "result.npz"


@pytest.fixture
def start(tmp_path):
    """``start(number, devices=1)``: the fit on so many processes, begun or gone on with."""
    sessions = []

    def started(number, devices=1):
        arguments = tmp_path / "output", tmp_path / "result.npz", CHUNK_SIZE, NUM_DELETE
        folder = tmp_path / f"session-{len(sessions)}"
        sessions.append(Processes(number, SCRIPT, *arguments, folder=folder, devices=devices, **ROUNDS_ALIKE))
        return sessions[-1]

    yield started
    for session in sessions:
        session.__exit__()


def test_killed_on_two_processes_it_goes_on_on_one(start, alone, tmp_path):
    first = start(2)
    wait_for_a_checkpoint(first, tmp_path / "output")
    first[1].kill()
    assert first[0].wait(240.0) == 1
    assert "NSS stops after iteration" in first.told()
    assert "What all processes compute together failed in process 0" in first.told()

    last = start(1)
    assert last.statuses() == [0], last.told()
    assert "number of devices was 2 and is 1" in last.told()
    assert same(tmp_path / "result.npz", alone)


@pytest.mark.slow
def test_if_the_first_is_killed_the_others_end(start, tmp_path):
    processes = start(2)
    wait_for_a_checkpoint(processes, tmp_path / "output")
    processes[0].kill()
    assert processes[1].wait(240.0) != 0


@pytest.mark.slow
def test_a_signal_to_any_ends_all_and_more_processes_of_more_devices_go_on(start, alone, tmp_path):
    """Each returns the bytes of one process, and the first alone speaks."""
    processes = start(2)
    wait_for_a_checkpoint(processes, tmp_path / "output")
    processes[1].send_signal(signal.SIGUSR1)
    assert processes.statuses() == [138] * 2, processes.told()
    assert "NSS stops after iteration" in processes.told()

    again = start(3, devices=2)
    assert again.statuses() == [0, 0, 0], again.told()
    assert "Resuming NSS" in again.told()
    for process in range(3):
        assert same(tmp_path / f"result{process or ''}.npz", alone)
        assert ("NSS" in again.told(process)) == (process == 0)
    assert again.told().count("NSS runs on process 0 (host ") == 1
    assert "process 2 (host" in again.told()

    finished = start(2)
    assert finished.statuses() == [0, 0], finished.told()
    assert "Fit Already Completed" in finished.told()
    assert np.array_equal(*(np.load(tmp_path / f"result{one}.npz")["log_likelihoods"] for one in ("", "1")))


@pytest.mark.slow
def test_a_signal_amid_a_long_iteration_is_answered_by_the_first_alone(tmp_path):
    with Processes(2, "stalling_fit.py", tmp_path, "stalling", folder=tmp_path) as processes:
        while not (tmp_path / "stalled").exists():
            assert processes[0].poll() is None, processes.told()
            time.sleep(0.02)
        sent = time.time()
        for process in processes.started:
            process.send_signal(signal.SIGTERM)
        assert processes[0].wait(60.0) == 143
        assert processes[1].wait(240.0) != 0
        assert sent < checkpoint_time(tmp_path) / 1e9


@pytest.mark.parametrize(
    ("what", "named"),
    [
        pytest.param("data", ["The log likelihood of a point is -", "for process 0 and -", "other data"], id="data"),
        pytest.param("setting", ["n_live was 50 and is 60"], id="settings", marks=pytest.mark.slow),
        pytest.param(
            "model",
            ["x: UniformPrior(lower_limit = -1.0", "x: UniformPrior(lower_limit = -2.0"],
            id="model",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_process_with_another_fit_is_refused(what, named, tmp_path):
    with Processes(2, "unlike_fit.py", tmp_path / "output", what, folder=tmp_path) as processes:
        assert processes.statuses() == [1, 1]
        for process in (0, 1):
            for text in [*named, "process 1 (host"]:
                assert text in processes.told(process)
    assert not list((tmp_path / "output").rglob("nss_checkpoint.pkl"))


@pytest.mark.slow
def test_where_one_fails_all_end_and_its_log_says_why(tmp_path):
    with Processes(2, "unlike_fit.py", tmp_path / "output", "1 fails", folder=tmp_path) as processes:
        assert 0 not in processes.statuses()
        assert "the table of this host cannot be read" in processes.told(1)
        assert "see its own log" in processes.told(0)


@pytest.mark.slow
def test_where_the_first_cannot_write_all_end_and_the_others_say_where_to_look(tmp_path):
    (tmp_path / "output").write_text("a file where the folder should be")
    with Processes(2, "unlike_fit.py", tmp_path / "output", "nothing", folder=tmp_path) as processes:
        assert processes.statuses() == [1, 1]
        assert "NotADirectoryError" in processes.told()
        assert "process 0 (host" in processes.told(1).split("SearchException")[-1]
