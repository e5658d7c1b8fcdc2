"""Entry point of `accelerate launch -m wmh_train`, which starts one process per GPU."""

from wmh_train.launcher import main

main()
