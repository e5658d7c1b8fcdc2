"""For `python -m wmh_bench`, where nothing is installed."""

from wmh_bench.launcher import main

main()
