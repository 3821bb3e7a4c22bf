"""Files of `hawk generate`: none is replaced, and each says what made it."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from hawk.cli.app import app
from hawk.decoding.request import Request
from hawk.decoding.stats import Stats
from hawk.images.encoding import encode, read_origin
from hawk.images.gallery import Gallery
from hawk.images.origin import Maker, Origin
from hawk.pictures import Picture

runner = CliRunner()
MAKER = Maker(
    model="emoji", model_revision="0123", drafter="jacobi", rule="coupled", dtype="float32"
)
AWKWARD = 'żółw 🐢\n"two\x00lines" \u2028 \ufeff'


def hawk(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def hawk_json(*arguments: object) -> dict[str, Any]:
    return json.loads(hawk(*arguments, "--json").splitlines()[-1])


def picture(place: int = 0, prompt: str = "a cup") -> Picture:
    return Picture(
        place=place,
        request=Request(prompt=prompt, seed=place, guidance=5.0),
        image=Image.new("RGB", (4, 4), (place, 0, 0)),
        tokens=[place],
        commits=[1],
        stats=Stats(),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_call_replaces_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    command = ("generate", "a", "b", "--model", tiny_folder, "-o", tmp_path)
    first = hawk_json(*command)
    before = contents(tmp_path)
    second = hawk_json(*command)
    assert {name: data for name, data in contents(tmp_path).items() if name in before} == before
    paths = [*(image["path"] for run in (first, second) for image in run["images"])]
    paths += [run["contact_sheet"] for run in (first, second)]
    assert sorted(Path(path).name for path in paths) == sorted(contents(tmp_path))
    assert [Path(image["path"]).name for image in second["images"]] == [
        "image-00002.png",
        "image-00003.png",
    ]


def test_files_of_others_stay_whatever_their_names(tmp_path: Path) -> None:
    for name in ("contact-sheet.png", "image-00007.png", "image-x.png"):
        (tmp_path / name).write_bytes(b"mine")
    gallery = Gallery(tmp_path)
    (tmp_path / "image-00009.png").write_bytes(b"of one who began at the same time")
    for place in (1, 0):
        gallery.add(picture(place), MAKER, None)
    sheet = gallery.write_sheet()
    assert [Path(str(gallery.describe(picture(place))["path"])).name for place in (0, 1)] == [
        "image-00008.png",
        "image-00010.png",
    ]
    assert sheet.name == "contact-sheet-00008.png"
    assert (tmp_path / "contact-sheet.png").read_bytes() == b"mine"
    assert (tmp_path / "image-00007.png").read_bytes() == b"mine"


def test_many_galleries_at_once_lose_no_picture(tmp_path: Path) -> None:
    galleries = [Gallery(tmp_path) for _ in range(8)]

    def fill(gallery: Gallery) -> None:
        for place in range(4):
            gallery.add(picture(place), MAKER, None)
        gallery.write_sheet()

    threads = [threading.Thread(target=fill, args=[gallery]) for gallery in galleries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.glob("image-*.png"))) == 32
    assert len(list(tmp_path.glob("contact-sheet*.png"))) == 8


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_picture_says_what_made_it(tmp_path: Path, format: str) -> None:
    request = Request(prompt=AWKWARD, seed=2**62 + 1, guidance=1.1, negative_prompt="no \ud7ff")
    origin = Origin(maker=MAKER, request=request, size="4x4", tokens_sha256="ab")
    file = tmp_path / "picture"
    file.write_bytes(encode(Image.new("RGB", (4, 4)), format, origin=origin))
    assert read_origin(file) == origin


def test_png_texts_have_plain_names(tmp_path: Path) -> None:
    Gallery(tmp_path).add(picture(), MAKER, None)
    with Image.open(tmp_path / "image-00000.png") as image:
        texts: Any = image
        assert texts.text["prompt"] == "a cup"
        assert texts.text["seed"] == "0"
        assert {"model_revision", "drafter", "rule", "guidance", "top_p", "hawk_version"} <= {
            *texts.text
        }


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_what_does_not_fit_a_format_is_left_out(tmp_path: Path, format: str) -> None:
    origin = Origin(
        maker=MAKER,
        request=Request(prompt="ż" * 20_000, seed=0, guidance=1.0),
        size=None,
        tokens_sha256="",
    )
    file = tmp_path / "picture"
    file.write_bytes(encode(Image.new("RGB", (4, 4)), format, origin=origin))
    with pytest.raises(ValueError, match="does not say its prompt"):
        read_origin(file)


def test_a_picture_is_made_again_from_itself(tiny_folder: Path, tmp_path: Path) -> None:
    options = ("--seed", 7, "--guidance", 2.5, "--temperature", 0.9, "--top-k", 40, "--top-p", 0.8)
    [made] = hawk_json("generate", AWKWARD.replace("\x00", ""), "--model", tiny_folder, *options,
                       "-o", tmp_path / "a")["images"]  # fmt: skip
    like = ("generate", "--like", made["path"])
    again = hawk_json(*like, "-o", tmp_path / "b", "--drafter", "plain")
    assert again["images"][0] | {"path": ""} == made | {"path": ""}
    assert again["like"] == {"file": made["path"], "same": True}
    assert again["drafter"] == "plain"
    said = hawk(*like, "-o", tmp_path / "c")
    assert f"the same tokens as {made['path']}" in said


def test_options_beside_an_example_hold(tiny_folder: Path, tmp_path: Path) -> None:
    [made] = hawk_json("generate", "a cup", "--model", tiny_folder, "--seed", 7, "-o", tmp_path)[
        "images"
    ]
    other = hawk_json("generate", "b", "c", "--like", made["path"], "--seed", 9, "-o", tmp_path)
    assert [(image["prompt"], image["seed"]) for image in other["images"]] == [("b", 9), ("c", 9)]
    assert other["like"] is None
    assert other["model"] == str(tiny_folder)


def test_other_weights_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    request = Request(prompt="a", seed=0, guidance=1.0)
    maker = replace(MAKER, model=str(tiny_folder))
    origin = Origin(maker=maker, request=request, size=None, tokens_sha256="")
    file = tmp_path / "a.png"
    file.write_bytes(encode(Image.new("RGB", (4, 4)), "png", origin=origin))
    command = ("generate", "--like", file, "-o", tmp_path / "out")
    assert "was made with weights 0123" in hawk(*command, code=2)
    assert hawk_json(*command, "--model", tiny_folder)["like"]["same"] is False


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"no picture", "is no picture"), (None, "does not say its prompt")],
)
def test_pictures_of_others_are_no_examples(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encode(Image.new("RGB", (4, 4)), "png") if content is None else content)
    assert complaint in hawk("generate", "--like", file, "-o", tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


def test_people_are_told_prompt_and_seed_of_each_file(tiny_folder: Path, tmp_path: Path) -> None:
    said = hawk("generate", "a cup", "--model", tiny_folder, "-n", 2, "--seed", 3, "-o", tmp_path)
    assert f"{tmp_path}/image-00000.png  seed 3  'a cup'" in said
    assert f"{tmp_path}/image-00001.png  seed 4  'a cup'" in said
