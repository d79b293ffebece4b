"""What is shown of a run: in a log, on a real terminal, in a real notebook kernel."""

import logging
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import autofit as af
import nbformat
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.showing import progress as progress_module
from autofit.non_linear.search.nest.nss.showing.progress import Progress, Standing
from nbclient import NotebookClient
from support.problems import gaussian_in_a_box, leave_at

STANDING = Standing(61_700, 2_000_000, -45.3, 0.21, -31.4)
FIT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import autofit as af
from support.problems import gaussian_in_a_box
problem = gaussian_in_a_box(3)
af.NSS(n_live=500, num_delete=10, num_mcmc_steps=6, silence=SILENCE)._fit(problem.model, problem.analysis)
"""


@pytest.fixture
def shown(caplog):
    """The lines of a run of these seconds: ten iterations, and an evidence to come 0.01 smaller, in each."""
    caplog.set_level(logging.INFO)

    def lines(seconds, silence=False):
        with Progress(logging.getLogger("fit"), -3.0, 1000.0, silence) as progress:
            for second in seconds:
                progress.show(second, int(10 * second), 9.0 - 0.01 * second, lambda: STANDING)
        return [record.message for record in caplog.records]

    return lines


def test_draws_are_told_of_as_often_as_iterations(caplog):
    caplog.set_level(logging.INFO)
    with Progress(logging.getLogger("fit"), -3.0, 1000.0, False) as progress:
        for second in range(0, 30):
            progress.show_draws(float(second), 50 * (1 + second), 3000)
    lines = [record.message for record in caplog.records]
    assert len(lines) == 3
    assert lines[0].startswith("Second evidence: 50 draws, ")
    assert lines[2].startswith("Second evidence: 1,050 draws, ")
    assert lines[2].endswith("00:20 so far")


def test_a_line_tells_everything(shown):
    line = shown(np.arange(1.0, 12.0))[-1]
    for text in (
        "Iteration 110",
        "61,700 dead points",
        "log evidence -45.30 ± 0.21",
        "evidence to come 8.89 > -3.00",
        "best log likelihood -31.40",
        "2,000,000 evaluations (181,818 per second)",
        "00:11 so far",
        "time left unknown",
    ):
        assert text in line


def test_the_time_left_is_shown_when_it_is_known(shown):
    assert "time left 10:13" in shown(np.arange(1.0, 600.0))[-1]


def test_lines_come_by_time(shown):
    assert len(shown(np.arange(0.5, 3600.0, 0.5))) == pytest.approx(45, abs=10)


def test_a_day_has_few_lines_and_none_is_far_from_the_next(shown):
    assert 150 < len(shown(np.arange(100.0, 86_400.0, 100.0))) < 300


def test_what_is_costly_to_work_out_is_shown_less_often(shown, monkeypatch):
    clock = iter(np.arange(0.0, 1e6, 5.0))  # five seconds between any two looks at it
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: next(clock))
    assert len(shown(np.arange(0.5, 3600.0, 0.5))) == 4  # 5 s in 1000


def test_silence(shown):
    assert shown(np.arange(1.0, 1000.0), silence=True) == []


def test_a_resumed_run_counts_all_of_its_work(monkeypatch, caplog):
    problem, settings = gaussian_in_a_box(2), dict(name="n", n_live=60, num_delete=20, checkpoint_interval=2)
    leave_at(af.NSS(**settings), problem, 4)
    monkeypatch.setattr(progress_module, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO)
    search = af.NSS(**settings)
    search.paths.model = problem.model
    search._fit(problem.model, problem.analysis)
    first = next(record.message for record in caplog.records if record.message.startswith("Iteration"))
    iteration = int(first.split(":")[0].removeprefix("Iteration "))
    evaluations = int(first.split(" evaluations")[0].split()[-1].replace(",", ""))
    assert iteration > 4
    assert f"{20 * iteration:,} dead points" in first
    assert evaluations > 60 + 20 * 5 * iteration
    assert "Resuming NSS from iteration 4 (80 dead points" in caplog.text


def test_what_is_compiled_is_said_before_the_wait_and_how_long_it_took_after_it(caplog):
    problem = gaussian_in_a_box(2)
    caplog.set_level(logging.INFO)
    problem.search(name="n").fit(model=problem.model, analysis=problem.analysis)
    messages = [record.message for record in caplog.records if record.name == "n"]
    told = [message for message in messages if message.startswith(("Starting NSS", "Compil"))]
    told = [re.sub(r"in \d+\.\d s", "in ... s", message.split(":")[0]) for message in told]
    assert told[:7] == [
        "Starting NSS",
        "Compiling the likelihood.",
        "Compiled the likelihood in ... s.",
        "Compiling the first state.",
        "Compiled the first state in ... s.",
        "Compiling the sampler.",
        "Compiled the sampler in ... s.",
    ]


def on_a_terminal(silence):
    """What a fit writes to a real terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 150))
    script = FIT.replace("SILENCE", str(silence))
    fit = subprocess.Popen([sys.executable, "-c", script], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 4096):
            written += chunk
    except OSError:  # how Linux says that the other side was closed
        pass
    os.close(ours)
    assert fit.wait() == 0, written.decode()
    return written.decode()


def test_a_terminal_shows_a_bar_that_goes_away():
    written = on_a_terminal(silence=False)
    bars = [line for line in written.split("\r") if line.startswith("NSS")]
    assert len(bars) > 1
    assert any("log Z" in bar for bar in bars)
    assert "NSS converged" in written
    assert "Log evidence by nested sampling" in written.split(bars[-1])[-1]


@pytest.mark.slow
def test_a_terminal_shows_nothing_in_silence():
    assert "log Z" not in on_a_terminal(silence=True)


def test_a_notebook_shows_a_bar():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FIT.replace("SILENCE", "False"))])
    NotebookClient(notebook, timeout=300).execute()
    assert "log Z" in str(notebook.cells[0].outputs)
