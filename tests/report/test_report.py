"""Reports from fabricated workdirs: whole, partial, damaged; tables checked by hand."""

import base64
import html.parser
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from augmax_jax import report
from augmax_jax.report import __main__ as command
from augmax_jax.report import charts, pictures, runs, tables

SVG_NUMBER = r"-?\d+(?:\.\d+)?"


def make_results(**changes):
    accuracy = {"fog": {"1": 0.9, "5": 0.5}, "shot_noise": {"1": 0.8, "5": 0.7}}
    return {
        "method": "augmax", "model": "wrn40_2", "norm": "dubin", "dataset": "cifar10", "seed": 0,
        "epochs": 2, "steps": 20, "selected": "best", "select_on": "holdout", "best_step": 10,
        "clean": {
            "best": {
                "split": "test", "step": 10, "accuracy": 0.95, "loss": 0.2, "count": 100,
                "by_class": [0.75, 0.5, None],
                "confusions": {"0": {"0": 3, "1": 1}, "1": {"1": 2, "0": 2}},
            },
            "last": {"split": "test", "step": 20, "accuracy": 0.94, "loss": 0.3, "count": 100},
        },
        "holdout": {"split": "holdout", "step": 10, "accuracy": 0.96, "loss": 0.1},
        "benchmarks": {
            "cifar10_c": {
                "source": "published", "accuracy": accuracy, "ra": 0.725, "mce": 0.8256,
                "baseline": "AlexNet", "by_family": {"weather": 0.7, "noise": 0.75},
                "by_class": [0.25, 0.125, None], "note": "2 of its 3 classes take part",
            },
            "cifar10_1": {"source": "published", "accuracy": 0.88, "loss": 0.4, "count": 2021},
        },
        "not_measured": {"spatial": "no <place> for it"},
        "seconds": 3725.0, "device": "1 x cpu",
        "test_set": {
            "place": "somewhere", "count": 100, "size": [8, 8], "labels": "ab", "images": "cd"
        },
        "class_names": ["cat", "</style><b>dog", "{{ 7 * 7 }}"],
    } | changes  # fmt: skip


