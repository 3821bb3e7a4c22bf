"""The five drawing styles: where each comes from, what captions call it, whose it is."""

from dataclasses import dataclass

from jobs.emoji.packages import Package

EMOJIBASE = Package(name="emojibase-data", version="17.0.0")
FLUENT = "Fluent Emoji, (c) Microsoft Corporation (microsoft/fluentui-emoji)"


@dataclass(frozen=True, kw_only=True)
class Style:
    """One set of drawings.

    Attributes:
        words: names of the style in captions, the usual one first.
        license: SPDX identifier of the artwork (not of the package's code).
    """

    name: str
    package: Package
    words: tuple[str, str]
    license: str
    attribution: str


TWEMOJI = Style(
    name="twemoji",
    package=Package(name="@iconify-json/twemoji", version="1.2.5"),
    words=("twemoji", "twitter"),
    license="CC-BY-4.0",
    attribution="Twemoji, (c) Twitter, Inc and other contributors (jdecked/twemoji)",
)
NOTO = Style(
    name="noto",
    package=Package(name="@iconify-json/noto", version="1.2.9"),
    words=("noto", "google noto"),
    license="Apache-2.0",
    attribution="Noto Emoji, (c) Google Inc (googlefonts/noto-emoji)",
)
BLOB = Style(
    name="blob",
    package=Package(name="@iconify-json/noto-v1", version="1.2.5"),
    words=("blob", "noto blob"),
    license="Apache-2.0",
    attribution="Noto Emoji v1, (c) Google Inc (googlefonts/noto-emoji)",
)
FLAT = Style(
    name="flat",
    package=Package(name="@iconify-json/fluent-emoji-flat", version="1.2.6"),
    words=("flat", "fluent flat"),
    license="MIT",
    attribution=FLUENT,
)
THREE_D = Style(
    name="3d",
    package=Package(name="@lobehub/fluent-emoji-3d", version="1.1.0"),
    words=("3d", "fluent 3d"),
    license="MIT",
    attribution=f"{FLUENT}, packaged by LobeHub",
)

STYLES = (TWEMOJI, NOTO, BLOB, FLAT, THREE_D)  # the order of the rows
