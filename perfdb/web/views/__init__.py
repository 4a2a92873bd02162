"""The pages: an answer each, put into a template. They work without a script; all state is in the address.

A module per noun, as in ``web/answers/``: a function per page, and what the page makes of its answer.
"""

from __future__ import annotations

from perfdb.web.views import alerts, bottlenecks, common, compare, overview, rules, sessions, trends

ROUTERS = tuple(
    noun.router for noun in (overview, sessions, trends, bottlenecks, compare, common, alerts, rules)
)
