"""VGG in JAX: the nets, the recipe and the protocol of Simonyan & Zisserman 2015."""

__version__ = "0.1.0"
