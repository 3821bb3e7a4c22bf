"""What a cluster runs for `hawk submit`: `hawk batch`, without Hawk being installed there."""

import sys

from hawk.cli import app

if __name__ == "__main__":
    app(["batch", *sys.argv[1:]])
