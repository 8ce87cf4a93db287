"""What a run was asked for, resolved and checked once, wherever it came from.

:mod:`.choices` has the words that settings may be, :mod:`.values` the record of them all, :mod:`.readers` how each is
read and checked, :mod:`.sources` and :mod:`.file` where it comes from, :mod:`.meant` which name a misspelt one stands
for. Loads no model code and reads no weights.
"""
