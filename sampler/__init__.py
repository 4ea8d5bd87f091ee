"""The sampler: serves names from the newest checkpoint of a run."""
