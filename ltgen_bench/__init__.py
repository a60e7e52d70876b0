"""The benchmark suite for long-tailed image generation: one protocol, faithful baselines, checkable numbers."""

__version__ = "0.1.0"
