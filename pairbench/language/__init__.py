"""Language models: loading them, and what they say of texts. Torch and transformers load late."""
