"""The paper's figures are data: readable, complete, and those of the paper."""

import pytest

from experiments import paper

TABLES = [f"table{n}" for n in range(1, 12)]


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_a_source_and_whole_rows(table):
    assert f"NeurIPS 2021), Table {table.removeprefix('table')}: " in paper.source(table)
    rows = paper.rows(table)
    assert len(rows) >= 3
    for row in rows:
        assert None not in row
        assert None not in row.values()


@pytest.mark.parametrize(
    ("table", "column", "where", "value"),
    [
        ("table1", "block1_layer3", {"method": "AugMax-DuBN", "statistic": "augmented"}, 0.0585),
        ("table2", "AugMax-DuBIN", {"model": "ResNeXt29", "metric": "RA"}, 92.11),
        ("table3", "Normal", {"model": "WRN40-2", "metric": "SA"}, 76.19),
        ("table4", "mCE", {"method": "DeepAugment+AugMax-DuBIN"}, 68.47),
        ("table5", "RA", {"method": "AugMax-DuBIN"}, 38.67),
        ("table6", "RA", {"method": "ANT"}, 35.30),
        ("table7", "seconds", {"method": "AT"}, 37162),
        ("table8", "CIFAR-100-C std", {"method": "AugMix-DuBIN"}, 0.58),
        ("table9", "RA", {"setting": "lambda", "value": "1"}, 88.89),
        ("table10", "SA", {"method": "FAT"}, 61.51),
        ("table11", "CIFAR-10-STA", {"method": "AugMax-DuBIN"}, 63.20),
    ],
)
def test_figures_are_the_papers(table, column, where, value):
    assert paper.figure(table, column, **where) == value


def test_the_ratios_of_table_7():
    seconds = {row["method"]: float(row["seconds"]) for row in paper.rows("table7")}
    assert seconds["AugMax"] / seconds["AugMix"] == pytest.approx(1.453, abs=5e-4)
    assert seconds["AT"] / seconds["AugMix"] == pytest.approx(10.26, abs=5e-3)


def test_a_figure_that_is_not_one_is_refused():
    with pytest.raises(KeyError, match="table2 has 2 rows"):
        paper.figure("table2", "Normal", model="ResNet18")


def test_a_figure_has_no_source():
    assert paper.source("figure1") == ""
