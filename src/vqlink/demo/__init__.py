"""``vqlink demo``: one page to try the systems on, served from this machine."""
