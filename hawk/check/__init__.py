"""Check: proof that a model's code and weights are right on this machine, `hawk check`."""
