"""What the processes of a run tell each other: what pickle makes of it, and nothing where there is one."""

import pickle

import autofit as af
import jax
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.saving.checkpoint import _load_checkpoint
from autofit.non_linear.search.nest.nss.saving.host import as_told, told_of
from autofit.non_linear.search.nest.nss.stopping.processes import Processes
from support.comparing import same_bytes
from support.problems import gaussian_in_a_box, leave_at

SETTINGS = dict(n_live=60, num_delete=20, num_mcmc_steps=3)


def test_a_checkpointed_run_is_the_same_when_it_is_told():
    problem, search = gaussian_in_a_box(2), af.NSS(name="fit", checkpoint_interval=2, **SETTINGS)
    leave_at(search, problem, 7)
    state, dead, *_ = _load_checkpoint(search.checkpoint_file)
    told_state, told_dead = pickle.loads(pickle.dumps((state, dead)))
    assert same_bytes(told_state, state)
    assert type(told_state) is type(state)
    assert same_bytes(list(told_dead), list(dead))
    assert same_bytes(list(told_dead + [dead[0]]), [*dead, dead[0]])


@pytest.mark.slow
def test_a_finished_fit_is_the_same_when_it_is_told():
    class OfThisTest:
        """What pickle cannot find, as a class of a user's function."""

        def __init__(self, x0=0.0, x1=0.0):
            self.x0, self.x1 = x0, x1

    class Analysis(af.Analysis):
        def log_likelihood_function(self, instance):
            return -50.0 * (instance.x0**2 + instance.x1**2)

    model = af.Model(OfThisTest, x0=af.UniformPrior(-1.0, 1.0), x1=af.UniformPrior(-1.0, 1.0))
    result = af.NSS(name="fit", **SETTINGS).fit(model, Analysis(use_jax=True))
    assert isinstance(result.samples_summary.instance, OfThisTest)  # which the host keeps from now on
    summary, samples = as_told(pickle.loads(pickle.dumps(told_of(result))), model)
    assert samples.parameter_lists == result.samples.parameter_lists
    assert samples.weight_list == result.samples.weight_list
    assert samples.samples_info == result.samples.samples_info
    assert samples.log_evidence == result.samples.log_evidence
    assert summary.median_pdf(as_instance=False) == result.samples_summary.median_pdf(as_instance=False)
    assert np.array_equal(summary.values_at_sigma_3, result.samples_summary.values_at_sigma_3)
    assert result.samples_summary.model is not None


def test_one_process_tells_nothing_and_leaves_arrays_on_the_device():
    processes, array = Processes(), jax.numpy.ones(3)
    assert processes.devices == jax.local_devices()
    assert processes.agree(5) == 5
    assert processes.same(array) is array
    assert processes.compute(lambda x: x, array) is array
