"""The classes of a data set among those of a net: by name, by index and by words."""

import re

import numpy as np
import pytest

from vgg_jax.errors import UserError
from vgg_jax.evaluation import class_match
from vgg_jax.foreign import class_names

IMAGENET = class_names.of_net(1000, None)
# Words that name two classes: two pairs of homonyms, a dog and a garment, and two words for one
# thing.
UNCLEAR = {
    "crane": ("n02012849 crane (bird)", "n03126707 crane (machine)"),
    "Cardigan": ("n02113186 Cardigan", "n02963159 cardigan"),
    "maillot": ("n03710637 maillot", "n03710721 maillot, tank suit"),
    "sunglass": ("n04355933 sunglass", "n04356056 sunglasses"),
    "sunglasses": ("n04355933 sunglass", "n04356056 sunglasses"),
}


def matched(names, of_net=IMAGENET):
    return class_match.match(tuple(names), tuple(of_net), "the net in runs/it")


def refusal(names, of_net=IMAGENET):
    with pytest.raises(UserError) as caught:
        matched(names, of_net)
    return str(caught.value)


def test_a_subset_in_any_order_is_found_by_name():
    found = matched(["n04596742", "n01440764", "n01443537"])
    assert found.indices.tolist() == [IMAGENET.index("n04596742"), 0, 1]
    assert found.how == "by synset"
    assert matched(["pear", "apple"], ["apple", "fig", "pear"]).how == "by name"


def test_every_class_whose_words_are_clear_is_found_by_them():
    words = [class_names.short(name) for name in IMAGENET]
    clear = [k for k, text in enumerate(words) if text.casefold() not in map(str.casefold, UNCLEAR)]
    assert len(clear) == 1000 - 5
    for changed in (str, str.upper, lambda text: text.replace(" ", "_").replace("-", "_")):
        found = matched([changed(words[k]) for k in clear])
        assert found.indices.tolist() == clear
    assert found.how == "by words (for example, tench is n01440764 tench)"


@pytest.mark.parametrize("word", UNCLEAR)
def test_words_that_name_two_classes_are_refused_with_the_choices(word):
    message = refusal(["n01440764", word.replace(" ", "_")])
    assert f"{word} may be {' or '.join(UNCLEAR[word])}." in message
    assert "for example n0" in message


def test_a_word_is_clear_if_the_net_has_one_of_its_classes():
    net = [name for name in IMAGENET if name != "n03126707"]
    assert matched(["crane"], net).indices.tolist() == [net.index("n02012849")]


def test_synsets_are_found_in_a_net_that_has_words():
    found = matched(["n01443537", "n01440764"], ["Goldfish", "rock", "tench, Tinca tinca"])
    assert found.indices.tolist() == [0, 2]


def test_numbered_classes_are_indices_and_not_names_in_the_order_of_text():
    names = sorted(map(str, range(1000)))
    assert names[:3] == ["0", "1", "10"]
    found = matched(names)
    np.testing.assert_array_equal(found.indices, [int(name) for name in names])
    assert found.how == "by index (for example, 0 is n01440764 tench)"
    assert matched(["0998", "0007"]).indices.tolist() == [998, 7]


def test_numerals_that_are_the_nets_own_names_are_names():
    digits = ["0", "1", "2", "7"]
    assert matched(["2", "7"], digits).indices.tolist() == [2, 3]
    assert "lacks 1 of the 2 classes of the images: 3." in refusal(["3", "7"], digits)


def test_an_index_beyond_the_nets_classes_is_refused():
    message = refusal(["999", "1000"])
    assert message.startswith("The net in runs/it lacks 1 of the 2 classes of the images: 1000.")


def test_a_net_that_has_none_of_the_classes_is_to_be_taught_them():
    message = refusal(["unicorn", "griffin"])
    assert message.startswith("The net in runs/it has none of the 2 classes of the images (")
    assert "--config.init_from=WORKDIR --config.init_layers=all_but_fc8. Or choose" in message


def test_classes_that_the_net_lacks_are_named_up_to_some():
    message = refusal(["n01440764", *(f"unicorn {k}" for k in range(7))])
    assert "lacks 7 of the 8 classes of the images: unicorn 0, " in message
    assert "unicorn 4 and 2 more. Rename them to" in message
    assert "the net's 1,000 classes (n01440764 tench, " in message
    assert re.search(r"move them out of the data set\. .*--workdir", message)


@pytest.mark.parametrize(
    "names", [("n01440764", "n01443537", "tench"), ("Tench", "n01443537", "tench"), ("7", "007")]
)
def test_two_classes_that_are_one_of_the_nets_are_refused(names):
    message = refusal(names)
    assert f"The classes {names[0]} and {names[-1]} of the images are one class" in message
    assert "Put their images into one folder" in message
