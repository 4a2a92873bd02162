"""The samples of a session: CPU, memory and what else is counted.

Of: recording/counters.py, recording/gpu.py.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import perfdb
from perfdb.recording.monitor import Monitor, Waits
from perfdb.recording.tracker import Tracker

Make = Callable[..., Tracker]
MEGABYTE = 1 << 20


def wait_for_samples(tracker: Tracker, count: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert tracker.session is not None
        if len(tracker.session.samples) >= count:
            return
        time.sleep(0.01)
    pytest.fail("the monitor took no readings")


def test_a_session_is_read_while_it_runs(tracker: Tracker) -> None:
    with tracker.step("work"):
        wait_for_samples(tracker, 3)
    tracker.end_pipeline()
    stored = perfdb.History().session()
    assert len(stored.samples) >= 3
    assert all(sample.rss_bytes > MEGABYTE and sample.cpu_percent >= 0 for sample in stored.samples)
    times = [sample.time for sample in stored.samples]
    assert times == sorted(times)
    assert stored.start_time <= times[0] <= times[-1] <= (stored.end_time or 0)


def test_cpu_seconds_are_those_of_the_step(tracker: Tracker) -> None:
    with tracker.step("busy"):
        begun = time.process_time()
        while time.process_time() - begun < 0.05:
            pass
    with tracker.step("idle"):
        time.sleep(0.05)
    tracker.end_pipeline()
    busy, idle = perfdb.History().session().steps
    assert busy.cpu_s is not None
    assert idle.cpu_s is not None
    assert busy.cpu_s >= 0.045
    assert idle.cpu_s < busy.cpu_s


def test_a_spike_of_memory_between_two_readings_is_seen(tracker: Tracker) -> None:
    with tracker.step("small"):
        pass
    with tracker.step("spike"):
        assert tracker.session is not None
        now = tracker.session.rss_peak_bytes or 0
        below = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - psutil.Process().memory_info().rss
        block = bytearray(300 * MEGABYTE + max(0, below))  # more than any test before took of this process
        block[::4096] = b"x" * len(block[::4096])
        del block
    tracker.end_pipeline()
    small, spike = perfdb.History().session().steps
    assert (spike.rss_peak_bytes or 0) > now + 150 * MEGABYTE
    assert (small.rss_peak_bytes or 0) < now + 150 * MEGABYTE


def test_even_the_shortest_step_has_its_figures(tracker: Tracker) -> None:
    with tracker.step("short"):
        pass
    tracker.end_pipeline()
    (step,) = perfdb.History().session().steps
    assert step.rss_peak_bytes is not None
    assert step.rss_mean_bytes is not None
    assert step.rss_mean_bytes <= step.rss_peak_bytes


@pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="the system does not tell")
def test_steps_and_sessions_tell_how_long_they_waited_for_a_cpu(tracker: Tracker) -> None:
    def run_elsewhere() -> None:
        with tracker.step("elsewhere"):
            time.sleep(0.003)

    with tracker.step("short"):
        pass
    with tracker.step("long"), tracker.step("inside"):
        time.sleep(0.003)
    other = threading.Thread(target=perfdb.carry(run_elsewhere))
    other.start()
    other.join()
    tracker.end_pipeline()
    session = perfdb.History().session()
    _, long, inside, elsewhere = session.steps
    assert elsewhere.cpu_wait_s is None or elsewhere.cpu_wait_s <= (elsewhere.duration or 0.0)
    for step in (long, inside):
        assert step.cpu_wait_s is not None
        assert 0 <= step.cpu_wait_s <= (step.duration or 0.0)
    assert session.cpu_wait_s is not None
    assert session.cpu_wait_s <= (session.total_duration or 0.0)
    frame = perfdb.History().steps().set_index("step_name")
    assert frame.loc["inside", "cpu_wait_s"] == inside.cpu_wait_s


def test_without_monitor_nothing_is_sampled(tracker_with: Make) -> None:
    tracker = tracker_with(monitor=False)
    tracker.start_pipeline()
    with tracker.step("work"):
        time.sleep(0.15)
    tracker.end_pipeline()
    assert perfdb.History().session().samples == ()


def test_many_readings_are_thinned_in_memory(tracker_with: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from perfdb.recording import live

    monkeypatch.setattr(live, "MAX_SAMPLES", 10)
    tracker = tracker_with(monitor=False)
    tracker.start_pipeline()
    running = tracker._live
    assert running is not None
    for number in range(45):
        running.observe(running.started + number, 50.0, MEGABYTE)
    assert len(running.samples) <= 10
    tracker.end_pipeline()
    assert len(perfdb.History().session().samples) == 45


def test_no_secret_reaches_any_file_or_line(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    canary = "c4n4ryc4n4ry"
    monkeypatch.setattr("sys.argv", ["design", "--api-key", canary, f"--token={canary}"])
    tracker = perfdb.create_tracker(home=home)
    tracker.start_pipeline(
        api_key=canary, url=f"https://me:{canary}@example.org", nested={"password": canary}
    )

    def call() -> None:
        with tracker.step(f"call sk-{canary}", token=canary) as step:
            step.event("call", headers={"Authorization": canary})
            with step.attempt():
                raise ValueError(f"401 for https://serpapi.com/search?q=x&api_key={canary}")

    with pytest.raises(ValueError, match="401"):
        call()
    tracker.end_pipeline(success=False, error=f"Bearer {canary}")
    tracker.save_performance_report()
    tracker.print_summary()
    seen = capsys.readouterr()
    assert canary not in seen.out + seen.err + caplog.text
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert canary.encode() not in path.read_bytes(), path


STAND_IN = """
import os
from types import SimpleNamespace

