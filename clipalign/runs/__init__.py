"""Many records at once: pictures are prepared ahead in threads while the model runs; memory stays flat.

Also the output of results, resuming an earlier run, and sharing an input among processes.
"""
