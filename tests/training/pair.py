"""What each of two processes does in `test_several_processes`; a program, started twice.

    python -m tests.training.pair PROCESS PORT DIRECTORY [METHOD ...]

It writes what it found to DIRECTORY/found<PROCESS>.json, and the arrays of the first process to
DIRECTORY/*.npz. With names of methods it trains a few steps with each and does nothing else; with
"corrupted" it trains and measures against the run in DIRECTORY/alone.
"""

import dataclasses
import json
import os
import signal
import sys
import zlib
from collections import Counter
from pathlib import Path

import jax
import numpy as np

from augmax_jax import models
from augmax_jax.config import defaults
from augmax_jax.data.benchmarks import Benchmark
from augmax_jax.evaluation.gallery import Gallery
from augmax_jax.runtime import hosts, joining, parallel
from augmax_jax.training import loop
from augmax_jax.training.batches import device_batches
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.commands import train_and_evaluate
from augmax_jax.training.run import Run, build
from tests.speck import ARCHITECTURE

DEVICES, PROCESSES, STEPS = 4, 2, 8
METHODS = {
    "fat": {"fat__steps": 2, "fat__budgets": (1,), "fat__boundaries": ()},
    "ant": {"ant__retrain_steps": 2, "ant__history": 2},
}
SHARES = ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])  # of ten images


NETWORK = {"speck": ARCHITECTURE}  # for models.MODELS


def small(**changes):
    """A config whose step compiles and runs in seconds; the same with one and two processes."""
    c = defaults()
    c.method, c.model.name, c.model.norm = "normal", "speck", "bn"
    c.data.name, c.data.holdout, c.data.image_size = "digits", 0.1, 8
    c.augment.width, c.augment.operators, c.adversary.steps = 1, "solarize", 1
    c.batch_size, c.eval_batch_size, c.log_every = 16, 50, 1
    c.max_steps, c.sync_batch_norm = STEPS, True
    c.pictures_every_epochs = c.eval_every_epochs = c.checkpoint.every_epochs = 0.0
    c.evaluate.benchmarks, c.evaluate.checkpoint = ("spatial",), "last"
    c.progress = c.tensorboard = False
    c.compilation_cache = ""
    c.update_from_flattened_dict({name.replace("__", "."): x for name, x in changes.items()})
    return c


def train_steps(run, count):
    """Trains some steps without the loop.

    Returns:
        Loss of each step, a checksum of the parameters after each step, and the last parameters.
    """
    step = run.mapped_step(run.abstract_state())
    state = parallel.replicate(run.initial_state(), run.devices)
    losses, sums = [], []
    for _, batch in zip(range(count), device_batches(run, 0), strict=False):
        state, metrics = step(state, batch)
        losses.append(float(parallel.first(metrics)["loss"]))
        sums.append(checksum(parallel.first(state)))
    return losses, sums, parallel.first(state).params


def checksum(tree):
    """A number for the bytes of a tree of arrays."""
    return zlib.crc32(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)))


