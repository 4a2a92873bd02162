"""What the past of a pipeline tells: pure functions, frame or sequence in, frame or frozen dataclass out."""

from perfdb.analysis.change_points import ChangePoint, find_change_points

__all__ = ["ChangePoint", "find_change_points"]
