"""What the wheel installs beside perfdb: the package of the old name (`force-include` in pyproject.toml).

It lies here, and not at the top level, because `performance_tracking/` is where a checkout records its runs.
"""
