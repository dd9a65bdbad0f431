"""Waiting with a deadline: the one place in these tests that sleeps."""

import time


def wait_until(what, check, seconds=30, every=0.05):
    """Calls `check` until it gives something true, and returns that. `what` is said when it never does."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain until {what}; last: {value!r}")
        time.sleep(every)


def stays(what, check, seconds):
    """Calls `check` for so long and expects it to hold every time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert check(), f"ended too early: {what}"
        time.sleep(0.05)
