"""Sessions and histories as HTML that needs nothing else: no script, no network, dark and light.

Fragments (``session``, ``overview``) carry their own style, so that a notebook, a page or a
dashboard can hold them; ``document`` makes a file of them that also holds its data.
"""
