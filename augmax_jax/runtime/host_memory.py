"""Lets the process keep the memory that programs on the CPU free."""

import ctypes
import logging
import platform

import jax

logger = logging.getLogger(__name__)

# Parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees, for its next use.

    XLA:CPU asks the C library for the memory of a program's intermediate values at every call
    (664 MB for a step of WRN-40-2) and frees it at the end. glibc returns so large a block to the
    system, which has to clear it page by page when the next call writes to it; the step takes 3 to
    8% less time without that (docs/performance_log.md).

    glibc keeps large blocks only of the thread that the process started with. Therefore this also
    switches off JAX's asynchronous dispatch on CPUs: programs then run in the thread that calls
    them. Other devices keep asynchronous dispatch.

    Both settings hold for the whole process. Only a command should make them; a library should
    not. Call this before the first JAX array is made, because JAX reads the dispatch setting then.
    A later call does no harm and has little effect.

    Returns:
        Whether this system's C library has these settings and accepted them.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    except AttributeError as error:  # the option is not part of JAX's stable interface
        logger.info("freed memory is not kept: this JAX has no switch for dispatch: %s", error)
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, -1))
