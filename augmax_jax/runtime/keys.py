"""Random keys: one per step from (seed, step), one per example from its place in the batch.

Everything random in a training step comes from these two keys, so neither a resumed run nor
another number of devices changes what is drawn.
"""

import jax
import jax.numpy as jnp

from augmax_jax.runtime.checks import check_count, is_known

# Folded into the seed's key for the initial parameters; steps count up from 0 and never
# reach it.
INITIALISATION = 2**32 - 1
# Folded into a step's key for what all examples share; the examples' indices never reach it.
SHARED = 2**32 - 1


def step_key(seed: int, step: int | jax.Array) -> jax.Array:
    """The key of one training step.

    Args:
        seed: seed of the run, a whole number from 0 on.
        step: steps taken before this one; an int, or an int32 scalar in a traced function.

    Returns:
        One typed key.

    Raises:
        ValueError: `seed` is no such number, or `step` (if it is known) is none.
    """
    check_count("seed", seed)
    if is_known(step):
        check_count("step", step)
    return jax.random.fold_in(jax.random.key(seed), step)


def example_keys(key: jax.Array, batch: int, *, first_index: int | jax.Array = 0) -> jax.Array:
    """Gives every example of a batch a key of its own.

    Args:
        key: one key (typed or raw uint32), folded with each example's index; or a typed
            `[batch]` array of keys, returned unchanged.
        batch: number of examples.
        first_index: index of the first example in the *global* batch. Devices that hold
            slices of a batch pass the start of their slice.

    Returns:
        Typed keys, `[batch]`.

    Raises:
        ValueError: `key` is neither one key nor `batch` keys.
    """
    key = as_keys(key)
    if key.shape == (batch,):
        return key
    if key.shape != ():
        raise ValueError(f"key must be one key or one per example [{batch}], got shape {key.shape}")
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(first_index + jnp.arange(batch))


def as_keys(key: jax.Array) -> jax.Array:
    """Keys as typed ones.

    Args:
        key: typed keys of any shape, or raw uint32 `[..., 2]` (of the default generator).

    Returns:
        Typed keys `[...]`.

    Raises:
        ValueError: `key` is no key, but, for example, a number or a string.
    """
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    try:
        if dtype == jnp.uint32:
            return jax.random.wrap_key_data(key)
    except (TypeError, ValueError):
        pass  # uint32, but not in the shape of a raw key
    given = repr(key) if dtype is None else f"{dtype} {list(key.shape)}"
    raise ValueError(f"key must be a JAX key such as jax.random.key(0), got {given}")


def one_key(key: jax.Array) -> jax.Array:
    """One key as a typed one; raises ValueError for anything else."""
    typed = as_keys(key)
    if typed.shape != ():
        raise ValueError(f"key must be one key, got shape {list(typed.shape)}")
    return typed
