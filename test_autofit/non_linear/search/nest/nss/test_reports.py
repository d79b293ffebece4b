"""Faults that users of nested samplers report, each made on purpose: nothing is lost, and what went wrong is said."""

import contextlib
import faulthandler
import itertools
import json
import logging
import os
import shutil
import signal
import threading

import autofit as af
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autofit import exc
from autofit.non_linear.search.nest.nss import checks
from autofit.non_linear.search.nest.nss.device_sampler import DeviceSampler
from autofit.non_linear.search.nest.nss.evidence import importance
from autofit.non_linear.search.nest.nss.evidence.prior_space import for_all_rows, parameters_at, to_standard_normal
from autofit.non_linear.search.nest.nss.saving import checkpoint, resume
from autofit.non_linear.search.nest.nss.saving import folder as locks
from autofit.non_linear.search.nest.nss.saving.folder import FolderInUseError, FolderLock
from autofit.non_linear.search.nest.nss.showing import pictures
from autofit.non_linear.search.nest.nss.stopping.device_thread import DeviceThread
from autofit.non_linear.search.nest.nss.stopping.signals import TIMERS, Interruptions, handlers_to_replace
from scipy.stats import norm, truncnorm
from support.comparing import same_run
from support.problems import Problem, VectorAnalysis, gaussian_in_a_box, leave_at

SETTINGS = dict(n_live=60, num_delete=20, num_mcmc_steps=3)


@pytest.fixture(scope="module")
def problem():
    return gaussian_in_a_box(2)


@pytest.fixture(scope="module")
def expected(problem):
    return af.NSS(**SETTINGS)._fit(problem.model, problem.analysis)[0]


def new_search(problem, **settings):
    search = af.NSS(name="n", **{**SETTINGS, **settings})
    search.paths.model = problem.model
    return search


def fit(problem, **settings):
    return af.NSS(name="n", **{**SETTINGS, **settings}).fit(model=problem.model, analysis=problem.analysis)


def at_update(problem, number, do):
    """An analysis that calls ``do`` in its n-th quick update."""
    updates = itertools.count(1)
    analysis = problem.analysis

    def perform_quick_update(paths, instance):
        if next(updates) == number:
            do()

    analysis.perform_quick_update = perform_quick_update
    return analysis


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# The end of a fit, and finished fits


def test_nothing_of_a_fit_is_open_when_the_host_deletes_its_folder(problem, output_path, monkeypatch):
    """A network file system renames an open file instead of deleting it, and keeps its folder."""
    opened = []
    delete = shutil.rmtree

    def rmtree(path, *arguments, **options):
        targets = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        opened.append([target for target in targets if target.startswith(os.path.realpath(path) + os.sep)])
        delete(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    fit(problem)
    assert opened
    assert not any(opened)
    assert list(output_path.rglob(".completed"))


def test_the_folder_is_held_from_before_the_host_unpacks_it_until_it_is_packed(problem, output_path, monkeypatch):
    held = []

    def note_whether_it_is_held(_paths):
        other = FolderLock(logging.getLogger())
        with pytest.raises(FolderInUseError, match=f"process {os.getpid()}"):
            other.take(next(output_path.glob("n/*/")) if held else folder)
        held.append(True)

    search = new_search(problem)
    folder = search.paths.output_path
    for method in ("restore", "zip_remove"):
        monkeypatch.setattr(af.DirectoryPaths, method, note_whether_it_is_held)
    search.fit(model=problem.model, analysis=problem.analysis)
    assert len(held) == 2
    assert not list(output_path.rglob("*.holder"))
    with FolderLock(logging.getLogger()) as free:
        free.take(folder)


def test_readers_of_a_finished_fit_take_turns(problem, output_path):
    log_evidence = fit(problem).samples.log_evidence
    before, found = contents(output_path), []
    threads = [threading.Thread(target=lambda: found.append(fit(problem).samples.log_evidence)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [log_evidence] * 4
    assert set(contents(output_path)) == set(before)


def test_a_zip_that_was_cut_off_beside_its_folder_is_put_aside(problem, output_path, caplog):
    log_evidence = fit(problem).samples.log_evidence
    [archive] = output_path.rglob("*.zip")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    assert fit(problem).samples.log_evidence == log_evidence
    assert f"{archive} is damaged" in caplog.text
    assert archive.with_name(f"{archive.name}.damaged").exists()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda zipped: zipped[:2000], lambda zipped: bytes(600) + zipped[600:]])
def test_a_damaged_zip_alone_is_refused_and_left_as_it_is(problem, output_path, damage):
    fit(problem)
    [archive] = output_path.rglob("*.zip")
    shutil.rmtree(archive.with_suffix(""))
    archive.write_bytes(damage(archive.read_bytes()))
    before = contents(output_path)
    with pytest.raises(exc.SearchException, match=r"is damaged .* Nothing was deleted"):
        fit(problem)
    assert contents(output_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (dict(n_eff=100_000), "n_eff=100000 (it has "),
        (dict(n_eff=2), ""),
        (dict(moves="step_out"), "moves='step_out' (it has 'shrink')"),
        (dict(num_importance_draws=7777), "num_importance_draws=7777 (it has "),
        (dict(num_importance_draws=7), ""),
        (dict(checkpoint_interval=5, chunk_size=3, stalled_after=7.0), ""),
    ],
)
def test_a_finished_fit_says_what_it_was_not_asked_for(problem, monkeypatch, caplog, changed, said):
    """Of moves also where the host's config has the files of a finished fit written anew."""
    monkeypatch.setitem(af.conf.instance["general"]["output"], "force_pickle_overwrite", "moves" in changed)
    ess = fit(problem).samples.samples_info["ess"]
    caplog.clear()
    assert fit(problem, **changed).samples.samples_info["ess"] == ess
    told = [record.message for record in caplog.records if "This fit is finished" in record.message]
    assert len(told) == bool(said)
    assert all(said in message and "another name" in message for message in told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "entry"), [(dict(n_eff=100_000), "ess"), (dict(num_importance_draws=7777), "importance_draws")]
)
def test_a_finished_fit_that_has_what_could_be_had_says_nothing(problem, monkeypatch, caplog, asked, entry):
    """When it is run again with the same arguments."""
    monkeypatch.setattr(importance, "MAX_DRAWS_PER_EFFECTIVE", 0)
    assert fit(problem, **asked).samples.samples_info[entry] < sum(asked.values())
    caplog.clear()
    fit(problem, **asked)
    assert "This fit is finished" not in caplog.text


