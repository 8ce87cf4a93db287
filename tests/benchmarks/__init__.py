"""Speed measurements, run by hand; the test suite asserts no speed."""
