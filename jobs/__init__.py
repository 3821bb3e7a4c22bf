"""Training of the embedded model, from a checkout: nothing here is in the wheel."""
