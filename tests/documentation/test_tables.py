"""Tables of the pages are those that the committed JSON files give."""

import json
import shutil

import numpy as np
import pytest

from experiments import tables
from tests.experiments.test_beyond import in_all_ways
from tests.experiments.test_cpu_study import of_run


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: page.stem)
def test_pages_agree_with_the_json_files(page):
    text = page.read_text()
    assert tables.fill(text) == text, "python -m experiments.tables"
    assert text.count("<!-- table:") == len(tables.MARKED.findall(text))


def test_every_table_is_on_a_page():
    text = "\n".join(page.read_text() for page in tables.pages())
    assert {name for name in tables.TABLES if f"<!-- table: {name} -->" not in text} == set()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of what the tables are made of, to change."""
    (tmp_path / "docs").mkdir()
    for folder in ("configs/baselines", "docs"):
        for path in (tables.ROOT / folder).glob("*.*"):
            if path.suffix in (".md", ".json"):
                target = tmp_path / path.relative_to(tables.ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    shutil.copy(tables.ROOT / "README.md", tmp_path)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    return tmp_path


def test_a_changed_result_changes_the_page(checkout, capsys):
    file = checkout / "configs" / "baselines" / "digits_normal_0.json"
    results = json.loads(file.read_text())
    results["benchmarks"]["corrupted"]["ra"] = 0.5
    file.write_text(json.dumps(results))
    tables.main([])  # the study's table too, whose files the copy lacks
    assert tables.main(["--check"]) == 0
    runs = [json.loads(p.read_text()) for p in file.parent.glob("digits_normal_*.json")]
    found = [100 * run["benchmarks"]["corrupted"]["ra"] for run in runs]
    expected = f"{np.mean(found):.2f} ± {np.std(found, ddof=1):.2f}"
    assert expected in (checkout / "README.md").read_text()
    results["benchmarks"]["corrupted"]["ra"] = 0.6
    file.write_text(json.dumps(results))
    capsys.readouterr()
    assert tables.main(["--check"]) == 1
    assert "README.md: differs" in capsys.readouterr().out
    assert expected in (checkout / "README.md").read_text()


def test_runs_of_the_study_come_in(checkout):
    assert tables.cpu_study() == tables.cpu_study_accuracies() == tables.NO_RUN
    session = {"device": "1 x cpu", "versions": {"jax": "0.10.2"}}
    record = of_run("normal", "bn", 0, 0.645, sa=0.771, provenance={"trained": [session]})
    folder = checkout / tables.STUDY
    folder.mkdir(parents=True)
    (folder / "normal-bn-s0.json").write_text(json.dumps(record))
    shown = tables.cpu_study()
    assert "| Normal-BN | 0 | 77.10 | 64.50 | 12.60 |" in tables.cpu_study_accuracies()
    assert tables.cpu_study_accuracies() in shown
    assert "1 of 15 runs are finished" in shown
    assert shown.endswith(
        "Made on 1 x cpu with JAX 0.10.2 by "
        "`python -m experiments.cpu_study run --data DIR --workdir runs/cpu_study`.\n"
    )
    assert tables.cpu_study_beyond() == tables.NO_RUN
    more = {"settings": {}, "ways": in_all_ways(0.6), "provenance": record["provenance"]}
    record = of_run("augmax", "dubin", 0, 0.6, ascent={"0": 0.0, "1": 1.0}, **more)
    (folder / "augmax-dubin-s0.json").write_text(json.dumps(record))
    assert "| AugMax-DuBIN | averaged | clean | 0 | 4.00 | 80.00 | 62.00 | +2.00 |" in (
        tables.cpu_study_beyond()
    )


def test_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match="there is no table 'colours'"):
        tables.fill("<!-- table: colours -->\n<!-- end -->\n")
