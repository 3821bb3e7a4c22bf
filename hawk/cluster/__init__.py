"""Draft and target in processes of their own, on Ray. The only part of `hawk` that imports it."""
