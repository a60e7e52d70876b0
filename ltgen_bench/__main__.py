"""`python -m ltgen_bench`, which is what `torchrun -m ltgen_bench run ...` starts in every process."""

from ltgen_bench.cli import main

main()