reads = 0


class NVMLError(Exception):
    pass


def nvmlInit():
    if os.environ.get("STAND_IN_GPU") == "no driver":
        raise NVMLError("Driver Not Loaded")


def nvmlShutdown(): ...
def nvmlDeviceGetCount(): return 3
def nvmlDeviceGetHandleByIndex(index): return index


def nvmlDeviceGetComputeRunningProcesses(handle):  # the third one works for somebody else
    global reads
    reads += handle == 0
    pid = os.getpid() if handle < 2 else 1
    return [SimpleNamespace(pid=pid, usedGpuMemory=None if handle else 4_000_000_000 + 1_000_000 * reads)]


def nvmlDeviceGetGraphicsRunningProcesses(handle): return []


def nvmlDeviceGetUtilizationRates(handle):
    return SimpleNamespace(gpu=(60, 100, 0)[handle], memory=9)


def nvmlDeviceGetMemoryInfo(handle): return SimpleNamespace(total=9_000_000_000, used=2_000_000_000)
"""


@pytest.mark.parametrize("driver", ["driver", "no driver"])
def test_graphics_processors_are_measured_where_there_is_a_driver(
    tracker_with: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    (tmp_path / "pynvml.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setenv("STAND_IN_GPU", driver)
    tracker = tracker_with()
    tracker._monitor = Monitor()
    tracker.start_pipeline(fast_mode=False)
    with tracker.step("train") as train:
        wait_for_samples(tracker, 2)
        tracker._monitor.end_thread()
        tracker._monitor.wait_for_end(10.0)
    with tracker.step("short"):
        pass
    with tracker.step("own", gpu_percent=7) as own:
        assert tracker._live is not None
        tracker._live.observe_gpu(1.0, 1) if driver == "driver" else None
    tracker.end_pipeline()
    stored = perfdb.History().session()
    if driver == "no driver":
        assert all(not step.additional_data for step in stored.steps[:2])
        assert stored.attributes == {}
        return
    assert train.data["gpu_percent"] == 80.0, "of the two devices that this process uses"
    assert train.data["gpu_memory_peak_bytes"] >= 6_002_000_000
    assert stored.steps[0].additional_data == train.data
    assert stored.steps[1].additional_data == {}
    assert own.data == {"gpu_percent": 7, "gpu_memory_peak_bytes": 1}
    assert stored.attributes["gpu_memory_peak_bytes"] == train.data["gpu_memory_peak_bytes"]
    assert 1 < stored.attributes["gpu_percent"] < 80
    measures = perfdb.History().measures().set_index(["measure", "step_name"])
    assert measures.loc[("gpu_memory_peak_bytes", "train"), "unit"] == "bytes"
    assert measures.loc[("gpu_percent", "train"), "total"] == "max"


def test_graphics_processors_are_looked_for_once(
    tracker_with: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search of all folders for a library that is not there would cost every first session after a rest."""
    (tmp_path / "pynvml.py").write_text(
        "with open(__file__ + '.looks', 'a') as looks: looks.write('!')\nraise ImportError"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    tracker = tracker_with()
    tracker._monitor = monitor = Monitor()
    for _ in range(2):  # two threads
        tracker.start_pipeline(fast_mode=False)
        wait_for_samples(tracker, 1)
        monitor.end_thread()
        monitor.wait_for_end(10.0)
        monitor.go_on()
        tracker.end_pipeline()
    assert (tmp_path / "pynvml.py.looks").read_text() == "!"


def test_a_step_reads_its_waits_while_another_thread_adds_its_own() -> None:
    """Else recording the step failed, and it stayed open until the session ended."""
    waits = Waits()

    class Read(tuple[float, int, int]):
        def __getitem__(self, place: Any) -> Any:
            waits._readings.append((0.0, 0, 0))
            return super().__getitem__(place)

        def __iter__(self) -> Iterator[Any]:
            waits._readings.append((0.0, 0, 0))
            return super().__iter__()

    for _ in range(3):
        waits._readings.append(Read((2.0, 0, 7)))
    assert waits.during(1.0, 1.0) is None
    assert waits.since((0.0, threading.get_ident(), 0)) == 0
