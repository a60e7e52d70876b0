"""Plug-ins: the published methods, written against the public interface of `ltgen_bench` only."""
