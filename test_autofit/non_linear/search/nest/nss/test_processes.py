"""What the processes of a run tell each other, where there is one."""

import jax
from autofit.non_linear.search.nest.nss.stopping.processes import Processes


def test_one_process_tells_nothing_and_leaves_arrays_on_the_device():
    processes, array = Processes(), jax.numpy.ones(3)
    assert processes.devices == jax.local_devices()
    assert processes.agree(5) == 5
    assert processes.same(array) is array
    assert processes.compute(lambda x: x, array) is array