def make_run(path, *, results=None, history=True, pngs=True, config=None):
    path.mkdir(parents=True)
    if results is not None:
        (path / "results.json").write_text(json.dumps(results))
    config = config or {"method": "augmax", "model": {"name": "wrn40_2"}, "note": "<script>"}
    (path / "config.json").write_text(json.dumps(config))
    if history:
        rows = [
            {"step": s, "epoch": s / 10, "kind": "train", "time": 1.7e9 + s, "loss": 1 / s,
             "classification": 0.5 / s, "accuracy_clean": 1 - 1 / s, "learning_rate": 0.1,
             "ascent_steps": 1.75, "ascent_steps/0": 0.0, "ascent_steps/1": 0.5,
             "ascent_steps/2": 0.25, "ascent_steps/3": 0.25, "consistency": "nan"}
            for s in range(1, 21)
        ]  # fmt: skip
        rows.append({"step": 20, "epoch": 2.0, "kind": "eval", "holdout_accuracy": 0.9})
        (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if pngs:
        (path / "pictures").mkdir()
        png = pictures.to_png(np.zeros((4, 4, 3), np.uint8))
        for name in ("augmentations_0000010", "augmentations_0000020", "corruptions_cifar10_c",
                     "mistakes_cifar10_c", "other"):  # fmt: skip
            (path / "pictures" / f"{name}.png").write_bytes(png)
    return path


def test_figures_that_are_no_numbers_leave_no_bare_nan(tmp_path):
    results = make_results()
    results["clean"]["best"]["loss"] = float("nan")
    results["benchmarks"]["cifar10_c"] |= {"mce": float("inf"), "mean_loss": float("nan")}
    config = {"method": "augmax", "adversary": {"step_size": float("inf")}}
    page = report.render(make_run(tmp_path / "run", results=results, config=config))
    assert not re.search(r"\b(NaN|-?Infinity)\b", page)


def test_ra_and_that_of_normal_training_stand_with_their_intervals(tmp_path):
    beside = {"name": "normal", "sa": [0.9], "ra": [0.5, 0.7], "ra_interval": [0.55, 0.65]}
    found = {"source": "generated", "ra": 0.75, "ra_interval": [0.7, 0.8], "reference": beside}
    results = make_results(benchmarks={"corrupted": found})
    text = report.render(make_run(tmp_path / "run", results=results))
    assert "<span>corrupted, generated; 95% interval 70.0 to 80.0</span>" in text
    assert "<span>corrupted, mean of 2; 95% interval 55.0 to 65.0</span>" in text


def test_the_work_that_stopping_early_saves():
    rows = [{"ascent_steps/0": 0.5, "ascent_steps/1": 0.25, "ascent_steps/2": 0.25}, {"loss": 1.0},
            {"ascent_steps/0": 0.0, "ascent_steps/1": 0.75, "ascent_steps/2": 0.25}]  # fmt: skip
    shares = runs.ascent_shares(rows)
    assert shares == {0: 0.25, 1: 0.5, 2: 0.25}
    # One evaluation each for those that never moved, two for all others, of two.
    assert runs.ascent_work(shares) == pytest.approx((0.25 * 1 + 0.75 * 2) / 2)
    assert runs.ascent_shares([{"loss": 1.0}]) == {}


class Checker(html.parser.HTMLParser):
    """Collects elements, and every address that the page refers to."""

    def __init__(self):
        super().__init__()
        self.tags, self.addresses, self.open, self.data = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "xlink:href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):  # as SVG has them
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if data.strip():
            self.data.append(data.strip())


def check(text):
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return checker


def test_page_is_whole_and_refers_to_nothing_outside(tmp_path):
    path = report.write(make_run(tmp_path / "run", results=make_results()))
    assert path == tmp_path / "run" / "report.html"
    page = check(path.read_text())
    assert page.tags.count("script") == page.tags.count("style") == 1  # ours
    assert all(a.startswith(("#", "data:image/")) for a in page.addresses)
    outside = re.sub(r"http://www\.w3\.org/2000/svg", "", path.read_text())  # a name, no address
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttp", outside)
    assert "prefers-color-scheme: dark" in outside
    assert path.stat().st_size < 2e6
    assert page.tags.count("img") == 5
    text = " ".join(page.data)
    for part in ("AugMax-DuBIN, WRN40-2 on cifar10", "95.00", "72.50", "82.56", "1:02:05",
                 "against AlexNet", "no <place> for it", "<script>", "Consistency"):  # fmt: skip
        assert (part in text) == (part != "Consistency")  # all NaN: no chart
    for heading in ("Summary", "Training", "Augmentations", "Classes", "Robustness", "Provenance",
                    "Settings"):  # fmt: skip
        assert heading in page.data
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("selected", ["best", "last"])
@pytest.mark.parametrize("select_on", ["holdout", "test"])
def test_page_says_how_the_checkpoint_was_chosen(tmp_path, selected, select_on):
    results = make_results(selected=selected, select_on=select_on)
    text = report.render(make_run(tmp_path / "run", results=results))
    assert ("optimistic" in text) == ((selected, select_on) == ("best", "test"))
    assert ("held out" in text) == ((selected, select_on) == ("best", "holdout"))


@pytest.mark.parametrize(
    "results",
    [None, {}, {"selected": "last", "clean": {"last": {"accuracy": 0.5}}},
     {"benchmarks": {"x": {}}}, make_results(seconds=None, steps=None, clean={}, benchmarks={})],
)  # fmt: skip
@pytest.mark.parametrize("history", [True, False])
def test_parts_may_be_missing(tmp_path, results, history):
    run = make_run(tmp_path / "run", results=results, history=history, pngs=False)
    page = check(report.render(run))
    assert ("svg" in page.tags) == history
    assert report.summary_table(results or {})


def test_damaged_results_are_left_out_with_a_warning(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "results.json").write_text('{"clean": ')
    with pytest.warns(UserWarning, match=r"results\.json is damaged"):
        check(report.render(run))


def test_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere' is not a directory"):
        report.write(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds none of"):
        report.write(tmp_path)


def test_unwritable_report_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    (tmp_path / "results").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*results.*--out"):
        report.write(run, out=tmp_path / "results" / "report.html")


def test_neighbours_of_the_same_benchmark_stand_beside(tmp_path):
    run = make_run(tmp_path / "mine", results=make_results())
    make_run(tmp_path / "other", results=make_results(method="augmix", norm="bn"))
    make_run(tmp_path / "elsewhere", results=make_results(dataset="cifar100"))
    make_run(tmp_path / "images", results=make_results(
        test_set=make_results()["test_set"] | {"images": "other"}))  # fmt: skip
    (tmp_path / "something else").mkdir()
    (tmp_path / "something else" / "results.json").write_text("[]")
    make_run(tmp_path / "damaged", results=make_results())
    (tmp_path / "damaged" / "results.json").write_bytes(b"\xff")  # no word on it: no warning
    bars = 'title="{}, fog: 70.00%"'
    text = report.render(run)
    assert bars.format("mine") in text
    assert bars.format("other") in text
    assert "elsewhere" not in text
    assert bars.format("images") not in text  # other images under the same name
    assert bars.format("other") not in report.render(run, against=())


def test_summary_table():
    lines = report.summary_table(make_results(select_on="test")).splitlines()
    assert lines[0] == "AugMax-DuBIN, WRN40-2, cifar10 (test)"
    assert lines[1].split() == ["SA", "%", "RA", "%", "mCE", "%"]
    cells = {line.split("  ")[0]: line.split()[-2:] for line in lines[3:]}
    assert cells["clean (best checkpoint, step 10)"][-1] == "95.00"
    assert cells["cifar10_c (published)"] == ["72.50", "82.56"]
    assert cells["cifar10_1 (published)"][-1] == "88.00"
    assert "mCE is relative to AlexNet." in lines
    assert any("spatial was not measured" in line for line in lines)
    assert any("chosen on the test split" in line for line in lines)


def results_of(method, norm, *, model="wrn40_2", seed=0, sa=0.9, ra=0.7, mce=None):
    scores = {"ra": ra, "source": "published"} | ({} if mce is None else {"mce": mce})
    return {
        "method": method, "norm": norm, "model": model, "dataset": "cifar10", "seed": seed,
        "selected": "last", "clean": {"last": {"accuracy": sa}}, "benchmarks": {"c": scores},
    }  # fmt: skip


def cells(table):
    return [line.split() for line in table.splitlines()]


def test_one_network_gives_a_row_per_method_with_the_best_starred(tmp_path):
    found = [
        make_run(tmp_path / "a", results=results_of("normal", "bn", sa=0.9478, ra=0.7371, mce=1.0)),
        make_run(tmp_path / "b", results=results_of("augmix", "bn", sa=0.9567, ra=0.8901, mce=0.8)),
        make_run(tmp_path / "c", results=results_of("augmax", "dubin", sa=0.95, ra=0.9067)),
    ]
    table = cells(report.comparison_table(found))
    assert table[0] == ["cifar10,", "WRN40-2"]
    assert table[1] == ["method", "SA", "%", "RA", "%", "mCE", "%"]
    assert table[3] == ["Normal", "94.78", "73.71", "100.00"]
    assert table[4] == ["AugMix", "95.67", "*", "89.01", "80.00", "*"]  # a low mCE is good
    assert table[5] == ["AugMax-DuBIN", "95.00", "90.67", "*", "–"]


def test_seeds_become_mean_and_sample_deviation(tmp_path):
    found = [
        make_run(tmp_path / str(seed), results=results_of("augmax", "dubin", seed=seed, ra=ra))
        for seed, ra in enumerate((0.90, 0.91, 0.95))
    ]
    table = report.comparison_table(found)
    deviation = 100 * np.std([0.90, 0.91, 0.95], ddof=1)
    assert cells(table)[3] == [
        "AugMax-DuBIN", "90.00", "±0.00", "(n=3)", "92.00", f"±{deviation:.2f}", "(n=3)"
    ]  # fmt: skip
    page = check(report.render(found[0]))
    assert f"92.00 ±{deviation:.2f} (n=3)" in page.data
    assert "seed 2 (2)" in page.data


def test_runs_that_differ_by_more_than_the_seed_stay_apart(tmp_path):
    found = [make_run(tmp_path / n, results=results_of("augmax", "bn")) for n in ("n5", "n10")]
    table = report.comparison_table(found)
    assert "AugMax (n5)" in table
    assert "AugMax (n10)" in table
    assert "±" not in table


def test_seeds_of_other_settings_stay_apart(tmp_path):
    found = [
        make_run(tmp_path / name, results=results_of("augmax", "bn", seed=seed),
                 config={"method": "augmax", "seed": seed, "adversary": {"steps": steps}})
        for name, seed, steps in (("a", 0, 5), ("b", 1, 5), ("c", 2, 10))
    ]  # fmt: skip
    table = report.comparison_table(found)
    assert "AugMax (a, b)" in table
    assert "AugMax (c)" in table
    assert table.count("(n=2)") == 2  # SA and RA of a and b


def test_other_images_under_one_name_have_a_table_of_their_own(tmp_path):
    found = [
        make_run(tmp_path / str(n), results={
            "name": "net", "called": "compiled", "dataset": "", "selected": "last",
            "clean": {"last": {"accuracy": 0.5}}, "benchmarks": {},
            "test_set": {"count": 10, "size": [8, 8], "labels": labels, "images": "cd"},
        }, config={"of": "nothing"})
        for n, labels in enumerate(("ab", "ab", "xy"))
    ]  # fmt: skip
    table = report.comparison_table(found)
    assert table.count("the images given (10 images, labels") == 2
    assert "?" not in table
    assert "net (0)" in table  # no seeds of one setting


def test_several_networks_give_a_column_per_method(tmp_path):
    found = [
        make_run(tmp_path / f"{m}{n}", results=results_of(m, "bn", model=n, sa=sa))
        for m, n, sa in [("normal", "resnet18", 0.91), ("augmix", "resnet18", 0.92),
                         ("augmix", "wrn40_2", 0.93)]
    ]  # fmt: skip
    table = cells(report.comparison_table(found))
    assert table[1] == ["Normal", "AugMix"]
    assert table[3] == ["ResNet18", "SA", "%", "91.00", "92.00", "*"]
    assert table[5] == ["WRN40-2", "SA", "%", "–", "93.00"]


def test_data_sets_have_tables_of_their_own(tmp_path):
    found = [
        make_run(tmp_path / "a", results=results_of("normal", "bn")),
        make_run(tmp_path / "b", results=results_of("normal", "bn") | {"dataset": "/x/my images"}),
    ]
    table = report.comparison_table(found)
    assert "cifar10, WRN40-2" in table
    assert "my images, WRN40-2" in table


def test_comparison_page(tmp_path):
    found = [
        make_run(tmp_path / "a" / "run", results=make_results(), config={"seed": 1, "same": 2}),
        make_run(tmp_path / "b" / "run", results=make_results(method="augmix"),
                 config={"seed": 3, "same": 2}),
    ]  # fmt: skip
    path, text = report.compare(found, out=tmp_path / "out" / "page.html")
    page = check(path.read_text())
    assert "a/run · b/run" in page.data
    assert "seed" in page.data
    assert "same" not in page.data
    assert "AugMax-DuBIN" in text


def test_command_reports_one_run(tmp_path, capsys):
    command.main([str(make_run(tmp_path / "run", results=make_results()))])
    shown = capsys.readouterr().out
    assert "AugMax-DuBIN" in shown
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in shown


def test_command_compares_runs(tmp_path, capsys):
    found = [str(make_run(tmp_path / n, results=make_results(seed=n))) for n in ("a", "b")]
    command.main([*found, "--out", str(tmp_path / "c.html")])
    assert "(n=2)" in capsys.readouterr().out
    assert (tmp_path / "c.html").exists()


def test_command_says_what_is_wrong(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "augmax_jax.report", str(tmp_path / "nowhere")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: run ")
    assert "Traceback" not in done.stderr


def test_line_chart_puts_points_to_scale():
    chart = charts.line_chart({"a": ([0, 5, 10], [0.0, 1.0, 4.0])}, title="t")
    assert "<title>1 at epoch 5</title>" in chart
    points = re.findall(rf'<circle cx="({SVG_NUMBER})" cy="({SVG_NUMBER})"', chart)
    (x0, y0), (x1, y1), (x2, y2) = np.array(points, float)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert (y0 - y1) * 4 == pytest.approx(y0 - y2, abs=0.5)  # up is less in SVG


def test_line_chart_logarithmic_axis():
    chart = charts.line_chart({"a": ([0, 1, 2, 3], [0.01, 1.0, 100.0, 0.0])}, title="t", log=True)
    heights = np.array(re.findall(rf'cy="({SVG_NUMBER})"', chart), float)
    assert len(heights) == 3  # zero has no logarithm
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)


@pytest.mark.parametrize("ys", [[], [float("nan")], [float("inf")]])
def test_chart_without_points_is_left_out(ys):
    assert charts.line_chart({"a": (range(len(ys)), ys)}, title="t") == ""
    assert charts.bar_chart({"a": {}}, title="t") == ""


def test_bars_are_as_long_as_their_values():
    chart = charts.bar_chart({"a": {"x": 0.2, "y": 0.8, "z": 0.0}}, title="t")
    x, y, z = np.array(re.findall(rf"--v:({SVG_NUMBER})", chart), float)
    assert [x, y, z] == [0.2, 0.8, 0]


def test_a_long_run_stays_light_and_keeps_its_mean():
    ys = np.random.default_rng(0).random(5000)
    series = {"long": (range(5000), ys), "short": (range(3), [1.0, 2.0, 3.0])}
    chart = charts.line_chart(series, title="t")
    long, short = chart.split('data-name="short"')
    values = [float(v) for v in re.findall(r"<title>(\S+) at", long)]
    assert len(values) == 200
    assert np.mean(values) == pytest.approx(ys.mean(), abs=1e-3)
    assert re.findall(r"<title>(\S+) at", short) == ["1", "2", "3"]
    assert "means of up to 25 rows" in chart
    assert len(chart) < 40_000


def test_heat_map_is_redder_with_more_errors_and_knows_the_mean():
    chart = charts.heat_map({"fog": {"1": 1.0, "5": 0.5}}, title="t")
    shares = [int(s) for s in re.findall(r"--e:(\d+)%", chart)]
    assert shares == [0, 100, 50]
    assert ">75.0</td>" in chart


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 1, 5, [0, 0.5, 1.0]),
        (0.07, 2.3, 5, [0, 1, 2, 3]),
        (0, 200, 6, [0, 50, 100, 150, 200]),
        (3, 3, 5, [3, 4, 5, 6]),
    ],
)
def test_ticks_are_round_and_cover(low, high, count, expected):
    assert charts.ticks(low, high, count) == pytest.approx(expected)


