"""Linear SVMs on descriptors of images, by the protocols of other data sets (appendix B)."""
