"""Many records at once: pictures are prepared ahead in threads while the model runs; memory stays flat.

Also where their results go, how a later run goes on with them, and which share of an input a process does.
"""
