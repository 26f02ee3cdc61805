"""Programs in processes of their own that take turns, so that other load affects all of them."""

import contextlib
import functools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Prepared(NamedTuple):
    """A task whose preparation is not timed: `run` gets what `prepare` returns."""

    prepare: Callable[[], Any]
    run: Callable[[Any], Any]


Tasks = Mapping[str, Callable[[], Any] | Prepared]
CLOSE = "close"  # a task of this name runs once, at the end
WORKERS = "cpu_seconds_of_workers"  # a task's report under this key is added to its CPU time


def _serve(connection, cores: list[int], build: Callable[..., Tasks], options: dict) -> None:
    os.sched_setaffinity(0, cores)
    tasks = build(**options)
    connection.send([name for name in tasks if name != CLOSE])
    # Stops if the parent process has ended.
    with contextlib.suppress(EOFError):
        while (name := connection.recv()) != CLOSE:
            task = tasks[name]
            if isinstance(task, Prepared):
                task = functools.partial(task.run, task.prepare())
            cpu, wall = time.process_time(), time.perf_counter()
            report = task()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if isinstance(report, dict):
                cpu += report.pop(WORKERS, 0.0)
            connection.send((wall, cpu, report or None))
    tasks.get(CLOSE, lambda: None)()


class Program:
    """A process that builds tasks and runs them on request.

    Args:
        build: top-level function that returns the tasks by name; a task returns None or a
            report. `CLOSE` is a plain function.
        cores: the cores that the process may use.
        **options: options of `build`.
    """

    def __init__(self, build: Callable[..., Tasks], cores: list[int], **options: Any):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, cores, build, options))
        self._process.start()
        theirs.close()  # so that a process that fails ends the waiting for it
        self.tasks: list[str] = self._connection.recv()

    def __call__(self, task: str) -> tuple[float, float, Any]:
        """Runs a task; returns wall seconds, CPU seconds of the process, and the task's report."""
        self._connection.send(task)
        return self._connection.recv()

    def close(self) -> None:
        """Ends the process."""
        self._connection.send(CLOSE)
        self._process.join()


def measure(programs: Mapping[str, Program], repeats: int) -> dict[str, dict[str, Any]]:
    """Runs all tasks of all programs in turn, once to warm up and then `repeats` times.

    Returns:
        "program/task" -> median and least wall seconds, median CPU seconds, and the last report
        of the task.
    """
    runs: dict[str, list[tuple[float, float, Any]]] = {}
    tasks = list(dict.fromkeys(task for program in programs.values() for task in program.tasks))
    for repeat in range(repeats + 1):
        for task in tasks:
            for name, program in programs.items():
                if task in program.tasks:
                    result = program(task)
                    if repeat:
                        runs.setdefault(f"{name}/{task}", []).append(result)
    return {
        name: {
            "seconds": round(statistics.median(wall for wall, _, _ in results), 4),
            "least_seconds": round(min(wall for wall, _, _ in results), 4),
            "cpu_seconds": round(statistics.median(cpu for _, cpu, _ in results), 4),
            **({"report": results[-1][2]} if results[-1][2] is not None else {}),
        }
        for name, results in runs.items()
    }
