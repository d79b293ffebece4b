"""The work of an iteration divided over devices, of one process or of several.

Each device runs the whole program. What is not divided it computes for itself, alike; of what is divided it computes
its share, and then all shares are gathered, in order. A loop within a share holds no collective, so no device waits
for another before its share is done; and as a row depends on nothing but itself, rows come out as from one device, to
the last bit where as many are computed at once.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

AXIS = "chains"


def default_devices() -> list[Any]:
    """All devices of this process on JAX's default platform, or the one that the user made the default."""
    chosen = jax.config.jax_default_device
    if chosen is None:
        return jax.local_devices()
    return jax.local_devices(backend=chosen)[:1] if isinstance(chosen, str) else [chosen]


def share_of(number: int, devices: int) -> int:
    """How many of so many rows a device computes."""
    return math.ceil(number / devices)


def everywhere(function: Callable, devices: Sequence[Any]) -> jax.stages.Wrapped:
    """``function`` jitted for all of the devices, its arguments and results the same on each."""
    if len(devices) == 1:
        return jax.jit(function)
    mesh, whole = Mesh(list(devices), (AXIS,)), PartitionSpec()
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False))


def alike(tree: Any, devices: Sequence[Any]) -> Any:
    """
    ``tree`` as the first device has it, within ``everywhere``. Devices of several processes may be of several kinds,
    which round differently; where a loop ends, they must not differ.
    """
    if len({device.process_index for device in devices}) == 1:
        return tree
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS)[0], tree)


def divided(function: Callable[[jax.Array], Any], number: int, devices: int) -> Any:
    """
    The rows of ``function(index)`` for all of ``number`` indices, within ``everywhere``.

    Parameters
    ----------
    function
        From ``(share,)`` int indices to a tree whose leaves have one row for each.
    """
    if devices == 1:
        return function(jnp.arange(number))
    size = share_of(number, devices)
    # Pad by repeating the last row, drop the padding.
    index = jnp.minimum(jax.lax.axis_index(AXIS) * size + jnp.arange(size), number - 1)
    return jax.tree.map(lambda rows: jax.lax.all_gather(rows, AXIS, tiled=True)[:number], function(index))
