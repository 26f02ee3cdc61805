"""XLA's options for each platform, the cache of compiled programs, and tracing ahead."""

import contextlib
import contextvars
import functools
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from augmax_jax.runtime import paths

logger = logging.getLogger(__name__)

# By default XLA:CPU computes convolutions with a library that is 1.6 to 4 times slower on our
# shapes than Eigen, the other choice (docs/performance_log.md). That library is faster than Eigen
# for matrix products and reductions, so the list, which replaces the default, names those two.
CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"
}

# Halves the compile time of a program that runs once.
CPU_ONCE_OPTIONS = {"xla_backend_optimization_level": "1"}


def jit_options(platform: str, *, once: bool = False) -> dict[str, str]:
    """Options for `jax.jit(..., compiler_options=...)`, without those that this XLA rejects.

    Without an option the program is only slower, so rejected options are dropped, with a message
    in the log.

    Args:
        platform: platform of the devices that will run the program: "cpu", "gpu", "tpu", ...
        once: True for a program that runs once: it takes longer to compile than to run.
    """
    options = CPU_ONCE_OPTIONS if once else CPU_OPTIONS
    return dict(_accepted(tuple(options.items()))) if platform == "cpu" else {}


@functools.cache
def _accepted(options: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """`options` if XLA:CPU compiles a trivial program with them, else none."""
    try:
        probe = jax.jit(lambda x: x + 1, compiler_options=dict(options))
        with jax.default_device(jax.devices("cpu")[0]):
            probe.lower(jnp.zeros(())).compile()
    except (RuntimeError, ValueError) as error:  # XLA's own error is a RuntimeError
        logger.info("XLA rejects %s, so it runs without: %s", dict(options), error)
        return ()
    return options


def enable_compilation_cache(directory: str | os.PathLike[str] | None) -> None:
    """Keeps compiled programs in `directory`, so that another process need not compile them.

    A directory that cannot be written costs only time, so it is a warning in the log.

    Args:
        directory: created if it is missing. None: JAX's own setting does not change
            (`JAX_COMPILATION_CACHE_DIR` if the user has set it, otherwise no cache).
    """
    if directory is None:
        return
    try:
        path = paths.expand(directory).absolute()
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:
        logger.warning(
            "compiled programs are not kept, because %s cannot be written: %s",
            directory,
            getattr(error, "strerror", None) or error,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    # Small programs compile faster than a file is looked up on a network drive.
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def traced_ahead(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """A jitted function that is traced in a thread, beside what the caller does before it calls it.

    Tracing is work of Python, so it gains what the caller waits for XLA, files or devices.

    Args:
        function: from `jax.jit`.
        *arguments: shapes, dtypes and placement of its arguments, as `parallel.abstract` gives
            them. If those of the first call differ, that call traces the function again.

    Returns:
        The function. It raises what tracing raises when it is called.
    """

    def trace() -> None:
        # JAX keeps what it has traced, but no error, so the call meets it again.
        with contextlib.suppress(Exception):
            function.trace(*arguments)  # type: ignore[attr-defined]

    # No daemon: Python cannot stop a thread inside JAX safely when it exits.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(trace,))
    thread.start()

    def call(*arguments: Any) -> Any:
        thread.join()
        return function(*arguments)

    return call
