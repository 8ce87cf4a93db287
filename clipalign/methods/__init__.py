"""The methods, for one pair and for many; commands, benchmarks and Python programs call them alike."""
