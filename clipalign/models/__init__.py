"""Models: weights, network, tokens, vectors, attributions. Nothing here prints, reads settings or knows a command."""
