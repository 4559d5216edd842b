"""Suites of measurements that papers report, on any model: declarative specs, found by name."""
