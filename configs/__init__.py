"""The runs of the paper, a file each; `base` names every key."""
