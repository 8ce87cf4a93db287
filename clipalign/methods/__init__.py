"""The routes: each method walks through the rooms once, for commands, benchmarks and Python users alike."""
