"""The read door: History, and what answers its questions."""
