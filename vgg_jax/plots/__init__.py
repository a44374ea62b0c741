"""Pictures: one file per kind, shared by the commands, the report and the notebooks.

A kind that fills one panel has `draw(axes, ...)`, which draws on Matplotlib axes. A kind of several
panels has `figure(...)`, which returns a Matplotlib figure. Both take plain arrays and texts, and
compute nothing that a reader could want as a number. `picture_file.write` writes a figure.

Nothing here uses pyplot, so that no figure stays in memory and no display is needed. In a notebook,
`%matplotlib inline` shows a figure that is the last value of a cell.
"""

# The suffixes of pictures, which say their formats.
SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")
