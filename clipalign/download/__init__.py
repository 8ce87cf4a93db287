"""Downloads of weights and data sets: resumed, verified, never half done.

``catalog`` knows what there is and its status, ``models`` and ``datasets`` fetch it into its place; ``fetch`` gets one
file, ``web`` sends the requests, ``hub`` knows Hugging Face's API and cache, ``archives`` unpacks what may not be
trusted. Nothing here writes to a terminal or knows a command.
"""
