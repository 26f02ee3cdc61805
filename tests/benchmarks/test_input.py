"""What the benchmark of the input pipeline compares and counts."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from augmax_jax import data
from augmax_jax.data.order import CROP, generator
from benchmarks import input as benchmark
from benchmarks import input_peers

SIZE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for split, name, number in itertools.product(("train", "val"), ("a", "b"), range(3)):
        path = root / split / name / f"{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(20, 60, 2)
        colours = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(colours).save(path, quality=95)
    return root


def files(folder):
    return [str(path) for path in sorted((folder / "train").glob("*/*"))]


def test_peers_with_pillow_do_the_same_work(folder):
    config = {"name": str(folder), "image_size": SIZE, "train_transform": "random_resized_crop"}
    split = data.load({**config, "holdout": 0.0}, seed=0).train
    batch = next(split.train_batches(6))["image"]
    paths = files(folder)
    rows = split.order.indices(np.arange(6))
    for place, row in enumerate(rows):
        theirs = input_peers.crop_file(paths[row], SIZE, generator(0, CROP, place))
        np.testing.assert_array_equal(batch[place], theirs)


@pytest.mark.parametrize("name", ["torch", "tf_data", "tf_data_aliased"])
def test_peers_yield_batches_without_end(folder, name):
    pytest.importorskip(benchmark.package(name))
    pipeline = input_peers.PIPELINES[name](files(folder), SIZE, 4, 0)
    batches = list(itertools.islice(pipeline, 4))  # more than an epoch
    assert all(batch.shape == (4, SIZE, SIZE, 3) for batch in batches)
    assert all(batch.dtype == np.uint8 for batch in batches)
    images = np.concatenate(batches)
    assert len(np.unique(images.reshape(16, -1), axis=0)) > 6  # crops differ between epochs
    assert 90 < images.mean() < 165


def test_a_later_step_starts_with_its_own_batch(folder):
    later = next(benchmark.open_folder(str(folder), SIZE, 5, 4))
    from_start = benchmark.open_folder(str(folder), SIZE, 0, 4)
    np.testing.assert_array_equal(later, next(itertools.islice(from_start, 5, None)))


def test_a_turn_counts_what_it_times(monkeypatch):
    monkeypatch.setattr(benchmark, "_QUIET", 0.01)
    source = iter([np.zeros((4, 1, 1, 3), np.uint8)] * 100)
    clock = itertools.chain([10.0, 12.0], itertools.repeat(12.0))
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    found = benchmark.timed(source, 3)
    assert found["images_per_second"] == 6.0  # 3 batches of 4 in 2 seconds
    assert found["cpu_ms_per_image"] >= 0
    assert len(list(source)) == 100 - 3 - benchmark._READY


def test_ratios_are_those_of_rounds():
    def turns(rates, cpu):
        pairs = zip(rates, cpu, strict=True)
        return [{"images_per_second": rate, "cpu_ms_per_image": ms} for rate, ms in pairs]

    # The second round was slowed down for both.
    found = benchmark.summarise(
        {
            "ours": turns([300.0, 30.0, 330.0], [2.0, 2.0, 2.0]),
            "peer": turns([200.0, 15.0, 330.0], [3.0, 4.0, 3.0]),
        }
    )
    assert found["ours"] == {"images_per_second": 300, "cpu_ms_per_image": 2.0}
    assert found["peer"] == {
        "images_per_second": 200,
        "cpu_ms_per_image": 3.0,
        "ratio": 1.5,
        "ratio_lowest": 1.0,
        "ratio_highest": 2.0,
        "ratio_of_cpu_time": 1.5,
    }


def test_the_first_batch_is_timed_at_every_step(folder, monkeypatch):
    monkeypatch.setattr(benchmark, "_QUIET", 0.01)
    tasks = benchmark.build_first_batch(str(folder), SIZE, batch=4, steps=[0, 9])
    assert list(tasks) == ["step 0", "step 9"]
    assert all(task()["seconds"] > 0 for task in tasks.values())


def test_memory_is_read_every_few_batches(folder):
    tasks = benchmark.build_memory(str(folder), SIZE, batch=4, batches=4, every=2)
    found = tasks["memory"]()
    assert list(found) == ["2", "4"]
    assert all(10 < megabytes < 100_000 for megabytes in found.values())


def test_a_folder_without_pictures_is_refused(folder, tmp_path):
    found = benchmark.describe(folder)
    assert found["files"] == 6
    assert all(20 <= side < 60 for side in found["mean_sides"])
    with pytest.raises(FileNotFoundError, match=r"benchmarks\.pictures"):
        benchmark.describe(tmp_path)


@pytest.mark.slow
def test_the_command_writes_all_parts(folder, tmp_path):
    out = tmp_path / "input.json"
    small = ["--image_size", str(SIZE), "--batch", "4", "--count", "2", "--repeats", "2"]
    more = ["--batches", "20", "--step", "100", "--peers", "torch", "--out", str(out)]
    command = [sys.executable, "-m", "benchmarks.input", "--folder", str(folder), *small, *more]
    subprocess.run(command, check=True, timeout=300)
    found = json.loads(out.read_text())
    assert found["speed"]["torch"]["ratio"] > 0
    assert found["memory"]["batches"] == 20
    assert found["resume"]["step"] == 100
    assert found["resume"]["ratio"] > 0
