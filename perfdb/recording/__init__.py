"""What runs in the host's own threads: the standard library only, and never in the way."""
