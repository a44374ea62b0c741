"""ImageNet (ILSVRC-2012) in the forms in which people have it, read where it lies.

`forms` finds out which form a folder holds, and opens its splits. The forms that keep the owners'
image files give the same names, labels and order, and so the same fingerprint.
"""