def test_log_ticks_cover():
    assert charts.log_ticks(0.02, 30) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert len(charts.log_ticks(1e-12, 1e12)) <= 7


@pytest.mark.parametrize(("value", "text"), [(0.12345, "12.35"), (None, "–"), (float("nan"), "–")])
def test_percentages(value, text):
    assert tables.percent(value) == text


def test_names_of_runs_are_as_short_as_they_can_be(tmp_path):
    for name in ("a/x", "b/x", "b/y"):
        make_run(tmp_path / name)
    loaded = runs.load_all([tmp_path / name for name in ("a/x", "b/x", "b/y")])
    assert [run.name for run in loaded] == ["a/x", "b/x", "b/y"]
    assert [run.name for run in runs.load_all([tmp_path / "a/x", tmp_path / "b/y"])] == ["x", "y"]


HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"


def test_hostile_text_is_shown_as_it_is(tmp_path):
    results = make_results(
        dataset=HOSTILE,
        class_names=[HOSTILE, "b", "c"],
        not_measured={HOSTILE: HOSTILE},
        provenance={"evaluated": {"command": f"python {HOSTILE}", "commit": HOSTILE}},
    )
    results["benchmarks"][HOSTILE] = results["benchmarks"].pop("cifar10_c") | {
        "note": HOSTILE, "no_mce": HOSTILE, "source": HOSTILE, "set": {"place": HOSTILE},
    }  # fmt: skip
    results["benchmarks"][HOSTILE]["accuracy"][HOSTILE] = {HOSTILE: 0.5}
    run = make_run(tmp_path / "run", results=results, config={"a": {HOSTILE: HOSTILE}})
    (run / "pictures" / "mistakes_x.json").write_text(
        json.dumps([{"image": "AAAA", "label": HOSTILE, "prediction": HOSTILE,
                     "confidence": 1, "where": HOSTILE}])
    )  # fmt: skip
    text = report.render(run)
    page = check(text)
    assert page.tags.count("script") == 1
    assert "alert(1)" in text
    assert f"<{HOSTILE[1:20]}" not in text
    assert "49" not in re.findall(r">[^<]*alert\(1\)[^<]*<", text)[0]
    assert any(f"python {HOSTILE}" in data for data in page.data)
    path, _ = report.compare([run], out=tmp_path / "c.html")
    assert check(path.read_text()).tags.count("script") == 1


