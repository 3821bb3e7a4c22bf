"""Launch plans: what a batch job of so many images takes, and whether a cluster can grow to it."""
