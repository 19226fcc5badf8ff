"""Kernels: good without tuning, and tuned at the granularity that will run."""
