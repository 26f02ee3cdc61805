"""`python -m experiments.accelerator`: measures a device, then goes on with Table 2."""

import argparse
import contextlib
import dataclasses
import functools
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Before JAX is imported: PyTorch runs beside it.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from augmax_jax.corruptions import constants
from augmax_jax.runtime import console, paths, provenance
from experiments import study
from experiments.accelerator import device, peer, pixels, runs, steps, tables
from experiments.accelerator.session import Session

logger = logging.getLogger(__name__)

DATA = "AUGMAX_CIFAR10"  # environment variable with the folder of CIFAR-10
FIRST = 45.0  # seconds that an item may take where none of its part has told it
PARTS = ("device", "peer", "steps", "pixels", "peer compiled", "chunks", "runs")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        networks: with their batches.
        dtypes: of the steps.
        settings: of the steps, by name, that differ from the defaults.
        steps: numbers of ascent steps, n.
        train: steps of training before anything is timed.
        repeats: steps that are timed.
        product: side of the matrices whose product gives the peak.
        chains: side and batch of the operators.
        images: corrupted by us, and by each core.
        corruptions: their names.
        changes: settings of the run list that differ from the paper's.
        only: names of the runs of the list; empty: all.
    """

    networks: tuple[steps.Network, ...] = steps.NETWORKS
    dtypes: tuple[str, ...] = device.DTYPES
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    steps: tuple[int, ...] = steps.STEPS
    train: int = 30
    repeats: int = 10
    product: int = 8192
    chains: tuple[tuple[int, int], ...] = ((32, 2048), (224, 256))
    images: tuple[int, int] = (4096, 4)
    corruptions: tuple[str, ...] = constants.BENCHMARK
    changes: tuple[tuple[str, str], ...] = ()
    only: tuple[str, ...] = ()


TOY = Sizes(
    networks=steps.TOY,
    dtypes=("bfloat16",),
    settings={"augment.operators": "solarize", "augment.width": 1},
    steps=(1,),
    train=1,
    repeats=1,
    product=64,
    chains=((32, 4),),
    images=(2, 1),
    corruptions=("brightness",),
    changes=(
        ("model.name", "tiny"),
        ("data.image_size", "8"),
        ("batch_size", "4"),
        ("epochs", "1"),
        ("max_steps", "1"),
        ("augment.operators", "solarize"),
        ("evaluate.benchmarks", "()"),
        ("data.holdout", "0.5"),
    ),
    only=("cifar10-wrn40_2-normal-bn",),
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m experiments.accelerator",
        description="Measure training on a device, then go on with the runs of Table 2. Started "
        "again with the same --out, it goes on where it stopped.",
    )
    add = made.add_argument
    add("--minutes", type=float, required=True, help="time to use")
    add("--out", type=Path, required=True, help="folder of the JSON file and of the runs' pieces")
    add(
        "--data",
        type=Path,
        default=os.environ.get(DATA),
        help="CIFAR-10 as train/<class>/* and test/<class>/*, for the runs "
        f"(default: the environment variable {DATA}; without it there are no runs)",
    )
    add(
        "--parts",
        default=",".join(PARTS),
        help=f"what to do, separated by commas (default, in this order: {','.join(PARTS)})",
    )
    add("--toy", action="store_true", help="everything at toy size; the figures mean nothing")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    given = parser().parse_args(arguments)
    console.prepare()
    try:
        chosen = [part.strip() for part in given.parts.split(",")]
        if unknown := sorted(set(chosen) - set(PARTS)):
            raise ValueError(f"--parts {unknown[0]!r} is none of {', '.join(PARTS)}")
        data = given.data and paths.expand(given.data)
        if data and not (data / "train").is_dir():
            raise FileNotFoundError(
                f"there is no folder {str(data / 'train')!r}: --data (or {DATA}) names a folder "
                "with train/<class>/ and test/<class>/, the images of CIFAR-10"
            )
        sizes = TOY if given.toy else Sizes()
        facts = {**device.facts(), "toy": given.toy}
        session = Session(paths.expand(given.out), given.minutes, facts)
        begun = provenance.begin(jax.local_devices())
        try:
            for part in PARTS:
                if part not in chosen:
                    continue
                if part == "runs":
                    go_on(session, sizes, data)
                else:
                    MEASUREMENTS[part](session, sizes)
        finally:
            session.results["sessions"].append(_plain(provenance.finish(begun)))
            session.save()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"\n{tables.table(session.results)}\nWritten to {session.path}")
    failed = [row for row in session.results["items"].values() if "error" in row]
    failed += [
        run
        for run in (session.results.get("runs") or {}).values()
        if run["state"] in (study.FAILED, study.NO_DATA)
    ]
    return 1 if failed else 0


def _plain(session: dict[str, Any]) -> dict[str, Any]:
    """A session without its command, which has paths."""
    return {name: value for name, value in session.items() if name != "command"}


def check_device(session: Session, sizes: Sizes) -> None:
    """The device, its peak, and the operations of the networks."""
    session.measure("device/check", device.check)
    for dtype in device.DTYPES:
        session.measure(
            f"device/peak/{dtype}", functools.partial(device.peak, dtype, sizes.product)
        )
    for network in sizes.networks:
        bench = _bench(network, "float32", sizes)
        session.measure(f"device/flops/{network.name}", bench.forward_flops)


def time_steps(session: Session, sizes: Sizes) -> None:
    """Steps of our methods."""
    kinds = steps.kinds(sizes.steps)
    _time(session, sizes, "steps", dict.fromkeys(sizes.networks, kinds))


def time_chunks(session: Session, sizes: Sizes) -> None:
    """Compacted steps by the size of their chunks."""
    kinds = {n: steps.chunk_kinds(n.batch, sizes.steps) for n in sizes.networks}
    _time(session, sizes, "chunks", kinds)


def _time(
    session: Session,
    sizes: Sizes,
    part: str,
    kinds: dict[steps.Network, dict[str, dict[str, Any]]],
) -> None:
    for network, arguments in kinds.items():
        for dtype in sizes.dtypes:
            bench = _bench(network, dtype, sizes)
            for kind, settings in arguments.items():
                session.measure(
                    f"{part}/{network.name}/{dtype}/{kind}",
                    functools.partial(bench.measure, **settings),
                    seconds=FIRST,
                )
            jax.clear_caches()


def _bench(network: steps.Network, dtype: str, sizes: Sizes) -> steps.Bench:
    return steps.Bench(
        network, dtype, train=sizes.train, repeats=sizes.repeats, settings=sizes.settings
    )


def time_peer(session: Session, sizes: Sizes, *, compiled: bool = False) -> None:
    """PyTorch's steps, where it is installed."""
    if not peer.is_there():
        logger.info("PyTorch is not installed, so there is nothing to compare with")
        return
    part, how = ("peer compiled", "compiled") if compiled else ("peer", "eager")
    for network in sizes.networks:
        for dtype in sizes.dtypes:
            session.measure(
                f"{part}/{network.name}/{dtype}/{how}",
                functools.partial(
                    peer.measure,
                    network,
                    dtype,
                    compiled=compiled,
                    repeats=sizes.repeats,
                    seconds=max(1.0, session.left),
                ),
                seconds=FIRST,
            )