def test_a_finished_fit_says_that_it_began_without_a_start(problem, caplog):
    result = fit(problem)
    fit(problem, start_from=result)
    assert "without start_from (it began without)" in caplog.text


# What is on disk is not what was written


@pytest.mark.parametrize("interval", [1000, None])
def test_a_checkpoint_is_made_when_the_newest_is_old(problem, monkeypatch, interval):
    monkeypatch.setattr(resume, "MAX_AGE_SECONDS", 0.0)
    search = new_search(problem, checkpoint_interval=interval)
    leave_at(search, problem, 4)
    assert search.checkpoint_file.exists() == (interval is not None)
    if interval is not None:
        assert checkpoint._load_checkpoint(search.checkpoint_file)[3] == 4


def remove(path):
    path.unlink()


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-10])


def replace_by_another(path):
    path.write_bytes(bytes(10 * path.stat().st_size))


def remove_the_folder(path):
    shutil.rmtree(path.parent)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [remove, cut_off, replace_by_another, remove_the_folder])
def test_a_history_that_is_lost_is_written_anew(problem, expected, caplog, damage):
    search = new_search(problem, checkpoint_interval=2, iterations_per_quick_update=6)
    history = checkpoint.history_path(search.checkpoint_file)
    search._fit(problem.model, at_update(problem, 1, lambda: damage(history)))
    assert caplog.text.count("nss_checkpoint.history is not as this fit left it") == 1
    _, dead, _, iteration = checkpoint._load_checkpoint(search.checkpoint_file)
    assert iteration == sum(len(block.particles.loglikelihood) for block in dead) // SETTINGS["num_delete"] > 6
    found, _ = new_search(problem)._fit(problem.model, problem.analysis)
    assert same_run(found, expected)


def test_whose_lock_was_replaced_does_not_write_into_another_s_folder(problem):
    search, stack = new_search(problem, checkpoint_interval=2, iterations_per_quick_update=4), contextlib.ExitStack()
    folder, found = search.paths.output_path, []

    def another_takes_the_folder():
        locks.lock_path(folder).unlink()
        stack.enter_context(FolderLock(logging.getLogger())).take(folder)
        found.append(contents(folder / "files" / "search_internal"))

    with stack, pytest.raises(exc.SearchException, match="is in use by"):
        search._fit(problem.model, at_update(problem, 1, another_takes_the_folder))
    assert contents(folder / "files" / "search_internal") == found[0]


def test_a_lock_that_was_removed_is_taken_again(problem, caplog):
    search = new_search(problem, checkpoint_interval=2, iterations_per_quick_update=4)
    folder = search.paths.output_path
    search._fit(problem.model, at_update(problem, 1, locks.lock_path(folder).unlink))
    assert "was removed or replaced: the folder is to be locked again" in caplog.text
    assert locks.lock_path(folder).exists()


# Errors and signals in mid-run


