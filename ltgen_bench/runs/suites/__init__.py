"""Suites: many runs as data. A suite names methods, data sets, seeds and settings; each cell is an ordinary `run`.

Nothing here trains or measures. `spec` reads a suite, `plan` finds its runs, `status` says what is done, `local` and
`slurm` start what is missing, `collect` makes one table. The page `README.md` beside this file shows them in use.
"""
