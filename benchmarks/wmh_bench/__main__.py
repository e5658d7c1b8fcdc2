"""Run `python -m wmh_bench` without an installation."""

from wmh_bench.launcher import main

main()
