"""A worker: computes the gradients of the branches that a coordinator leases to it."""
