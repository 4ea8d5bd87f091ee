"""The live page of a training: a process of its own that asks, follows files, and draws."""
