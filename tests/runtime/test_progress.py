"""Speed and time left, with a clock under our control."""

import sys

import pytest

from augmax_jax.runtime import progress
from augmax_jax.runtime.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves by hand."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_speed_and_time_left_leave_out_pauses(clock):
    bar = Progress(total_steps=100, batch_size=32, start_step=0, show=False)
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
    bar = Progress(total_steps=10, batch_size=1, start_step=0, show=False)
    with bar.pause():
        clock.now += 7
        assert bar.seconds == 0


def test_speed_follows_the_last_minute(clock):
    bar = Progress(total_steps=10_000, batch_size=10, start_step=0, show=False)
    for step in range(1000):
        bar.update(step, 0.0, {})
        clock.now += 0.1 if step < 500 else 1.0
    assert ", 10 images/s" in bar.line(999, 0.0)
    assert len(bar._recent) < 110


def test_names_keep_their_last_value_and_accuracies_are_percentages(clock):
    bar = Progress(total_steps=10, batch_size=1, start_step=0, show=False)
    bar.update(1, 0.1, {"loss": 2.0, "SA": 0.98765})
    bar.update(2, 0.2, {"loss": 1.0})
    assert bar.line(2, 0.2).endswith("loss 1, SA 98.77%")


def test_no_speed_before_it_is_known(clock):
    bar = Progress(total_steps=10, batch_size=1, start_step=5, show=False)
    bar.update(6, 0.1, {})
    assert bar.mean_images_per_second is None
    assert bar.line(6, 0.1) == "step 6/10, epoch 0.10"


def test_log_files_get_a_line_now_and_then(clock, capsys):
    bar = Progress(total_steps=100, batch_size=1, start_step=0, show=True)
    for step in range(1, 101):
        bar.update(step, 0.0, {})
        clock.now += 1
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"step {step}/100" for step in (1, 21, 41, 61, 81, 100)
    ]


def test_terminals_get_a_bar(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = Progress(total_steps=4, batch_size=1, start_step=1, show=True)
    for step in (2, 3, 4):
        clock.now += 1
        bar.update(step, 0.5, {"loss": 0.25})
    bar.close()
    shown = capsys.readouterr().err
    assert "100%|" in shown
    assert "step 4/4, epoch 0.50, 1 images/s, loss 0.25" in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (36_000, "10:00:00")]
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text
