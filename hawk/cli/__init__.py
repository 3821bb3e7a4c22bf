"""Commands: thin coats over the package, one file each."""
