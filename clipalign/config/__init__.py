"""Settings, each declared once; read from flags, variables and a settings file, and checked.

:mod:`.settings` has the mechanism, :mod:`.readers` how values are read and checked, :mod:`.file` the settings file,
:mod:`.groups` the settings that several commands share, :mod:`.suggest` which name a misspelled one stands for.
"""
