"""What a cluster runs for `hawk submit`: `hawk batch`, without Hawk being installed there."""

import sys

from hawk.entry import main

if __name__ == "__main__":
    main(["batch", *sys.argv[1:]])
