"""Findings as matplotlib figures: the title says what was found, the picture shows it.

One module per kind of chart, each a function from plain frames to a Figure; ``gallery`` chooses
what of a history goes into them, ``saving`` makes files of them. No pyplot.
"""