def test_classes_and_confusions_are_shown_by_name(tmp_path):
    text = report.render(make_run(tmp_path / "run", results=make_results()))
    page = check(text)
    assert 'title="clean, cat: 75.00%"' in text
    assert 'title="cifar10_c, cat: 25.00%"' in text
    assert "cat taken for </style><b>dog: 1 of 4 (25.0%)" in page.data
    assert "cat: 3 of 4 (75.0%)" in page.data
    assert "</style><b>dog taken for cat" in page.data  # in the table of mistakes
    assert "2 of its 3 classes take part" in " ".join(page.data)


@pytest.mark.parametrize("count", [3, 200, 1000])
def test_many_classes_stay_light(tmp_path, count):
    rng = np.random.default_rng(0)
    results = make_results(class_names=[f"class {i}" for i in range(count)])
    results["clean"]["best"]["by_class"] = rng.random(count).tolist()
    results["clean"]["best"]["confusions"] = {
        str(i): {str(j): 1 for j in {i, *rng.integers(0, count, 20).tolist()}} for i in range(count)
    }
    results["benchmarks"]["cifar10_c"]["by_class"] = rng.random(count).tolist()
    text = report.render(make_run(tmp_path / "run", results=results))
    check(text)
    assert len(text) < 1e6
    assert ("Confusion matrix" in text) == (count <= 200)
    assert ("the 40 worst of" in text) == (count > 40)


