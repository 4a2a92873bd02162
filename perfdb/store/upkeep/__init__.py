"""Whole databases: kept small, copied, backed up, restored, looked at."""
