"""Learned noise: an autoencoder over clips that learns to undo the noise that a second network learns to add."""
