"""From the network onto this disk, and nothing half-done: the one place that fetches weights and data sets.

``catalogue`` knows what there is and where it lands, ``models`` and ``datasets`` bring it there; ``fetch`` takes a file
in pieces and checks it, ``web`` asks a server, ``hub`` speaks Hugging Face's dialect and knows its cache layout,
``archives`` unpacks what may not be trusted. Nothing here writes to a terminal or knows a command.
"""
