"""Train, evaluate and export the GANs that `dcgan` serves."""
