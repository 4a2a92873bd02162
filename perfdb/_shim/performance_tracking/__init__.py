"""The old name of perfdb's write door: new code imports ``perfdb``.

``from performance_tracking.performance_tracker import create_tracker, track_vision_analysis`` runs as it did
when a module of that name lay beside the program. Where one still does, it is the one that is imported: this
package looks into the folders of its name in the order of ``sys.path``, as Python does without it. A folder
that holds data alone changes nothing.
"""

from __future__ import annotations

import os
import sys


def _folders(own: str) -> list[str]:
    """Return the folders of this name, in the order of ``sys.path``; those of other packages are left out."""
    found = []
    for entry in sys.path:
        try:
            folder = os.path.join(entry or os.getcwd(), __name__)
        except OSError:  # the working folder is gone
            continue
        if os.path.realpath(folder) == os.path.realpath(own):
            found.append(own)
        elif os.path.isdir(folder) and not os.path.exists(os.path.join(folder, "__init__.py")):
            found.append(folder)
    return list(dict.fromkeys([*found, own]))


__path__ = _folders(os.path.dirname(os.path.abspath(__file__)))
