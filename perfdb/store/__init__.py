"""The database of recorded sessions: SQLite or PostgreSQL.

SQL lives in this package and nowhere else. Rows never leave it: what comes out
is a record, a frame, a plain dict or a number.
"""
