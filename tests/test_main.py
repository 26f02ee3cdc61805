"""The command line: any setting from a text, and mistakes in one line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from augmax_jax import config as configs
from augmax_jax import main
from augmax_jax.runtime.kinds import Kind

REPOSITORY = Path(__file__).parent.parent
# A value of each type besides the default, as typed and as read.
VALUES = {
    bool: [("true", True), ("False", False), ("1", True)],
    int: [("7", 7), ("-7", -7)],
    float: [("0.25", 0.25), ("3", 3.0), ("1/4", 0.25), ("-1e-3", -0.001)],
    str: [("a", "a"), ("a=b, c", "a=b, c"), ("", "")],
}
TUPLES = {
    int: [("1,2", (1, 2)), ("(3,)", (3,)), ("()", ()), ("4", (4,))],
    float: [("1,2.5", (1.0, 2.5)), ("(3,)", (3.0,)), ("()", ()), ("4", (4.0,))],
    str: [("a,b", ("a", "b")), ("('a', 'b')", ("a", "b")), ("()", ()), ("a", ("a",))],
}


def examples(kind):
    also = [(str(other), other) for other in kind.also]
    return (TUPLES if kind.many else VALUES)[kind.base] + also


def parse(*arguments, config="configs/cifar10_wrn40_2.py"):
    return main.parse_flags(
        ["main", f"--config={REPOSITORY / config}", "--workdir=runs/any", *arguments]
    )


def value(config, name):
    for part in name.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize("name", [*configs.kinds(), "model.options.depth"])
def test_every_setting_is_set_from_a_text(name):
    kind = configs.kind_of(name)
    for text, wanted in [("16", 16)] if kind.base is object else examples(kind):
        for arguments in ([f"--config.{name}={text}"], [f"--config.{name}", text]):
            config = parse(*arguments)
            got = value(config, name)
            assert (got, type(got)) == (wanted, type(wanted))
            configs.check_keys(config)
            configs.check_types(config)
            assert config.is_locked


@pytest.mark.parametrize("name", [n for n, kind in configs.kinds().items() if kind.base is not str])
def test_every_setting_names_a_text_of_another_type(name, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(f"--config.{name}=what")
    message = stop.value.code
    assert message == f"error: config.{name} must be {configs.kind_of(name)}, got 'what'"


def test_flags_of_settings_that_are_true_or_false():
    for name in (n for n, kind in configs.kinds().items() if kind == Kind(bool)):
        assert value(parse(f"--config.{name}"), name) is True
        assert value(parse(f"--config.{name}", "--mode=train"), name) is True
        assert value(parse(f"--config.{name}", "false"), name) is False
        assert value(parse(f"--noconfig.{name}"), name) is False


def test_the_last_of_several_counts_and_any_order_will_do():
    settings = ["--config.seed=1", "-config.seed", "2", "--config.model.options.depth=16"]
    file = REPOSITORY / "configs/cifar10_wrn40_2.py"
    config = main.parse_flags(["main", *settings, f"--config={file}", "--workdir", "w"])
    assert (config.seed, config.model.options.depth) == (2, 16)


def test_a_file_of_flags_is_read(tmp_path):
    (tmp_path / "flags").write_text("--config.adversary.steps=3\n--config.evaluate.benchmarks=a\n")
    config = parse(f"--flagfile={tmp_path / 'flags'}")
    assert (config.adversary.steps, config.evaluate.benchmarks) == (3, ("a",))


def test_the_rate_follows_the_batch_unless_it_is_given():
    config = parse("--config.batch_size=512", config="configs/imagenet_r18.py")
    assert config.optimizer.learning_rate == pytest.approx(0.2)
    config = parse("--config.optimizer.learning_rate=0.3", config="configs/imagenet_r18.py")
    assert config.optimizer.learning_rate == 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.adversary.step=3"], "unknown config key 'adversary.step'. Did you mean"),
        (["--config.adversary=3"], "config.adversary is a group of settings"),
        (["--config.optimizer.per=step"], "is now called 'optimizer.schedule_unit'"),
        (["--config.epochs"], "--config.epochs needs a value"),
        (["--config.epochs", "--mode=train"], "--config.epochs needs a value"),
        (["--noconfig.epochs"], "config.epochs must be a whole number, got 'false'"),
        (["epochs=3"], "unexpected arguments: epochs=3"),
        (["--", "--config.epochs=3"], "unexpected arguments: --config.epochs=3"),
        (["--config=nowhere.py"], "there is no config file .*nowhere.py"),
        (["--config="], "--config=FILE is missing"),
        (["--flagfile=nowhere"], ".*nowhere"),
        (["--workdir="], "--workdir=DIR is missing"),
    ],
)
def test_mistakes_end_the_command_in_one_line(arguments, message):
    with pytest.raises(SystemExit) as stop:
        parse(*arguments)
    assert re.match("error: .*" + message, stop.value.code)
    assert "\n" not in stop.value.code


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:\n", r"line 1: SyntaxError"),
        ("import nothing_of_the_kind\n", r"line 1: ModuleNotFoundError"),
        ("x = 1\n", "has no function get_config"),
        ("def get_config():\n    return {}\n", r"must return the ConfigDict .* got dict"),
        ("{head}    c.batch_size = 'a'\n    return c\n", r"line 4: TypeError.*batch_size"),
        ("{head}    c.optimizer.per = 'step'\n    return c\n", "now called 'optimizer.schedule_u"),
        ("{head}    c.optimizer.rate = 1\n    return c\n", "unknown config key 'optimizer.rate'"),
        ("{head}    del c.seed\n    return c\n", "config lacks seed"),
    ],
)
def test_mistakes_in_a_config_file_are_named(text, message, tmp_path):
    head = "from augmax_jax.config import defaults\ndef get_config():\n    c = defaults()\n"
    (tmp_path / "mine.py").write_text(text.replace("{head}", head))
    with pytest.raises(SystemExit) as stop:
        parse(f"--config={tmp_path / 'mine.py'}")
    assert re.match("error: .*" + message, stop.value.code)
    assert "\n" not in stop.value.code


def test_a_config_file_may_take_an_argument(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from augmax_jax.config import defaults\n"
        "def get_config(method='augmax'):\n"
        "    c = defaults()\n    c.method = method\n    return c\n"
    )
    assert parse(f"--config={tmp_path / 'mine.py'}").method == "augmax"
    assert parse(f"--config={tmp_path / 'mine.py'}:normal").method == "normal"


def test_a_run_goes_on_where_its_data_folder_is_written_otherwise(tmp_path, monkeypatch):
    from augmax_jax.training import workdir

    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    workdir.claim(parse("--config.data.name=./photos"), tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    kept["optimizer"]["per"] = kept["optimizer"].pop("schedule_unit")  # an older run
    (tmp_path / "run" / "config.json").write_text(json.dumps(kept))
    (tmp_path / "run" / "results.json").write_text("{}")  # the directory is taken
    workdir.claim(parse(f"--config.data.name={tmp_path / 'photos'}"), tmp_path / "run")
    with pytest.raises(ValueError, match=r"optimizer\.schedule_unit: 'epoch' -> 'step'"):
        workdir.claim(
            parse("--config.data.name=photos", "--config.optimizer.schedule_unit=step"),
            tmp_path / "run",
        )


def test_help_explains_the_modes_with_examples():
    done = subprocess.run(
        [sys.executable, "-m", "augmax_jax.main", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    for text in (
        "--config.NAME=VALUE",
        "--workdir",
        "--mode=evaluate",
        "--mode=replay",
        "augmax-jax train --config=digits",
        "augmax-jax evaluate --workdir=runs/digits",
    ):
        assert text in done.stdout


def test_the_first_words_wait_for_no_slow_import():
    slow = ["augmax_jax.training", "augmax_jax.report", "orbax", "scipy.stats", "tensorflow"]
    code = f"import augmax_jax.main, sys; print(sorted(set({slow}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [["augmax_jax.main"], ["augmax_jax", "train"]])
def test_something_is_said_before_jax_is_imported(command, tmp_path):
    (tmp_path / "jax.py").write_text("raise SystemExit(7)")
    done = subprocess.run(
        [sys.executable, "-m", *command, "--config=digits", "--workdir=x"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert done.stderr == "augmax-jax: loading JAX ...\n"


def test_the_first_words_say_what_is_done(caplog, monkeypatch):
    from augmax_jax.training import commands

    seen = []
    monkeypatch.setattr(main.host_memory, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(
        commands, "train_and_evaluate", lambda *_: seen.append(list(caplog.messages))
    )
    with caplog.at_level("INFO", logger="augmax_jax.main"):
        main.main(parse("--config.method=fat"))
    assert seen == [["train: wrn40_2 with fat on cifar10, in runs/any"]]


def test_an_earlier_command_line_is_forgotten(tmp_path):
    main.parse_flags(
        ["main", "--config=configs/digits.py", f"--workdir={tmp_path}", "--mode=evaluate"]
    )
    with pytest.raises(SystemExit, match="--workdir=DIR is missing"):
        main.parse_flags(["main", "--config=configs/digits.py"])
    with pytest.raises(SystemExit, match="--config=FILE is missing"):
        main.parse_flags(["main", f"--workdir={tmp_path}"])
    assert flags.FLAGS["mode"].value == "train"
