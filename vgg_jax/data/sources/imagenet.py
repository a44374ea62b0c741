"""ImageNet in any of the forms in which people have it: see `imagenet.forms`."""

from vgg_jax import safe_text
from vgg_jax.data.imagenet import forms
from vgg_jax.data.source import Source
from vgg_jax.data.specs import DataSpec
from vgg_jax.system import processes

_told: set[str] = set()  # What was said about the folders of this process.


class ImageNet:
    """One split of ImageNet. Making an object gives the source of the form that is there.

    The splits are train and validation, for which val also stands. A form may have more of them.
    """

    default_val_split = "validation"

    def __new__(cls, data: DataSpec, split: str) -> Source:
        """Opens a split.

        Raises:
          UserError: data.dir holds no form of ImageNet, or the split isn't there or is damaged.
        """
        form = forms.recognise(data)
        if processes.is_first() and form.about not in _told:
            _told.add(form.about)
            print(safe_text.lines(form.about))
        return form.open("validation" if split == "val" else split)


SOURCE = ImageNet
