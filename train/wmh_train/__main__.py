"""For `accelerate launch -m wmh_train`, which starts one process for each GPU."""

from wmh_train.launcher import main

main()
