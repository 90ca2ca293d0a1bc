"""``vqlink report``: a static site, or one page, from a folder of results.

``collect`` reads and checks the files, ``panels`` groups rows into curves, ``charts`` draws them,
``markup`` writes HTML, ``pages`` and ``systems`` say what stands on each page, ``write`` puts the
pages on disk.
"""
