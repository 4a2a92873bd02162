"""The commands of the terminal that start what stands beside it: the dashboard and the reference pipeline."""
