"""Storage: files on disk or S3 through one interface, and the layout of run folders."""
