"""Clusters that grow and shrink, on one machine: scenarios, what happened, and its plot."""
