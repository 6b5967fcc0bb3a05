"""Payload kinds (§5): a latent to bits and back."""
