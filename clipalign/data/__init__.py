"""Records from tables, folders, tars and standard input, read lazily, one input after another (``readers.open_input``).

An input that cannot be read as a whole is an ``InputUnreadable`` before anything is scored; what cannot be read of a
record is the record's ``problem``, and the rest goes on. Torch-free.
"""
