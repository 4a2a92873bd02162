"""One function per page and endpoint: a served history and a checked question in, an answer out.

Both the JSON API and the pages ask here, so that they can never say different things.
"""
