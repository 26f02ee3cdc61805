"""What an AugMax step must cost beside an AugMix step, by the share of samples never fooled.

    python -m benchmarks.bound [--model wrn40_2] [--steps 5]

It counts the operations of three programs, as XLA lowers them and without running any: a forward
pass in eval mode, the same with the gradient of its input, and the update of an AugMix step. From
these follows the least ratio of both steps, because Algorithm 1 tests a sample after each update:
one that the first step fools takes two forward passes and one gradient, one that no step fools
takes n of both.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp

from augmax_jax import models
from augmax_jax.methods import View
from augmax_jax.models.cpu import convolution
from augmax_jax.objectives import objective
from augmax_jax.runtime import files
from augmax_jax.training.step import forward
from benchmarks.runs import CLASSES

RESULTS = Path(__file__).parent / "results"
SHARES = (
    0.0,
    0.05,
    0.1,
    0.155,
    0.2,
    0.3,
    0.5,
    1.0,
)  # 0.155: benchmarks.step, 1.62 steps on average
BATCH = 8


def count(model_name: str) -> dict[str, float]:
    """Operations for each image of the three programs."""
    model = models.create(model_name, CLASSES)
    side = models.usual_image_size(model_name)
    x = jnp.zeros((BATCH, side, side, 3))
    labels = jnp.zeros(BATCH, jnp.int32)
    variables = dict(jax.eval_shape(model.init, jax.random.key(0), x))
    params = variables.pop("params")

    def logits(x, params, statistics):
        return model.apply({"params": params, **statistics}, x, route="augmented")

    def ascent(x, params, statistics):
        scores, backward = jax.vjp(lambda x: logits(x, params, statistics), x)
        return backward(jnp.ones_like(scores))

    def update(x, params, statistics):
        routes = ("augmented", "augmented", "clean")
        views = [View(f"view_{i}", x, route, 1.0, True) for i, route in enumerate(routes)]

        def loss(params):
            scores, _ = forward(model, params, statistics, views, joint=False)
            return objective(
                scores, labels, weights=[0, 0, 1], consistent=[True] * 3, consistency_weight=12
            )[0]

        return jax.grad(loss)(params)

    programs = {"forward": logits, "forward and input gradient": ascent, "AugMix update": update}
    with convolution.implementation("plain"):  # the operations of direct convolutions
        return {
            name: jax.jit(program).lower(x, params, variables).cost_analysis()["flops"] / BATCH
            for name, program in programs.items()
        }


def least_ratio(operations: dict[str, float], share: float, steps: int) -> float:
    """The least cost of an AugMax step over that of an AugMix step.

    Args:
        operations: from `count`.
        share: share of the samples that no step fools; the first step fools all others.
        steps: n, at least 2.
    """
    once, both = operations["forward"], operations["forward and input gradient"]
    ascent = (1 - share) * (once + both) + share * steps * both
    return 1 + ascent / operations["AugMix update"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="wrn40_2", choices=sorted(models.MODELS))
    parser.add_argument("--steps", type=int, default=5, help="ascent steps, n")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    operations = count(options.model)
    once = operations["forward"]
    report = {
        "model": options.model,
        "steps": options.steps,
        "operations over those of a forward pass": {
            name: round(value / once, 3) for name, value in operations.items()
        },
        "least ratio by the share never fooled": {
            str(share): round(least_ratio(operations, share, options.steps), 3) for share in SHARES
        },
    }
    print(files.dumps(report))
    path = options.out or RESULTS / f"bound_{options.model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, report)


if __name__ == "__main__":
    main()
