"""Results of analyses as matplotlib figures: the title says what was found, the picture shows it.

One module per kind of chart, each a function from frames to a Figure; ``history.charts`` chooses
what of a history goes into them, ``saving`` makes files of them. No pyplot.
"""
