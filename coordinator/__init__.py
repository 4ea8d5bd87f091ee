"""The coordinator: owns the dataset, the parameters, the step and the truth."""