def test_provenance_and_sets_of_images_are_shown(tmp_path):
    results = make_results(
        provenance={"trained": {"seed": 3, "sessions": [{
            "command": "python -m augmax_jax.main --config=x.py",
            "versions": {"jax": "0.10.1", "python": "3.12"}, "commit": "abc123",
            "start": "2026-01-02T03:04:05+00:00", "end": None,
        }]}}
    )  # fmt: skip
    results["benchmarks"]["cifar10_c"]["set"] = {"place": "/data/c", "count": 7, "labels": "01ff"}
    text = report.render(make_run(tmp_path / "run", results=results))
    data = check(text).data
    for part in ("python -m augmax_jax.main --config=x.py", "jax 0.10.1, python 3.12", "abc123",
                 "2026-01-02T03:04:05+00:00 to an unknown end", "3",
                 "cifar10_c: /data/c, 7 images, labels 01ff",
                 "clean: somewhere, 100 images, 8x8 pixels, labels ab, images cd"):  # fmt: skip
        assert part in data
    assert "Provenance" not in report.render(
        make_run(tmp_path / "old", results=results_of("normal", "bn"))
    )


def test_one_colour_means_one_run_on_the_comparison_page(tmp_path):
    found = [
        make_run(tmp_path / f"run{i}", results=make_results(method=f"m{i}"), history=i != 0)
        for i in range(9)
    ]
    path, _ = report.compare(found, out=tmp_path / "page.html")
    text = path.read_text()
    check(text)
    legend = dict(re.findall(r'data-of="(\d+)" title="Show or hide (run\d)"', text))
    assert legend == {str(i + 1): f"run{i}" for i in range(9)}
    bars = re.findall(
        r'data-series="(\d+)" style="--c:var\(--c(\d+)\);[^"]*" title="(run\d),', text
    )
    lines = re.findall(r'data-series="(\d+)" data-name="(run\d)" style="--c:var\(--c(\d+)\)', text)
    assert {run for _, _, run in bars} == set(legend.values())
    assert {run for _, run, _ in lines} == set(legend.values()) - {"run0"}  # it has no history
    for series, colour, run in [*bars, *((s, c, run) for s, run, c in lines)]:
        assert series == colour
        assert legend[series] == run
    assert all(f"--c{i}:" in text for i in range(1, 10))
    assert len(re.findall(r"--c[789]:(oklch[^;]*);", text)) == 3


