"""Where records come from: tables, folders, tars, standard input; read lazily, one input after another.

``open_input`` is the door. What cannot be read as a whole is an ``InputUnreadable`` before anything is scored; what
cannot be read of a record is the record's ``problem``, and the rest goes on. Torch-free.
"""

from clipalign.inputs.find import open_input
from clipalign.inputs.records import Input, InputRecord, Place

__all__ = ["Input", "InputRecord", "Place", "open_input"]
