"""What graphics processors do for this process, as NVIDIA's library tells the monitor (extra ``gpu``).

Without the library, a driver, or a device that this process uses, there is nothing, and nothing changes.
"""

from __future__ import annotations

import os

from perfdb.guard import raise_foreign

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

PERCENT, MEMORY = "gpu_percent", "gpu_memory_peak_bytes"


class Devices:
    """The devices of this machine; make it with ``devices``."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handles = [library.nvmlDeviceGetHandleByIndex(n) for n in range(library.nvmlDeviceGetCount())]

    def read(self) -> tuple[float, int] | None:
        """Return how busy the devices are that this process uses, in percent, and the bytes it has there.

        None when it uses none. The driver knows how busy a device is, not with whom; where it does not tell
        the memory of a process (Windows, containers), that of the device is returned.
        """
        library, pid = self._library, os.getpid()
        busy, memory = [], 0
        for handle in self._handles:
            running = [
                *library.nvmlDeviceGetComputeRunningProcesses(handle),
                *library.nvmlDeviceGetGraphicsRunningProcesses(handle),
            ]
            own = [each.usedGpuMemory for each in running if each.pid == pid]
            if own:
                known = [each for each in own if each is not None]
                memory += max(known) if known else int(library.nvmlDeviceGetMemoryInfo(handle).used)
                busy.append(float(library.nvmlDeviceGetUtilizationRates(handle).gpu))
        return (sum(busy) / len(busy), memory) if busy else None

    def close(self) -> None:
        """Let go of the library."""
        try:
            self._library.nvmlShutdown()
        except Exception as error:
            raise_foreign(error)


def devices() -> Devices | None:
    """Return the devices that a driver tells of; None without the library, a driver or a device."""
    try:
        import pynvml

        pynvml.nvmlInit()
        found = Devices(pynvml)
    except Exception as error:
        raise_foreign(error)
        return None
    return found if found._handles else None


class Use:
    """What readings of one step or session make together, put into its data as it goes on."""

    __slots__ = ("_count", "_peak", "_put", "_sum")

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = self._peak = 0
        self._put: dict[str, float] = {}

    def add(self, percent: float, memory: int, data: dict[str, Any]) -> None:
        """Take a reading; what the host calls by the same names stays."""
        self._sum += percent
        self._count += 1
        self._peak = max(self._peak, memory)
        for name, value in ((PERCENT, round(self._sum / self._count, 1)), (MEMORY, self._peak)):
            if name not in data or data[name] is self._put.get(name, data):
                data[name] = self._put[name] = value
