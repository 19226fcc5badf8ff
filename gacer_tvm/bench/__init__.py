"""Benchmarks: both sides in one run, interleaved, with medians, spread and conditions."""