def raising(calls):
    """A likelihood that raises when it is evaluated for the n-th time."""
    counter = itertools.count(1)

    def on_the_host(x):
        if next(counter) == calls:
            raise RuntimeError("the detector is gone")
        return np.zeros(np.shape(x))

    def log_likelihood(x):
        zero = jax.ShapeDtypeStruct((), x.dtype)
        return -0.5 * jnp.sum((x / 0.4) ** 2) + jax.pure_callback(on_the_host, zero, x[0], vmap_method="expand_dims")

    return log_likelihood


def test_an_error_in_mid_run_loses_the_iteration_in_flight_alone(problem, caplog):
    search = new_search(problem, checkpoint_interval=1000)
    caplog.set_level(logging.INFO)
    with pytest.raises(Exception, match="the detector is gone"):
        search._fit(problem.model, VectorAnalysis(raising(150)))
    iteration = checkpoint._load_checkpoint(search.checkpoint_file)[3]
    assert iteration > 0
    assert f"NSS stops after iteration {iteration}; the same script goes on from the checkpoint" in caplog.text


def test_a_device_that_is_lost_costs_the_iteration_in_flight_alone(problem, monkeypatch):
    """What there is to save is on the host already: nothing is computed on the device any more."""
    search, advance = new_search(problem, checkpoint_interval=1000), DeviceSampler.advance
    lost, blocks = contextlib.ExitStack(), itertools.count()

    def advance_and_be_lost(sampler, state, run_key, iterations):
        if next(blocks) == 1:
            lost.enter_context(jax.no_execution(True))
            raise jax.errors.JaxRuntimeError("INTERNAL: the device is lost")
        return advance(sampler, state, run_key, iterations)

    monkeypatch.setattr(DeviceSampler, "advance", advance_and_be_lost)
    with lost, pytest.raises(jax.errors.JaxRuntimeError, match="the device is lost"):
        search._fit(problem.model, problem.analysis)
    assert checkpoint._load_checkpoint(search.checkpoint_file)[3] > 0


@pytest.mark.parametrize("name", ["SIGUSR2", "SIGHUP", "SIGXCPU", "SIGQUIT", "SIGALRM"])
def test_every_signal_that_would_end_the_process_saves_first(problem, handlers, name):
    search = new_search(problem, checkpoint_interval=1000, iterations_per_quick_update=3)
    number = getattr(signal, name)
    with pytest.raises(SystemExit) as raised:
        search._fit(problem.model, at_update(problem, 2, lambda: os.kill(os.getpid(), number)))
    assert raised.value.code == 128 + number
    assert checkpoint._load_checkpoint(search.checkpoint_file)[3] == 6
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_a_timer_of_the_user_s_stays_theirs(problem, handlers):
    rung = []
    for number in TIMERS:
        signal.signal(number, lambda number, _: rung.append(number))
    ring = lambda: [os.kill(os.getpid(), number) for number in sorted(TIMERS)]  # noqa: E731
    search = new_search(problem, checkpoint_interval=None, iterations_per_quick_update=3)
    search._fit(problem.model, at_update(problem, 2, ring))
    assert rung == sorted(TIMERS)


def test_a_signal_that_is_heard_in_c_stays_there(handlers):
    assert signal.SIGUSR2 in handlers_to_replace()
    faulthandler.register(signal.SIGUSR2)
    try:
        assert signal.SIGUSR2 not in handlers_to_replace()
    finally:
        faulthandler.unregister(signal.SIGUSR2)


def test_a_stalled_device_is_told_of_outside_the_main_thread(caplog):
    wait, one = threading.Event(), jnp.ones(())
    waiting = jax.jit(lambda x: jax.pure_callback(lambda y: (wait.wait(), y)[1], x, x))
    logger = logging.getLogger()
    logger.addHandler(ends := Ends("The device has been busy", wait))

    def compute():
        with Interruptions(logger, DeviceThread(logger, 0.2, lambda: "it goes on")) as interruptions:
            interruptions.call(waiting, one, what="one", save=lambda: None)

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    logger.removeHandler(ends)
    assert "The device has been busy" in caplog.text


class Ends(logging.Handler):
    """Sets an event when a message begins with a text."""

    def __init__(self, text, event):
        super().__init__()
        self.text, self.event = text, event

    def emit(self, record):
        if record.getMessage().startswith(self.text):
            self.event.set()


def test_a_picture_that_hangs_does_not_hold_the_end(problem, expected, run_pictures, monkeypatch, caplog):
    monkeypatch.setitem(af.conf.instance["general"]["updates"], "quick_update_background", True)
    monkeypatch.setattr(pictures.QuickUpdates, "PATIENCE_SECONDS", 0.2)
    released = threading.Event()
    search = new_search(problem, iterations_per_quick_update=5)
    found, _ = search._fit(problem.model, at_update(problem, 1, released.wait))
    released.set()
    assert "picture in the background hangs" in caplog.text
    assert not (search.paths.image_path / "nss_run.png").exists()
    assert same_run(found, expected)


