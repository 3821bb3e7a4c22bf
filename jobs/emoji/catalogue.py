"""The list of emoji with their labels, and the icon names under which art sets file them."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SKIN_TONES = {1: "light", 2: "medium-light", 3: "medium", 4: "medium-dark", 5: "dark"}
LEFT_OUT_GROUPS = {"component"}  # bare skin-tone and hair swatches
LEFT_OUT_LABELS = {"middle finger"}


@dataclass(frozen=True, kw_only=True)
class Emoji:
    """One emoji sequence.

    Attributes:
        hexcode: code points, lower case, joined by `-`, without variation selectors.
        concept: label of the emoji without its skin tone; shared by all skin-tone variants.
        tones: keys of `SKIN_TONES`; two for a pair of people who differ.
    """

    hexcode: str
    concept: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    tones: tuple[int, ...] = ()

    @property
    def skin_tone(self) -> str:
        return "+".join(SKIN_TONES[tone] for tone in self.tones) or "none"


def plain_hexcode(hexcode: str) -> str:
    """A hexcode as `Emoji` spells it; the sets disagree on case and variation selectors."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def icon_name(label: str) -> str:
    """A label as icon sets write it: `flag: Côte d'Ivoire` is `flag-cote-divoire`."""
    text = re.sub("[\u2019\u201c\u201d]", "", label.lower()).replace("&", "and")
    letters = unicodedata.normalize("NFKD", text)
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[^a-z0-9]+", "-", bare).strip("-")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_emojis(emojibase: Path) -> dict[str, Emoji]:
    """Every emoji of the unpacked `emojibase-data` package, skin tones included, by hexcode."""
    meta = read_json(emojibase / "meta" / "groups.json")
    emojis: dict[str, Emoji] = {}
    for entry in read_json(emojibase / "en" / "data.json"):
        group = meta["groups"].get(str(entry.get("group")))
        if group is None or group in LEFT_OUT_GROUPS or entry["label"] in LEFT_OUT_LABELS:
            continue
        subgroup = meta["subgroups"][str(entry["subgroup"])]
        for variant in [entry, *entry.get("skins", [])]:
            emoji = Emoji(
                hexcode=plain_hexcode(variant["hexcode"]),
                concept=entry["label"],
                label=variant["label"],
                tags=tuple(entry.get("tags", [])),
                group=group,
                subgroup=subgroup,
                tones=_tones(variant),
            )
            emojis[emoji.hexcode] = emoji
    return emojis


def _tones(variant: Mapping[str, Any]) -> tuple[int, ...]:
    tone = variant.get("tone", [])
    return (tone,) if isinstance(tone, int) else tuple(tone)


class IconNames:
    """Finds the emoji behind an icon name.

    Not every set lists the code points of its icons, so names are learned from the emoji labels
    first, then from the sets that do, aliases included. The first meaning of a name stays.
    """

    def __init__(self, emojis: Mapping[str, Emoji], icon_sets: Iterable[Path]) -> None:
        self._by_name: dict[str, str] = {}
        for hexcode, emoji in emojis.items():
            self._by_name.setdefault(icon_name(emoji.label), hexcode)
        for icon_set in icon_sets:
            self._learn(icon_set, emojis)
        self._by_letters = {
            name.replace("-", ""): hexcode for name, hexcode in self._by_name.items()
        }

    def find(self, name: str) -> str | None:
        """Hexcode of a name, or of the same letters hyphenated in another way."""
        return self._by_name.get(name) or self._by_letters.get(name.replace("-", ""))

    def _learn(self, icon_set: Path, emojis: Mapping[str, Emoji]) -> None:
        for raw_hexcode, name in read_json(icon_set / "chars.json").items():
            hexcode = plain_hexcode(raw_hexcode)
            if hexcode in emojis:
                self._by_name.setdefault(name, hexcode)
        aliases = read_json(icon_set / "icons.json").get("aliases", {})
        for alias, target in aliases.items():
            if target["parent"] in self._by_name:
                self._by_name.setdefault(alias, self._by_name[target["parent"]])
