"""The nets of Table 1: as data, as a linen module, and where its arrays lie on a mesh of devices.

Here are pure functions of parameters and pixels, and the config's keys that make a net. Nothing
here reads files, images or checkpoints.
"""