# Other rounding, scales and priors


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "goes_on"), [(1e-12, True), (3e-4, True), (0.1, False)])
def test_noise_of_a_device_is_told_and_other_data_are_refused(problem, caplog, noise, goes_on):
    leave_at(new_search(problem, checkpoint_interval=2), problem, 6)
    other = VectorAnalysis(lambda x: problem.log_likelihood(x) + noise)
    with contextlib.nullcontext() if goes_on else pytest.raises(exc.SearchException, match="the data, the analysis"):
        new_search(problem)._fit(problem.model, other)
    assert ("more than rounding" in caplog.text) == (noise == 3e-4)


@pytest.mark.parametrize("scale", [1.0, 1e-18, 1e30])
def test_a_prior_of_any_scale_has_an_inverse(scale):
    model = af.Collection(x0=af.UniformPrior(0.0, scale), x1=af.LogUniformPrior(1e-3 * scale, scale))
    points = np.random.default_rng(0).normal(size=(20, 2))
    parameters = for_all_rows(lambda z: parameters_at(model, z))(points)
    assert to_standard_normal(model, parameters) == pytest.approx(points, rel=1e-6)


@pytest.mark.parametrize("limits", [(-1.0, 2.0), (-np.inf, 0.5), (-9.0, np.inf), (7.5, 9.0), (-9.0, -7.5)])
def test_a_truncated_prior_is_resolved_in_its_tails_and_stays_within_its_limits(limits):
    model = af.Collection(x=af.TruncatedGaussianPrior(0.0, 1.0, *limits))
    z = np.linspace(-8.0, 8.0, 1001)
    values = for_all_rows(lambda z: parameters_at(model, z))(z[:, None])[:, 0]
    assert np.all((values >= limits[0]) & (values <= limits[1]))
    assert np.all(np.diff(values) >= 0.0)
    assert len(np.unique(values[np.abs(z) < 5.0])) > 600
    expected = truncnorm.isf(norm.sf(z), *limits) if limits[0] > 0.0 else truncnorm.ppf(norm.cdf(z), *limits)
    assert values[np.abs(z) < 5.0] == pytest.approx(expected[np.abs(z) < 5.0], rel=1e-6)


def test_a_prior_that_gives_no_numbers_is_named():
    model = af.Collection(x=af.TruncatedGaussianPrior(0.0, 1.0, 40.0, 41.0))
    with pytest.raises(exc.SearchException, match="infinite or NaN within the prior"):
        checks.check_priors(model)


class Polar(af.UniformPrior):
    """Draws angles of an isotropic distribution, and says that they are uniform."""

    def value_for(self, unit, xp=np):
        return xp.arccos(1.0 - 2.0 * unit)


def test_a_prior_whose_draws_and_density_disagree_is_named():
    model = af.Collection(theta=Polar(0.0, np.pi), x=af.UniformPrior(0.0, 1.0))
    with pytest.raises(exc.SearchException, match="Polar of the parameter 'theta'"):
        checks.check_priors(model)


class Folded(af.UniformPrior):
    """Asks in JAX's way, of one number, where it is, and loops until it is where it should be."""

    def value_for(self, unit, xp=np):
        folded = jax.lax.cond(unit < 0.5, lambda x: 0.5 - x, lambda x: x, unit)
        return jax.lax.while_loop(lambda x: x > 0.5, lambda x: x - 0.5, folded)


def test_a_prior_is_asked_for_one_value_at_a_time():
    checks.check_priors(af.Collection(x=Folded(0.0, 1.0)))


def test_priors_whose_draws_and_density_agree_are_accepted():
    checks.check_priors(
        af.Collection(
            a=af.UniformPrior(-1e-18, 1e-18),
            b=af.LogUniformPrior(1e-12, 1e3),
            c=af.GaussianPrior(1e6, 1e-3),
            d=af.TruncatedGaussianPrior(0.0, 1.0, 3.0, 9.0),
            f=af.TruncatedGaussianPrior(0.0, 0.3, -1.0, 1.0),
            e=af.LogGaussianPrior(2.0, 3.0),
        )
    )


# Files that others read


def test_every_number_of_samples_info_is_one_that_json_has(output_path):
    fit(Problem(gaussian_in_a_box(2).priors, lambda x: -3.0 + 0.0 * x[0]), n_live=100, num_mcmc_steps=None)
    [info] = output_path.rglob("samples_info.json")

    def refuse(constant):
        raise AssertionError(f"{constant} in {info.read_text()}")

    assert json.loads(info.read_text(), parse_constant=refuse)["log_evidence_scatter"] is None
