"""Serving: the images API on Ray Serve, and its page."""
