"""Tests of the console in a real browser, on a real API process without a worker."""
