"""Training CLIPs for long captions: a score that rises with every true detail and falls with a wrong one (SPECS).

``data`` reads raw captions and serves samples in a fixed order, ``prepare`` makes samples of raw captions, ``texts``
and ``loss`` compute one step, which ``step`` takes, and ``loop`` is the run. Beside this package only the program that
made ``pictogram`` trains weights.
"""
