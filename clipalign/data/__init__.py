"""Records from tables, folders, tars and standard input, read lazily, one input after another (``readers.open_input``).

An unreadable input is an ``InputUnreadable`` before anything is scored; an unreadable record has a ``problem``, and the
rest goes on. Torch-free.
"""
