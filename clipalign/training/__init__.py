"""Training CLIPs for long captions: a score that rises with every true detail and falls with a wrong one (SPECS).

``specs_sources`` reads raw captions, ``specs_prepare`` turns them into growing beginnings and wrong details,
``specs_data`` serves them in a fixed order, ``specs_text`` and ``specs_loss`` are the arithmetic of one step, which
``specs_mover`` takes, and ``specs_loop`` is the run. Outside this room only the program that made ``pictogram`` moves
weights by their gradients.
"""
