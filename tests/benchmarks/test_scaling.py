"""What the benchmarks of scaling count, and the arithmetic of the plan."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax.runtime import parallel
from benchmarks import collectives, plan, scaling

HLO = """\
HloModule jit_step

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %all-reduce.1 = f32[8]{0} all-reduce(%a), channel_id=1, replica_groups={{0,1}}, to_apply=%add
}

ENTRY %main (p: f32[4]) -> (f32[4]) {
  %all-reduce.2 = (f32[3,3,16]{2,1,0}, bf16[10]{0}, /*index=2*/f32[]) all-reduce(%b, %c, %d), to_apply=%add
  %get = f32[3,3,16]{2,1,0} get-tuple-element(%all-reduce.2), index=0
  %all-reduce-start.3 = s32[5]{0} all-reduce-start(%e), to_apply=%add
  ROOT %all-reduce-done.3 = s32[5]{0} all-reduce-done(%all-reduce-start.3)
}
"""  # noqa: E501


def test_all_reduces_of_a_text():
    assert collectives.all_reduces(HLO) == [
        collectives.AllReduce(1, 32, entry=False),
        collectives.AllReduce(3, 4 * 144 + 2 * 10 + 4, entry=True),
        collectives.AllReduce(1, 20, entry=True),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("f32[8]{0} all-reduce(", "f32[8]{0} all-gather(", "has all-gather, whose bytes"),
        ("f32[8]{0} all-reduce(", "f4[8]{0} all-reduce(", "unknown dtype 'f4'"),
    ],
)
def test_what_cannot_be_counted_is_refused(old, new, message):
    with pytest.raises(ValueError, match=message):
        collectives.all_reduces(HLO.replace(old, new))


def test_all_reduces_of_a_compiled_program():
    """Devices sum a matrix and, in each of three turns of a loop, a vector."""
    devices = parallel.all_devices()

    def function(x):
        def turn(i, y):
            return y + jax.lax.psum(y * i, parallel.AXIS)

        return jax.lax.psum(x, parallel.AXIS), jax.lax.fori_loop(0, 3, turn, x[0])

    x = jax.ShapeDtypeStruct((len(devices), 2, 7), jnp.float32)
    text = parallel.pmap(function, devices).lower(x).compile().as_text()
    found = collectives.all_reduces(text)
    assert sorted(found) == [(1, 28, False), (1, 56, True)]


def test_least_bytes_and_those_of_a_ring():
    arguments = {"channels": [8, 4], "metrics": 3}
    own = collectives.least_bytes(100, synchronised=False, **arguments)
    assert own == {"gradient": 400, "norm": 96, "metrics": 12}
    synchronised = collectives.least_bytes(100, synchronised=True, **arguments)
    assert synchronised == own | {"norm": 192}
    assert [collectives.ring_bytes(600, n) for n in (1, 2, 4)] == [0, 600, 900]
    with pytest.raises(ValueError, match="at least 1, got 0"):
        collectives.ring_bytes(600, 0)


@pytest.mark.slow
@pytest.mark.parametrize("synchronised", [False, True])
@pytest.mark.parametrize("method", ["normal", "augmax"])
def test_a_step_sums_little_more_than_it_must(method, synchronised):
    step = scaling.SharedStep(
        synchronised=synchronised,
        method=method,
        model="tiny",
        settings={"augment.width": 1, "augment.operators": "solarize", "model.norm": "dubin"},
    )
    arguments = step.arguments()
    found = step.counted(step.compile(*arguments))
    least = found["least_bytes"]
    assert found["in_loops"] == 0  # no ascent communicates
    # XLA sums equal arrays once: a shortcut's bias has the gradient of the bias beside it, and a
    # single view's loss is the whole loss.
    state = jax.tree.map(lambda x: x[0], arguments[0])
    biases = sum(
        x.nbytes
        for path, x in jax.tree.leaves_with_path(state.params)
        if "shortcut_norm" in str(path) and path[-1].key.endswith("bias")
    )
    assert least["sum"] - biases - least["metrics"] <= found["bytes"]
    # Beyond the least are only running statistics: those of a route without a pass, and all of
    # them where they are the same on all devices.
    statistics = sum(x.nbytes for x in jax.tree.leaves(state.statistics))
    assert found["bytes"] <= least["sum"] + statistics
    if not synchronised:
        assert found["all_reduces"] == 1


def test_a_program_without_all_reduces_keeps_its_own_values():
    devices = parallel.all_devices()

    def mean(x):
        return jax.lax.pmean(x, parallel.AXIS)

    x = np.arange(len(devices), dtype=np.float32)
    arguments = parallel.per_device(x, devices)
    with scaling.no_all_reduce():
        alone = parallel.pmap(mean, devices)(arguments)
    np.testing.assert_array_equal(alone, x)
    np.testing.assert_array_equal(
        parallel.pmap(mean, devices)(arguments), np.full_like(x, x.mean())
    )


def test_overhead_is_of_the_same_turn():
    taken = {
        scaling.WITH: [1.0, 2.0, 9.0],  # the machine grew slower
        scaling.WITHOUT: [0.9, 1.8, 8.7],
        scaling.LEAST: [0.1, 0.1, 0.1],
    }
    found = scaling.summary(taken)
    assert found["overhead_ms"] == 200
    assert found["overhead_quartiles_ms"] == [100, 300]
    assert found["ms"] == {scaling.WITH: 2000, scaling.WITHOUT: 1800, scaling.LEAST: 100}


TOY = plan.Hardware("toy", 4, peak=1e9, link=1e6, memory=1e9, cores=2)
STEP = {"flops": 1e6, "bytes_summed": 10_000, "images_per_core": 10.0, "utilisation": 0.5}


def test_the_plan():
    found = plan.expect(TOY, **STEP, batch=8, images=81)
    assert found.compute == pytest.approx(2 * 1e6 / 0.5e9)  # two images of each device
    assert found.all_reduce == pytest.approx(2 * 3 / 4 * 1e4 / 1e6)
    assert found.input == pytest.approx(8 / 20)
    assert found.step == found.input
    assert found.bound == "input"
    assert found.epoch == pytest.approx(math.ceil(81 / 8) * found.step)
    assert found.cores == pytest.approx(0.8 / (0.004 + 0.015))


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({"images_per_core": 1e6}, "all-reduce"),
        ({"images_per_core": 1e6, "flops": 1e8}, "compute"),
    ],
)
def test_what_a_step_waits_for(changes, bound):
    found = plan.expect(TOY, **STEP | changes, batch=8)
    assert found.bound == bound
    assert found.step == pytest.approx(found.compute + found.all_reduce)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 6}, "batch 6 cannot be divided by 4 devices"),
        ({"utilisation": 0.0}, r"in \(0, 1\], got 0.0"),
        ({"utilisation": 1.5}, r"in \(0, 1\], got 1.5"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        plan.expect(TOY, **STEP | {"batch": 8} | changes)


def test_flops_of_a_step():
    assert plan.flops_per_image({"ascent": 2.0, "view": 3.0}, steps=5) == 19  # docs/performance.md
