"""``python -m perfdb``: the command line of the Python that has perfdb, whatever the PATH says."""

from perfdb.cli import main

main()
