"""IGD: multi-scale interpolated Gaussian descriptors.

An autoencoder reconstructs what is normal, a critic keeps mixtures of its descriptors looking real, and a Gaussian over
the descriptors says how far a picture is from what is usual. See README.md in this folder for what is the paper's and
what is ours.
"""
