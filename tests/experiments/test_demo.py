"""Figures of the demo's runs are kept as the tables need them, without paths of a machine."""

import json

import pytest

from experiments import demo, tables


@pytest.fixture
def run(tmp_path):
    """A workdir with the results of a run of the demo."""
    scores = {"split": "test", "step": 6, "accuracy": 0.9, "loss": 0.1, "ece": 0.1, "count": 359}
    session = {
        "command": "/a/place/python -m augmax_jax.main --config=configs/digits.py "
        "--workdir=/a/place/run --config.seed=1",
        "versions": {"jax": "0.10.2"},
    }
    results = {
        "method": "augmax", "model": "tiny", "norm": "dubin", "dataset": "digits", "seed": 1,
        "epochs": 15, "selected": "best",
        "clean": {"best": scores | {"by_class": [1.0]}},
        "benchmarks": {
            "corrupted": {"source": "generated", "accuracy": {"fog": {"1": 0.5}}, "ra": 0.5}
        },
        "provenance": {"trained": {"seed": 1, "sessions": [session]}},
    }  # fmt: skip
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("isa", "name", "shown"),
    [("", "augmax-dubin-s1.json", "AVX-512"), ("AVX2", "augmax-dubin-s1-avx2.json", "AVX2")],
)
def test_a_kept_run_is_a_row_of_the_table(run, tmp_path, monkeypatch, isa, name, shown):
    folder = tmp_path / "experiments" / "results" / "digits"
    path = demo.keep(run, folder, isa)
    assert path == folder / name
    assert "/a/place" not in path.read_text()
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    text = tables.digits()
    assert f"| AugMax-DuBIN | {shown} | 1 | 90.00 | 50.00 | 44.9 to 55.1 |" in text
    flags = f"XLA_FLAGS=--xla_cpu_max_isa={isa} " if isa else ""
    assert (
        f"`{flags}python -m augmax_jax.main --config=configs/digits.py --workdir=DIR "
        "--config.seed=SEED`" in text
    )


def test_another_run_is_refused(run, tmp_path):
    results = json.loads((run / "results.json").read_text()) | {"dataset": "cifar10"}
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"no evaluated run of configs/digits\.py"):
        demo.keep(run, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