def time_compiled_peer(session: Session, sizes: Sizes) -> None:
    """PyTorch's steps with its compiler."""
    time_peer(session, sizes, compiled=True)


def time_pixels(session: Session, sizes: Sizes) -> None:
    """Operators and corruptions."""
    for side, batch in sizes.chains:
        session.measure(
            f"pixels/operators/{side}",
            functools.partial(pixels.operators, side, batch, sizes.repeats),
            seconds=FIRST,
        )
    ours, cores = sizes.images
    session.measure(
        "pixels/corruptions/ours",
        lambda: pixels.corrupt(32, ours, sizes.corruptions, "cifar"),
        seconds=FIRST,
    )
    with contextlib.suppress(ModuleNotFoundError):
        pixels.check_peer()
        session.measure(
            "pixels/corruptions/cores",
            lambda: pixels.corrupt_on_cores(32, cores, sizes.corruptions, "cifar"),
            seconds=FIRST,
        )


def go_on(session: Session, sizes: Sizes, data: Path | None) -> None:
    """The run list, for the time that is left."""
    if data is None:
        logger.info("no --data, so the runs of Table 2 are left out")
        return
    if session.left < runs.LEAST:
        logger.info("no time left for the runs of Table 2")
        return
    session.results["runs"] = runs.go_on(
        session.path.parent, data, session.left, changes=sizes.changes, only=sizes.only
    )
    session.save()


MEASUREMENTS = {
    "device": check_device,
    "peer": time_peer,
    "steps": time_steps,
    "pixels": time_pixels,
    "peer compiled": time_compiled_peer,
    "chunks": time_chunks,
}

if __name__ == "__main__":
    sys.exit(main())
