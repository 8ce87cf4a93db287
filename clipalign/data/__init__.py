"""Where records come from: tables, folders, tars, standard input; read lazily, one input after another.

``open_input`` is the door. What cannot be read as a whole is an ``InputUnreadable`` before anything is scored; what
cannot be read of a record is the record's ``problem``, and the rest goes on. Torch-free.
"""
