"""The epoch of a step, for everything that changes or happens by the epoch."""

from typing import NamedTuple, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np

Step = TypeVar("Step", int, jax.Array)


class Epochs(NamedTuple):
    """Turns steps into epochs. Pure: steps are host ints, or int32 scalars, traced or not.

    Step t (from 0) covers the examples t·batch_size to (t + 1)·batch_size of an endless stream;
    the epoch of a step is that of its first example. int32 steps count up to 2³¹ examples.

    Attributes:
        batch_size: examples in a step.
        examples: examples in an epoch.
    """

    batch_size: int
    examples: int

    def completed(self, step: Step) -> Step:
        """Epochs completed before this step, a whole number from 0: the step's epoch."""
        return step * self.batch_size // self.examples

    @overload
    def passed(self, step: int) -> float: ...
    @overload
    def passed(self, step: jax.Array) -> jax.Array: ...
    def passed(self, step):
        """Epochs passed before this step, with the fraction.

        For a host int the result is an exact float. For an int32 scalar it is float32, where 3 may
        come out as 2.9999998: use `completed` where the whole number matters.
        """
        if isinstance(step, int | np.integer):
            return int(step) * self.batch_size / self.examples
        return step.astype(np.float32) * (self.batch_size / self.examples)

    def rise(self, passed: jax.Array, length: float) -> jax.Array:
        """The share in (0, 1] of a linear rise from 0 that a step has reached, float32 scalar.

        Args:
            passed: epochs passed before the step, as `passed` gives them.
            length: epochs after which the rise ends, above 0.
        """
        return jnp.clip((passed + self.passed(1)) / length, 0, 1)

    @overload
    def starts(self, step: int) -> bool: ...
    @overload
    def starts(self, step: jax.Array) -> jax.Array: ...
    def starts(self, step):
        """Whether this is the first step of an epoch."""
        return (step == 0) | (self.completed(step) != self.completed(step - 1))
