"""Compiler options reach XLA, unknown ones do no harm; the cache serves another process."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax.models.cpu.convolution import conv
from augmax_jax.runtime import compiler, parallel


def _compile(options):
    step = jax.jit(lambda x, w: conv(x, w), compiler_options=options)
    return step.lower(jnp.zeros((8, 16, 16, 16)), jnp.zeros((3, 3, 16, 16))).compile().as_text()


def test_cpu_convolutions_leave_the_slow_library():
    options = compiler.jit_options("cpu")
    if not options:
        pytest.skip("this XLA does not know the option")
    assert "convolution(" in _compile(options)
    assert "__ynn_fusion" not in _compile(options)


@pytest.mark.parametrize("platform", ["gpu", "cuda", "tpu", "METAL"])
def test_other_platforms_get_no_options(platform):
    assert compiler.jit_options(platform) == {}
    assert compiler.jit_options(platform, once=True) == {}


def test_a_program_that_runs_once_computes_the_same():
    def draw(key):
        return jax.random.normal(key, (3, 3, 16, 16))

    key = jax.random.key(0)
    whole = {"xla_backend_optimization_level": "3"}  # whatever the level of the tests is
    options = compiler.jit_options("cpu", once=True)
    np.testing.assert_array_equal(
        *(jax.jit(draw, compiler_options=o)(key) for o in (options, whole))
    )


@pytest.mark.parametrize(
    "options",
    [{"xla_cpu_no_such_option": "true"}, {"xla_cpu_experimental_ynn_fusion_type": "NO_SUCH_TYPE"}],
)
def test_rejected_options_are_dropped(monkeypatch, options):
    monkeypatch.setattr(compiler, "CPU_OPTIONS", options)
    assert compiler.jit_options("cpu") == {}


def test_options_apply_to_a_pmapped_function():
    step = jax.jit(
        jax.pmap(lambda x: jax.lax.psum(x, "i"), "i"), compiler_options=compiler.jit_options("cpu")
    )
    assert step(jnp.arange(2.0)).tolist() == [1.0, 1.0]


def test_cache_fills_and_serves_the_next_process(tmp_path):
    script = (
        "import sys, jax, jax.numpy as jnp\n"
        "from augmax_jax.runtime.compiler import enable_compilation_cache, jit_options\n"
        "enable_compilation_cache(sys.argv[1])\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "events = []\n"
        "jax.monitoring.register_event_listener(lambda event, **_: events.append(event))\n"
        "jax.jit(lambda x: jnp.sin(x) @ x, compiler_options=jit_options('cpu'))(jnp.ones((9, 9)))\n"
        "print(events.count('/jax/compilation_cache/cache_misses'))\n"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    directory = tmp_path / "new" / "cache"

    def misses():
        command = [sys.executable, "-c", script, str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return int(done.stdout)

    assert misses() > 0
    assert list(directory.iterdir())
    assert misses() == 0


def test_cache_none_changes_nothing():
    before = jax.config.jax_compilation_cache_dir
    compiler.enable_compilation_cache(None)
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.parametrize("place", ["file", "file/cache", "/proc/nope/cache", "gs://bucket/cache"])
def test_a_cache_that_cannot_be_had_is_a_warning(tmp_path, monkeypatch, caplog, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    before = jax.config.jax_compilation_cache_dir
    compiler.enable_compilation_cache(place)
    assert f"not kept, because {place} cannot be written: " in caplog.text
    assert jax.config.jax_compilation_cache_dir == before
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _counted(traces):
    def double(tree):
        traces.append(tree["x"].shape)
        if tree["x"].shape == (3,):
            raise ValueError("three are refused")
        return jax.tree.map(lambda x: 2 * x, tree)

    return double


def test_a_call_finds_what_was_traced_ahead():
    traces, devices = [], parallel.local_devices(2)
    step = parallel.pmap(_counted(traces), devices)
    ahead = compiler.traced_ahead(
        step, parallel.abstract({"x": jax.ShapeDtypeStruct((4,), jnp.float32)}, devices)
    )
    whole = {"x": np.arange(4, dtype=np.float32)}
    result = ahead(parallel.replicate(whole, devices))
    assert traces == [(4,)]
    np.testing.assert_array_equal(result["x"], np.stack([2 * whole["x"]] * 2))
    other = ahead(parallel.replicate({"x": np.ones(5, np.float32)}, devices))
    assert traces == [(4,), (5,)]
    np.testing.assert_array_equal(other["x"], np.full((2, 5), 2))


def test_an_error_of_tracing_ahead_is_raised_by_the_call():
    devices = parallel.local_devices(1)
    refused = jax.ShapeDtypeStruct((3,), jnp.float32)
    ahead = compiler.traced_ahead(
        parallel.pmap(_counted([]), devices), parallel.abstract({"x": refused}, devices)
    )
    with pytest.raises(ValueError, match="three are refused"):
        ahead(parallel.replicate({"x": np.zeros(3, np.float32)}, devices))
