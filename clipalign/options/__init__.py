"""Every option once, by what it is about: its flags, its words in ``--help``, its completions.

A group of options is a ``TypedDict``; a command takes the groups it has as ``**typed: Unpack[…]``, so that what two
commands share stands here alone. Options take text; :mod:`clipalign.settings` reads and checks it, because the same
setting may come from a variable or a file. An option that was not typed is None. Torch-free: completion and ``--help``
import this.
"""