def shown(run):
    """How often each image comes in the first epoch of this process's share of the batches."""
    size, total = run.config.batch_size, len(run.data.train)
    first = size * jax.process_index() // jax.process_count()
    seen = Counter()
    for k, batch in zip(range(-(-total // size)), device_batches(run, 0), strict=False):
        images = parallel.gather(batch["image"])
        inside = max(0, total - k * size - first)  # the last batch reaches into the next epoch
        seen.update(str(checksum(image)) for image in images[:inside])
    return dict(seen)


def write_mistakes(directory, shares):
    """Writes a gallery of the worst mistakes in ten images, whose batches this process sees."""
    gallery = Gallery(("a", "b"), mistakes=3)
    for share in shares:
        index = np.array(share, np.int32)
        logits = np.stack([np.zeros(len(index)), 1.0 + index % 7], -1).astype(np.float32)
        images = np.zeros((len(index), 8, 8, 3), np.uint8) + index[:, None, None, None].astype("u1")
        labels = np.zeros(len(index), np.int32)
        gallery.observer("fog", "1")(
            {"image": images, "label": labels, "mask": index < 9, "index": index}, logits
        )
    gallery.share()
    if hosts.is_writer():
        one = Benchmark("a-c", "corruptions", "files", ("fog",), (1,), None, lambda *part: None)
        gallery.write(directory, "a-c", one)


def failure(function, *arguments):
    """What a call raises, as its kind and its message."""
    try:
        function(*arguments)
    except BaseException as error:
        return [type(error).__name__, str(error)]
    return None


def keep_steps(found, directory, name, config):
    """Trains three steps, and keeps their losses and checksums and the last parameters."""
    losses, sums, params = train_steps(build(config), 3)
    found[name] = {"losses": losses, "sums": sums}
    if hosts.is_writer():
        np.savez(directory / f"{name}.npz", *jax.tree.leaves(params))


def try_methods(directory, names):
    """Trains some steps with methods that have a state or an attack of their own."""
    found = {}
    for name in names:
        keep_steps(found, directory, name, small(method=name, **METHODS[name]))
    return found


def measured(directory):
    """A config that is measured on corrupted images, relative to the run DIRECTORY/alone."""
    baseline = str(directory / "alone") if (directory / "alone").exists() else ""
    return small(max_steps=2, evaluate__benchmarks=("corrupted",), evaluate__baseline=baseline)


def watch_writes(directory):
    """The set that gets the files and folders in a directory that this process makes or opens.

    Python's own calls alone: what orbax writes without them lies in the checkpoints in any case.
    """
    wrote = set()

    def look(event, arguments):
        if event == "open":
            writes = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        else:
            writes = event in ("os.mkdir", "os.rename")
        path = arguments[1 if event == "os.rename" else 0] if writes else None
        if isinstance(path, str | Path) and Path(path).is_relative_to(directory):
            wrote.add(str(Path(path).relative_to(directory)))

    sys.addaudithook(look)
    return wrote


def share(name):
    """Lets runs of one config share what a method of `Run` gives, such as a compiled step.

    JAX's cache of programs serves the first process only.
    """
    method, kept = getattr(Run, name), {}

    def once(run, *arguments):
        kind = run.config.sync_batch_norm
        if kind not in kept:
            kept[kind] = method(run, *arguments)
        return kept[kind]

    setattr(Run, name, once)


def try_everything(process, directory):
    share("mapped_step")
    share("initial_state")
    found, wrote = {}, watch_writes(directory)

    # What the processes tell each other.
    devices = parallel.all_devices()
    total = parallel.pmap(lambda x: jax.lax.psum(x, parallel.AXIS), devices)
    mine = np.arange(2.0) + 1 + 2 * process
    found["sum"] = parallel.gather(total(parallel.shard(mine, devices))).tolist()
    found["everyone"] = hosts.everyone({"process": process, "text": "é" * (1 + 40 * process)})
    found["from_writer"] = hosts.from_writer([process, None])
    sent = {"a": np.float32([-0.0, np.nan, process]), "b": np.int32(process)}
    found["same_arrays"] = checksum(hosts.same_arrays(sent))

    def fails_alone():
        with hosts.together():
            if process == 1:
                raise ValueError("mine alone")

    found["together"] = failure(fails_alone)
    found["devices"] = failure(parallel.all_devices, 3)
    write_mistakes(directory / "pictures", [SHARES[process]])
    other = small(seed=process)
    found["config"] = failure(train_and_evaluate, other, directory / "other")
    found["untouched"] = not (directory / "other").exists()

    # Steps alone, with and without synchronised batch norm.
    for name, synchronised in (("synchronised", True), ("own", False)):
        keep_steps(found, directory, name, small(sync_batch_norm=synchronised))
    run = build(small())
    found["shown"] = shown(run)

    # A run of one process goes on with two, and is evaluated.
    results = train_and_evaluate(small(), directory / "from_one")
    found["results"] = {name: results[name] for name in ("clean", "benchmarks")}

    # One process is asked to stop.
    batches = loop.device_batches

    def asked_to_stop(run, start):
        for k, batch in enumerate(batches(run, start)):
            if k == 2 and process == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    loop.device_batches = asked_to_stop
    loop.augmentation_pictures.make_drawer = lambda run, directory: None
    found["stopped"] = failure(train_and_evaluate, small(), directory / "to_one")
    loop.device_batches = batches
    kept = Checkpoints(directory / "to_one")
    found["stopped_at"] = int(kept.restore("latest", run.initial_state())[0])
    kept.close()

    # The state is not finite in all of them.
    initial = Run.initial_state

    def not_finite(run):
        state = initial(run)
        return dataclasses.replace(
            state, params=jax.tree.map(lambda x: np.full_like(x, np.nan), state.params)
        )

    Run.initial_state = not_finite
    found["diverged"] = failure(train_and_evaluate, small(), directory / "diverged")
    found["wrote"] = sorted(wrote)
    return found


def main(process, port, directory, *methods):
    models.MODELS.update(NETWORK)
    place = small().distributed
    place.coordinator, place.processes, place.process = f"127.0.0.1:{port}", PROCESSES, process
    assert joining.connect(place)
    if methods == ("corrupted",):
        found = train_and_evaluate(measured(directory), directory / "together")
    else:
        found = try_methods(directory, methods) if methods else try_everything(process, directory)
    (directory / f"found{process}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DEVICES // PROCESSES)
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
