"""The words, the splits and the image shapes of the emoji data set; no download."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.emoji.artwork import is_blank, shrink, vector_artwork
from jobs.emoji.captions import TEMPLATES, caption, noun_phrase, with_article
from jobs.emoji.catalogue import Emoji, IconNames, icon_name, plain_hexcode, read_emojis
from jobs.emoji.split import split_of, stable_hash
from jobs.emoji.styles import NOTO, STYLES, TWEMOJI


def emoji(concept: str, group: str = "objects", tones: tuple[int, ...] = ()) -> Emoji:
    return Emoji(
        hexcode="1f600",
        concept=concept,
        label=concept,
        tags=("face", "happy", "smile"),
        group=group,
        subgroup="some-group",
        tones=tones,
    )


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("red apple", "a red apple"),
        ("octopus", "an octopus"),
        ("unicorn", "a unicorn"),
        ("one-piece swimsuit", "a one-piece swimsuit"),
        ("chopsticks", "chopsticks"),
        ("glass", "a glass"),
        ("steaming bread", "steaming bread"),
        ("people hugging", "people hugging"),
        ("face with tears", "a face with tears"),
        ("women holding hands", "women holding hands"),
    ],
)
def test_article_fits_the_noun(noun: str, expected: str) -> None:
    assert with_article(noun) == expected


@pytest.mark.parametrize(
    ("label", "group", "expected"),
    [
        ("grinning face", "smileys-emotion", "a grinning face"),
        ("flag: Côte d\u2019Ivoire", "flags", "the flag of Côte d'Ivoire"),
        ("pirate flag", "flags", "pirate flag"),
        ("keycap: 7", "symbols", "a keycap with 7"),
        ("one o\u2019clock", "travel-places", "a clock showing one o'clock"),
        ("two-thirty", "travel-places", "a clock showing two-thirty"),
        ("Aries", "symbols", "the Aries symbol"),
        ("up arrow", "symbols", "the up arrow"),
        ("Santa Claus", "people-body", "a Santa Claus"),
        ("T-Rex", "animals-nature", "a T-Rex"),
        ("Statue of Liberty", "travel-places", "the Statue of Liberty"),
        ("Tokyo tower", "travel-places", "Tokyo tower"),
        ("man: red hair", "people-body", "a man with red hair"),
        ("person running: facing right", "people-body", "a person running facing right"),
        ("family: man, boy", "people-body", "a family of a man and a boy"),
        ("kiss: woman, man", "people-body", "a kiss between a woman and a man"),
    ],
)
def test_label_becomes_a_noun_phrase(label: str, group: str, expected: str) -> None:
    assert noun_phrase(emoji(label, group)) == expected


@pytest.mark.parametrize(
    ("label", "tones", "expected"),
    [
        ("waving hand", (3,), "a waving hand with medium skin"),
        ("handshake", (1, 5), "a handshake with light and dark skin"),
        ("handshake", (2, 2), "a handshake with medium-light skin"),
        ("man: bald", (5,), "a man with bald and dark skin"),
    ],
)
def test_skin_tone_is_said_last(label: str, tones: tuple[int, ...], expected: str) -> None:
    assert noun_phrase(emoji(label, "people-body", tones)) == expected


def test_captions_are_one_a_template_and_the_drawn_one_is_among_them() -> None:
    made = caption(emoji("red apple"), TWEMOJI)
    assert len(made.variants) == len(TEMPLATES) == 6
    assert all("a red apple" in variant for variant in made.variants)
    assert made.drawn in made.variants


def test_captions_are_the_published_ones() -> None:
    """Fixed words: a change here is another data set than the one the shipped model saw."""
    made = caption(emoji("red apple"), NOTO)
    assert made.variants == (
        "an emoji of a red apple, noto style",
        "a red apple, noto style",
        "a noto emoji of a red apple",
        "a red apple",
        "a red apple drawn in noto emoji style",
        "a red apple, happy smile, noto style",
    )
    assert made.drawn == "a red apple, noto style"


def test_captions_without_tags_use_the_subgroup() -> None:
    untagged = Emoji(
        hexcode="1f34e",
        concept="red apple",
        label="red apple",
        tags=(),
        group="food-drink",
        subgroup="food-fruit",
    )
    assert caption(untagged, NOTO).variants[-1].startswith("a red apple, food fruit, ")


def test_split_is_stable_and_hides_a_concept_in_every_style() -> None:
    assert stable_hash("concept|red apple") == 21651964348801
    styles = [style.name for style in STYLES]
    for number in range(500):
        splits = {split_of(f"concept {number}", style) for style in styles}
        assert splits == {"test_concept"} or "test_concept" not in splits


def test_split_sizes_are_near_two_and_three_percent() -> None:
    """Exact counts: the hash of a fixed name never changes. 40 and 59 are expected of 2000."""
    splits = [split_of(f"concept {number}", "noto") for number in range(2000)]
    assert (splits.count("test_concept"), splits.count("test_pair")) == (44, 47)


@pytest.mark.parametrize("size", [(64, 64), (256, 256), (192, 96), (30, 100)])
def test_any_image_becomes_64_pixels_square_on_white(size: tuple[int, int]) -> None:
    pixels = shrink(Image.new("RGBA", size, (255, 0, 0, 0)))
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == 255).all()
    assert is_blank(pixels)


def test_a_wide_drawing_keeps_its_shape() -> None:
    pixels = shrink(Image.new("RGB", (128, 64), (255, 0, 0)))
    assert (pixels[32] == (255, 0, 0)).all()
    assert (pixels[[0, 63]] == 255).all()
    assert not is_blank(pixels)


def test_names_are_spelled_as_the_sets_spell_them() -> None:
    assert plain_hexcode("2764-FE0F-200D-1F525") == "2764-200d-1f525"
    assert icon_name("flag: São Tomé & Príncipe") == "flag-sao-tome-and-principe"
    assert icon_name("woman\u2019s hat") == "womans-hat"


def test_emojis_come_with_their_skin_tones_and_without_swatches(tmp_path: Path) -> None:
    skin = {"label": "hand: dark", "hexcode": "1F44B-1F3FF", "tone": 5}
    hand = {"label": "hand", "hexcode": "1F44B", "group": 1, "subgroup": 0, "skins": [skin]}
    swatch = {"label": "dark", "hexcode": "1F3FF", "group": 2, "subgroup": 1}
    letter = {"label": "regional indicator A", "hexcode": "1F1E6"}
    groups = {"1": "people-body", "2": "component"}
    subgroups = {"0": "hands", "1": "skin-tone"}
    write_json(tmp_path / "en" / "data.json", [letter, hand, swatch])
    write_json(tmp_path / "meta" / "groups.json", {"groups": groups, "subgroups": subgroups})
    emojis = read_emojis(tmp_path)
    assert list(emojis) == ["1f44b", "1f44b-1f3ff"]
    assert {found.concept for found in emojis.values()} == {"hand"}
    assert [found.skin_tone for found in emojis.values()] == ["none", "dark"]


def test_icons_are_found_by_code_point_label_alias_and_letters(tmp_path: Path) -> None:
    emojis = {"1f600": emoji("grinning face")}
    drawing = {"body": "<path/>"}
    icons = dict.fromkeys(("grinning-face", "grinningface", "smiling", "other"), drawing)
    hidden = {"smile": {"body": "<path/>", "hidden": True}}  # an earlier name of a drawing
    aliases = {"grin": {"parent": "grinning-face"}}
    document = {"icons": icons | hidden, "aliases": aliases, "width": 36, "height": 36}
    write_json(tmp_path / "icons.json", document)
    write_json(tmp_path / "chars.json", {"1F600": "smiling"})
    names = IconNames(emojis, [tmp_path])
    for name in ("grinning-face", "grinningface", "grin", "smiling"):
        assert names.find(name) == "1f600"
    assert names.find("other") is None
    artworks = vector_artwork(tmp_path, names)
    assert [artwork.hexcode for artwork in artworks] == ["1f600"] * 3
    assert 'viewBox="0 0 36 36"' in str(artworks[0].source)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
