"""`python -m hawk`, where the `hawk` command is not on the path; jobs on a cluster begin so."""

from hawk.cli.entry import main

if __name__ == "__main__":
    main()
