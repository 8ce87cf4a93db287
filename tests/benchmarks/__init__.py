"""Speed measurements, run by hand; nothing here is asserted by the test suite."""
