"""Speed, time left and what is compiled, with a clock under our control."""

import logging
import re
import sys
import time

import jax
import jax.numpy as jnp
import pytest

from augmax_jax.runtime import console, progress
from augmax_jax.runtime.progress import Announced, Count, Progress


@pytest.fixture
def clock():
    """A clock that a test moves by hand."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def lines(caplog):
    """A function that gives the lines of the log so far."""
    caplog.set_level(logging.INFO, logger="augmax_jax")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def as_terminal(monkeypatch, capsys):
    """A function that makes stderr a terminal, and gives a function that reads what it shows."""

    def make():
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        return lambda: capsys.readouterr().err

    return make


def test_speed_and_time_left_leave_out_pauses(clock):
    bar = Progress(total_steps=100, batch_size=32, start_step=0, show=False, clock=clock)
    clock.now += 500  # compilation, before the first step is done
    for step in range(1, 11):
        bar.update(step, step / 10, {"loss": 0.123456})
        if step == 5:
            with bar.pause():
                clock.now += 1000
                with bar.pause():
                    clock.now += 1000
        clock.now += 2
    assert bar.mean_images_per_second == pytest.approx(9 * 32 / 20)
    assert bar.line(10, 1.0) == "step 10/100, epoch 1.00, 16 images/s, loss 0.1235, 3:00 left"
    assert bar.seconds == pytest.approx(520)


def test_time_does_not_pass_during_a_pause(clock):
    bar = Progress(total_steps=10, batch_size=1, start_step=0, show=False, clock=clock)
    with bar.pause():
        clock.now += 7
        assert bar.seconds == 0


def test_speed_follows_the_last_minute(clock):
    bar = Progress(total_steps=10_000, batch_size=10, start_step=0, show=False, clock=clock)
    for step in range(1000):
        bar.update(step, 0.0, {})
        clock.now += 0.1 if step < 500 else 1.0
    assert ", 10 images/s" in bar.line(999, 0.0)
    assert len(bar._recent) < 110


def test_names_keep_their_last_value_and_accuracies_are_percentages(clock):
    bar = Progress(total_steps=10, batch_size=1, start_step=0, show=False, clock=clock)
    bar.update(1, 0.1, {"loss": 2.0, "SA": 0.98765})
    bar.update(2, 0.2, {"loss": 1.0})
    assert bar.line(2, 0.2).endswith("loss 1, SA 98.77%")


def test_no_speed_before_it_is_known(clock):
    bar = Progress(total_steps=10, batch_size=1, start_step=5, show=False, clock=clock)
    bar.update(6, 0.1, {})
    assert bar.mean_images_per_second is None
    assert bar.line(6, 0.1) == "step 6/10, epoch 0.10"


def test_log_files_get_a_line_every_half_minute(clock, lines):
    bar = Progress(total_steps=100, batch_size=1, start_step=0, show=True, clock=clock)
    for step in range(1, 101):
        bar.update(step, 0.0, {})
        clock.now += 1
    bar.close()
    assert [line.split(",")[0] for line in lines()] == [
        f"step {step}/100" for step in (1, 31, 61, 91, 100)
    ]


def test_terminals_get_a_bar(clock, as_terminal):
    terminal = as_terminal()
    bar = Progress(total_steps=4, batch_size=1, start_step=1, show=True, clock=clock)
    for step in (2, 3, 4):
        clock.now += 1
        bar.update(step, 0.5, {"loss": 0.25})
    bar.close()
    shown = terminal()
    assert "100%|" in shown
    assert "step 4/4, epoch 0.50, 1 images/s, loss 0.25" in shown


def test_a_count_in_a_log_is_a_line_every_half_minute_and_one_at_its_end(clock, lines, capsys):
    with Count(100, "corrupting", unit="images", clock=clock) as count:
        count.skip(40)  # done by an earlier session: it tells nothing about the speed
        count.doing("fog")
        for _ in range(60):
            clock.now += 1
            count.update(1)
    assert lines() == [
        "corrupting: 70 of 100 images, fog, 0:30 left",
        "corrupting: 100 of 100 images, fog",
        "corrupting: 60 images in 1:00",
    ]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "%|" not in shown.err  # no bar


def test_a_count_of_fractions_ends_whole(clock, lines):
    with Count(3, "set", unit="parts", clock=clock) as count:
        for _ in range(30):
            clock.now += 3
            count.update(0.1)
    assert lines()[-2:] == ["set: 3 of 3 parts", "set: 3 parts in 1:30"]


def test_a_count_on_a_terminal_is_a_bar_that_leaves_no_trace(clock, as_terminal, lines):
    terminal = as_terminal()
    with Count(4, "set", unit="parts", clock=clock) as count:
        for part in range(4):
            count.doing(f"fog {part}")
            clock.now += 1
            count.update(1)
    shown = terminal()
    assert re.search(r" 50%\|.*\| set: 2 of 4 parts, fog 1, 0:02 left", shown)
    assert re.search(r" 75%\|.*\| set: 3 of 4 parts, fog 3, 0:01 left", shown)  # said at once
    assert shown.endswith("\r")
    assert not shown.rstrip("\r").split("\r")[-1].strip()  # wiped out
    assert lines() == []  # it took less than five seconds


def test_a_failed_count_does_not_say_that_it_is_done(clock, lines):
    def fail():
        with Count(2, "set", unit="parts", clock=clock):
            clock.now += 60
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert lines() == []


def test_nothing_is_shown_unless_asked_for(clock, lines, as_terminal):
    terminal = as_terminal()
    with Count(2, "set", unit="parts", show=False, clock=clock) as count:
        clock.now += 60
        count.update(2)
    assert (lines(), terminal()) == ([], "")


def test_compilation_says_that_it_begins_and_how_long_it_took(lines):
    double = Announced(jax.jit(lambda x: 2 * x), lambda x: f"doubling of {len(x)}")
    for size in (3, 3, 4, 3):
        double(jnp.ones(size))
    assert [re.sub(r"[0-9.]+ s$", "T s", line) for line in lines()] == [
        "compiling doubling of 3 ...",
        "compiled doubling of 3 in T s",
        "compiling doubling of 4 ...",
        "compiled doubling of 4 in T s",
    ]


def test_the_time_of_compilation_is_that_of_jax(clock, lines):
    with Count(1, "set", unit="parts", clock=clock) as count:
        with progress.compiling("a function"):
            time.sleep(1.3)
            # A trace in a trace counts once, and other events do not count.
            for event, seconds in (("core/compile/inner", 0.6), ("core/compile/outer", 1.2)):
                jax.monitoring.record_event_duration_secs(f"/jax/{event}", seconds)
            jax.monitoring.record_event_duration_secs("/jax/other", 100.0)
        clock.now += 10
        count.update(1)
    assert lines()[1:] == [
        "compiled a function in 1.2 s",
        "set: 1 parts in 0:10, of which 0:01 compiling",
    ]


def test_messages_appear_above_a_bar(clock, as_terminal):
    terminal = as_terminal()
    root, logger = logging.getLogger(), logging.getLogger("augmax_jax")
    before, level, own = root.handlers[:], root.level, logger.level
    try:
        console.prepare()
        with Count(2, "set", unit="parts", clock=clock):
            logger.info("a message")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logger.setLevel(own)
    assert "\ra message\n" in terminal()  # the bar is wiped out first


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (36_000, "10:00:00")]
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text
