"""Plug-ins: the published methods, written against the public interface of `ltgen_bench` only.

`baselines/README.md` says which paper each is, where paper and released code differ, and how to add your own.
"""
