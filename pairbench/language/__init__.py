"""Language models: loading, likelihoods, features, sampling. Torch is imported on first use."""
