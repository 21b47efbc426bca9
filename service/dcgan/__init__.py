"""Serve a GAN's latent space over gRPC, and ask such a server for images."""

__version__ = "0.1.0"
