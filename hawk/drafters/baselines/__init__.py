"""Baselines: drafters of other papers and of this project's beginnings, to compare with."""
