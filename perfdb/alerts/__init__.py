"""Alerts: which rules hold, what becomes of what they find, and who is notified.

``config`` reads the rules, ``evaluation`` applies them after a session, ``lifecycle`` decides what a
verdict does to an alert, ``messages`` words it, ``delivery`` and ``channels`` carry it.
"""