def test_mistakes_are_tiles_with_captions(tmp_path):
    run = make_run(tmp_path / "run", results=make_results())
    image = pictures.to_png(np.zeros((4, 4, 3), np.uint8))
    entries = [
        {"image": base64.b64encode(image).decode(), "label": "cat", "prediction": f"dog {i}",
         "confidence": 0.987, "where": "fog 3"}
        for i in range(3)
    ]  # fmt: skip
    (run / "pictures" / "mistakes_cifar10_c.json").write_text(json.dumps(entries))
    page = check(report.render(run))
    assert page.tags.count("img") == 4 + 3  # in place of the picture
    assert "✗ dog 2 (99%)" in page.data
    assert page.data.count("is cat") == page.data.count("fog 3") == 3


def test_pictures_beyond_the_budget_are_named(tmp_path, rng):
    run = make_run(tmp_path / "run", results=make_results())
    noise = pictures.to_png(rng.integers(0, 256, (700, 1400, 3), dtype=np.uint8))
    for i in range(12):
        (run / "pictures" / f"noise_{i:02}.png").write_bytes(noise)
        (run / "pictures" / f"augmentations_{i:07}.png").write_bytes(noise)
    text = report.render(run)
    assert len(text) < 2e6
    page = check(text)
    assert "image/webp" in text
    assert any("Left out" in data and "pictures/noise_11.png" in data for data in page.data)
    assert "Earlier in training: 3 of the 12 in pictures" in page.data


@pytest.mark.parametrize("name", ["corruptions_x.png", "mistakes_x.json"])
def test_damaged_pictures_are_left_out_with_a_warning(tmp_path, name):
    run = make_run(tmp_path / "run", results=make_results())
    (run / "pictures" / name).write_bytes(b"x" * 100_000)
    with pytest.warns(UserWarning, match="was left out"):
        check(report.render(run))


def test_steps_of_the_ascent_weigh_by_the_steps_of_a_row():
    rows = [{"step": 10, "ascent_steps/0": 1.0}, {"step": 11, "ascent_steps/0": 0.0}]
    assert runs.ascent_shares(rows) == {0: 10 / 11}
