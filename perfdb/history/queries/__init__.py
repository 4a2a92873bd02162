"""Answer the questions about the past: read what an analysis needs, and hand it over.

A connection goes in, a finding comes out; None stands for a home in which nothing is recorded yet.
"""
