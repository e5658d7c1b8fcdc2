"""For `python -m wmh_bench`, where nothing is installed."""

from wmh_bench.entry import main

main()
