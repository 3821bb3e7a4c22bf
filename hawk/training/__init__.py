"""Training of drafters: a target's own samples, and networks that learn from them."""
