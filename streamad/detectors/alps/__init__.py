"""ALPS: adversarially learned perturbations of latent space.

An autoencoder learns to reconstruct normal images although a second network, the distorter, perturbs their latents as
harmfully as it can; what is not normal is reconstructed badly. See README.md in this folder for what is the paper's
and what is ours.
"""
