"""Captions of one emoji in one style: a noun phrase from its label, put in six phrasings.

The shipped model was trained on exactly these words, so quirks ("an oK hand") are kept.
"""

import random
import re
from dataclasses import dataclass

from jobs.emoji.catalogue import SKIN_TONES, Emoji
from jobs.emoji.split import stable_hash
from jobs.emoji.styles import Style

TEMPLATES = {  # phrasing -> how often it is the drawn one, relative to the others
    "an emoji of {phrase}, {style} style": 3,
    "{phrase}, {style} style": 4,
    "a {style} emoji of {phrase}": 2,
    "{phrase}": 2,
    "{phrase} drawn in {style} emoji style": 1,
    "{phrase}, {keywords}, {style} style": 2,
}
USUAL_STYLE_WORD = 0.7  # probability of a style's first name against its second
KEYWORDS = 2

STRAIGHT_QUOTES = str.maketrans("\u2019\u201c\u201d", "'" + 2 * '"')
UNCOUNTED_FOOD = {"bacon", "bread", "meat", "rice", "sake", "salt", "tea"}
UNCOUNTED = UNCOUNTED_FOOD | {"fog", "money", "snow", "sunrise", "sunset", "wind"}
PLURAL_FIRST = {"people", "men", "women"}
SPOKEN_CONSONANT = ("uni", "euro", "one")  # a unicorn, a euro, a one-piece
PERSONS = {"man", "woman", "person", "boy", "girl"}
PAIRED_BY = {"kiss": " between ", "family": " of "}
NAMES_ITSELF_SYMBOL = re.compile(r"(button|sign|symbol|mark|arrow|square|circle)s?$")
PROPER_NAME = re.compile(r"[A-Z][a-z-]")  # Santa, T-Rex; but not OK


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What is said of one image.

    Attributes:
        phrase: the emoji alone, no style.
        variants: one caption a template, in the order of `TEMPLATES`.
        drawn: the variant picked as the image's single caption.
    """

    phrase: str
    variants: tuple[str, ...]
    drawn: str


def caption(emoji: Emoji, style: Style) -> Captions:
    """The captions of an emoji in a style: always the same for the same pair."""
    rng = random.Random(stable_hash(f"{style.name}|{emoji.hexcode}"))
    phrase = noun_phrase(emoji)
    keywords = _keywords(emoji, rng)
    usual, other = style.words
    variants = tuple(
        template.format(
            phrase=phrase,
            style=usual if rng.random() < USUAL_STYLE_WORD else other,
            keywords=keywords,
        )
        for template in TEMPLATES
    )
    [drawn] = rng.choices(variants, weights=list(TEMPLATES.values()))
    return Captions(phrase=phrase, variants=variants, drawn=drawn)


def noun_phrase(emoji: Emoji) -> str:
    """An emoji's label as English: `flag: Chad` is `the flag of Chad`."""
    label = emoji.concept.translate(STRAIGHT_QUOTES)
    if ": " in label:
        phrase = _qualified(*label.split(": ", 1))
    elif label.endswith(("o'clock", "-thirty")):
        phrase = f"a clock showing {label}"
    elif emoji.group == "symbols":
        phrase = f"the {label}" if NAMES_ITSELF_SYMBOL.search(label) else f"the {label} symbol"
    elif emoji.group == "flags":
        phrase = label
    else:
        phrase = _thing(label)
    return phrase + _skin(emoji.tones, joiner="and" if " with " in phrase else "with")


def with_article(noun: str) -> str:
    """`a` or `an` before a noun phrase, or nothing before plurals and what is not counted."""
    head = noun.split(" with ")[0].split(" holding ")[0].split()[-1].lower()
    plural = head.endswith("s") and not head.endswith(("ss", "us", "is"))
    if plural or head in UNCOUNTED or noun.split()[0] in PLURAL_FIRST:
        return noun
    vowel = noun[0].lower() in "aeiou" and not noun.lower().startswith(SPOKEN_CONSONANT)
    return f"an {noun}" if vowel else f"a {noun}"


def _qualified(head: str, qualifiers: str) -> str:
    """Labels of the form `head: qualifier, qualifier`."""
    if head == "flag":
        return f"the flag of {qualifiers}"
    if head == "keycap":
        return f"a keycap with {qualifiers}"
    parts = qualifiers.split(", ")
    if parts[0] in PERSONS:
        people = " and ".join(with_article(person) for person in parts)
        return with_article(head) + PAIRED_BY.get(head, ", ") + people
    features = [part for part in parts if part != "facing right"]
    phrase = with_article(head)
    if features:
        phrase += " with " + " and ".join(features)
    return f"{phrase} facing right" if "facing right" in parts else phrase


def _thing(label: str) -> str:
    if label.startswith("Tokyo"):
        return label
    if label.startswith("Statue of"):
        return f"the {label}"
    return with_article(label if PROPER_NAME.match(label) else label[0].lower() + label[1:])


def _skin(tones: tuple[int, ...], joiner: str) -> str:
    if not tones:
        return ""
    names = [SKIN_TONES[tone] for tone in dict.fromkeys(tones)]
    return f" {joiner} {' and '.join(names)} skin"


def _keywords(emoji: Emoji, rng: random.Random) -> str:
    if not emoji.tags:
        return emoji.subgroup.replace("-", " ")
    return " ".join(rng.sample(emoji.tags, min(KEYWORDS, len(emoji.tags))))
