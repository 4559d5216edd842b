"""One self-contained page of a run or a suite, made from plain data; no torch, no model.

Figures are Vega-Lite, written with Altair and drawn by the page itself with the scripts of `vl-convert-python`, which
carries them inside its wheel: nothing is fetched when a page is made or opened. The three scripts that were weighed:

| library | script in a page | what it would cost |
|---|---|---|
| Vega and Vega-Lite, bundled by vl-convert | 0.9 MB | a second and a half for each process that makes a page |
| Bokeh | 1.1 MB, 0.9 MB more with its tables | its own models of data, in Python objects |
| Plotly | 4.8 MB | nearly all of the five that a page may have |

A figure is a small JSON document here, not code: the same one draws the page, a notebook's output and, by vl-convert,
PNG and SVG files without a browser.
"""
