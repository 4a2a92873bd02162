"""What PyInstaller must know of perfdb; it finds this folder by itself (entry point ``pyinstaller40``)."""

from __future__ import annotations

import os


def get_hook_dirs() -> list[str]:
    """Return where the hook lies."""
    return [os.path.dirname(__file__)]
