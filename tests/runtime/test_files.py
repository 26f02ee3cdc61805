"""Files are whole or absent; JSON has no bare NaN or Infinity, in this package and beside it."""

import ast
import json
import math
from pathlib import Path

import numpy as np
import pytest

from augmax_jax.runtime import files

REPOSITORY = Path(__file__).parent.parent.parent


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", ["a.json", "n" * 250 + ".json", "caf\udce9 [1].json"])
def test_a_file_is_whole_or_as_it_was(tmp_path, name):
    path = tmp_path / name
    files.write_text(path, "before")

    def fail(partial):
        partial.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, fail)
    assert path.read_text() == "before"
    files.write_text(path, "after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_may_be_read_by_whom_the_umask_lets(tmp_path):
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.write_text("")
    files.write_text(ours, "")
    assert plain.stat().st_mode == ours.stat().st_mode


def test_numbers_that_json_lacks_come_back(tmp_path):
    value = {"a": math.nan, "b": [math.inf, -math.inf, 1.5], "c": {"d": np.float64("nan")}}
    path = tmp_path / "results.json"
    files.write_json(path, value)
    assert strict(path.read_text()) == {"a": "nan", "b": ["inf", "-inf", 1.5], "c": {"d": "nan"}}
    back = files.read_json(path, numbers=True)
    assert math.isnan(back["a"])
    assert math.isnan(back["c"]["d"])
    assert back["b"] == [math.inf, -math.inf, 1.5]
    assert files.read_json(path)["a"] == "nan"  # a file of names keeps them


def test_paths_that_are_not_utf8_are_written(tmp_path):
    files.write_json(tmp_path / "a.json", {"data": "caf\udce9"})
    assert files.read_json(tmp_path / "a.json") == {"data": "caf\udce9"}
    files.write_text(tmp_path / "a.html", "<p>caf\udce9 ±")
    assert (tmp_path / "a.html").read_bytes() == b"<p>caf\\udce9 \xc2\xb1"


def test_damage_and_absence(tmp_path):
    assert files.read_json(tmp_path / "a.json") is None
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is damaged .*remove it or restore it"):
        files.read_json(tmp_path / "a.json")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/a\.json could not be written .*choose another"):
        files.write_json(tmp_path / "file" / "a.json", {})


def test_settings_are_kept_and_compared(tmp_path):
    path = tmp_path / "stamp.json"
    settings = {"seed": 0, "severities": (1, 2), "scale": math.inf}
    files.check_settings(path, settings, "a benchmark")
    files.check_settings(path, settings, "a benchmark")
    with pytest.raises(ValueError, match="holds a benchmark with other settings: seed was 0, now"):
        files.check_settings(path, settings | {"seed": 1}, "a benchmark")


def calls(*folders):
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    yield path.relative_to(REPOSITORY).as_posix(), node


def test_nobody_writes_nan_into_json():
    loose = [
        f"{path}:{call.lineno}"
        for path, call in calls("augmax_jax", "experiments", "benchmarks")
        if ast.unparse(call.func) in ("json.dump", "json.dumps")
        and not any(
            keyword.arg == "allow_nan" and ast.unparse(keyword.value) == "False"
            for keyword in call.keywords
        )
    ]
    assert not loose, "use runtime.files.dumps or write_json"


def test_files_are_replaced_in_one_place():
    others = {path for path, call in calls("augmax_jax") if ast.unparse(call.func) == "os.replace"}
    assert others == {"augmax_jax/runtime/files.py"}
