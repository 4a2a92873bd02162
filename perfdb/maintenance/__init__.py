"""Looking after a history: what is wrong with this machine, and taking in what others wrote."""
