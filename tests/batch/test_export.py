"""`hawk export`: pictures as files, in the layouts that scorers, trainers and hubs read."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner
from webdataset.tariterators import group_by_keys, tar_file_expander

from hawk.batch import export
from hawk.batch.manifest import Manifest
from hawk.batch.shard import ShardWriter
from hawk.cli.app import app
from hawk.decoding.request import Request
from hawk.images.encoding import encode, read_origin
from hawk.images.origin import Maker, Origin
from hawk.prompts.kept_columns import NOTE
from hawk.storage import layout
from hawk.storage.folder import Folder
from tests.batch.places import Place
from tests.batch.test_files import PROVENANCE, counts, row

runner = CliRunner()
MAKER = Maker(model="m", model_revision="r", drafter="jacobi", rule="coupled", dtype="float32")
WHITE = (255, 255, 255)


def hawk(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def picture(number: int, format: str = "png") -> bytes:
    origin = Origin(
        maker=MAKER,
        request=Request(prompt=f"prompt {number}", seed=number, guidance=1.0),
        size=None,
        tokens_sha256="",
    )
    return encode(Image.new("RGB", (4, 4), (number, 0, 0)), format, origin=origin)


def column(name: str, values: list[Any], *, as_json: bool = False) -> tuple[pa.Field, list[Any]]:
    note = json.dumps({"name": name, "json": as_json})
    return pa.field(f"input_{name}", pa.string(), metadata={NOTE: note}), values


def run_of(
    folder: Folder, items: list[tuple[str, int]], *columns: tuple[pa.Field, list[Any]], **rows: Any
) -> Folder:
    """A finished run of items and their numbers of copies, two rows a file.

    Args:
        columns: of the input that were kept, a value an item.
        rows: by id, the bytes of a picture; None is a row that failed.
    """
    folder.prepare()
    named = [
        (f"{item}-{copy}" if n > 1 else item, item, copy, place)
        for place, (item, n) in enumerate(items)
        for copy in range(n)
    ]
    ours = Manifest(
        settings={},
        inputs="",
        rows=len(named),
        rows_per_file=2,
        provenance=PROVENANCE,
    )
    folder.create(layout.MANIFEST, ours.to_json())
    for shard in range(ours.shards):
        start, stop = ours.span(shard)
        kept = pa.Table.from_arrays(
            [
                pa.array([values[named[at][3]] for at in range(start, stop)])
                for _, values in columns
            ],
            schema=pa.schema([field for field, _ in columns]),
        )
        writer = ShardWriter(
            folder,
            layout.shard_name(shard),
            rows=stop - start,
            job=ours.job,
            kept=kept if columns else None,
        )
        for at in range(start, stop):
            name, item, copy, _ = named[at]
            data = rows.get(name.replace("-", "_"), picture(at))
            stored = row(at, failed=data is None) | {
                "id": name, "item": item, "copy": copy, "prompt": f"prompt {at}",
            }  # fmt: skip
            if data is not None:
                stored["image"] = {"bytes": data, "path": None}
            writer.add(at - start, stored, counts(failed=data is None))
    folder.write(layout.SHEET, picture(0))
    return folder


def colour(data: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").getpixel(at)  # type: ignore[return-value]


def test_a_file_a_picture(place: Place) -> None:
    run_of(place.folder("run"), [("a", 1), ("b", 2), ("deep/c", 1)], b_1=None)
    options = ["--s3-endpoint", place.endpoint] if place.endpoint else []
    said = hawk("export", place.at("run"), place.at("out"), *options)
    assert (
        said
        == f"3 files: {place.location('out').path if place.local else place.at('out')}\n"
        + ("1 rows have an error and no picture\n")
    )
    out = place.folder("out")
    assert out.names() == ["a.png", "b-0.png"]
    assert out.names("deep") == ["c.png"]
    assert out.read("b-0.png") == picture(1)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{item}_{n}.png", ["a_0.png", "b_0.png", "b_1.png"]),
        ("{index:04d}.png", ["0000.png", "0001.png", "0002.png"]),
        ("x-{id}-{seed}.png", ["x-a-0.png", "x-b-0-1.png", "x-b-1-2.png"]),
    ],
)
def test_names_follow_a_pattern(tmp_path: Path, pattern: str, names: list[str]) -> None:
    run_of(Folder(str(tmp_path / "run")), [("a", 1), ("b", 2)])
    hawk("export", tmp_path / "run", tmp_path / "out", "--name", pattern)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_the_ending_of_a_name_is_its_format(tmp_path: Path, suffix: str) -> None:
    run_of(Folder(str(tmp_path / "run")), [("a", 1)])
    hawk("export", tmp_path / "run", tmp_path / "out", "--name", f"{{id}}{suffix}")
    file = tmp_path / "out" / f"a{suffix}"
    with Image.open(file) as image:
        assert image.format == {".webp": "WEBP"}.get(suffix, "JPEG")
    assert read_origin(file).request.prompt == "prompt 0"


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("{id}.gif", "has to end in one of .png"),
        ("{id.__class__}.png", "is none of its fields"),
        ("{prompt}.png", "is none of its fields"),
        ("{0}.png", "is none of its fields"),
        ("{id!r}.png", "is none of its fields"),
        ("{id:04d}.png", "cannot be used"),
        ("{id.png", "cannot be used"),
        ("same.png", "rows 'a' and 'b' would be in one file, 'same.png'"),
        ("../{id}.png", "files cannot be called so"),
        ("/{id}.png", "files cannot be called so"),
        ("x//{id}.png", "files cannot be called so"),
    ],
)
def test_patterns_that_make_no_names_are_refused(
    tmp_path: Path, pattern: str, complaint: str
) -> None:
    run_of(Folder(str(tmp_path / "run")), [("a", 1), ("b", 1)])
    said = hawk("export", tmp_path / "run", tmp_path / "out", "--name", pattern, code=2)
    assert complaint in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a\0b", "a\nb", "x" * 300, "a\\b"])
@pytest.mark.parametrize("option", [("--name", "{id}.png"), ("--layout", "dpg-bench")])
def test_ids_of_users_lead_nowhere_else(tmp_path: Path, name: str, option: tuple[str, str]) -> None:
    run_of(Folder(str(tmp_path / "run")), [("a", 1), (name, 1)])
    said = hawk("export", tmp_path / "run", tmp_path / "out", *option, code=2)
    assert "files cannot be called so" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_ids_are_no_folders_that_have_a_meaning(tmp_path: Path, name: str) -> None:
    run_of(Folder(str(tmp_path / "run")), [(name, 1)])
    command = ("export", tmp_path / "run", tmp_path / "out", "--name", "{id}/x.png")
    assert "files cannot be called so" in hawk(*command, code=2)


def test_names_that_differ_in_case_only_are_one_on_some_disks(tmp_path: Path) -> None:
    run_of(Folder(str(tmp_path / "run")), [("a", 1), ("A", 1)])
    assert "would be in one file" in hawk("export", tmp_path / "run", tmp_path / "out", code=2)


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    run_of(Folder(str(tmp_path / "run")), [("a", 1)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    assert "is not empty: give a new folder" in hawk(
        "export", tmp_path / "run", tmp_path / "out", code=2
    )
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"


def test_gen_eval(place: Place) -> None:
    include = [{"class": "cup", "count": 1}, {"class": "bowl", "position": ["left of", 0]}]
    columns = (
        column("tag", ["position", "counting", "colors"]),
        column("include", [json.dumps(include), "[]", "[]"], as_json=True),
        column("exclude", [None, "[1]", None], as_json=True),
    )
    source = run_of(place.folder("run"), [("x", 2), ("y", 1), ("z", 1)], *columns, y=None)
    report = export.export(source, place.folder("out"), export.LAYOUTS["geneval"])
    assert (report["files"], report["rows_without_picture"]) == (5, 1)
    first, third = place.folder("out/00000"), place.folder("out/00002")
    assert first.names("samples") == ["00000.png", "00001.png"]
    assert json.loads(first.read("metadata.jsonl")) == {
        "tag": "position",
        "include": include,
        "prompt": "prompt 0",
    }
    assert third.names("samples") == ["00000.png"]
    assert place.folder("out/00001").empty()


def test_gen_eval_needs_its_own_columns(tmp_path: Path) -> None:
    run_of(Folder(str(tmp_path / "run")), [("x", 1)])
    said = hawk("export", tmp_path / "run", tmp_path / "out", "--layout", "geneval", code=2)
    assert "row 'x' has no include" in said


def test_dpg_bench(place: Place) -> None:
    source = run_of(place.folder("run"), [("cup1", 4), ("7", 1), ("bowl", 2)], cup1_2=None)
    export.export(source, place.folder("out"), export.LAYOUTS["dpg-bench"])
    out = place.folder("out")
    assert out.names() == ["7.png", "bowl.png", "cup1.png"]
    four = out.read("cup1.png")
    corners = [colour(four, at) for at in ((0, 0), (4, 0), (0, 4), (4, 4))]
    assert corners == [(0, 0, 0), (1, 0, 0), WHITE, (3, 0, 0)]
    assert out.read("7.png") == picture(4)
    with Image.open(io.BytesIO(out.read("bowl.png"))) as image:
        assert image.size == (8, 8)


def test_dpg_bench_takes_four_at_most(tmp_path: Path) -> None:
    run_of(Folder(str(tmp_path / "run")), [("x", 5)])
    said = hawk("export", tmp_path / "run", tmp_path / "out", "--layout", "dpg-bench", code=2)
    assert "item 'x' has 5 pictures, 4 are the most" in said


def test_web_dataset(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TAR_PICTURES", 2)
    kept = column("tag", ["a", "b", "c", "d"])
    items = [("x.1", 1), ("y", 1), ("z", 1), ("w", 1)]
    source = run_of(place.folder("run"), items, kept, y=None, z=picture(2, "jpeg"))
    export.export(source, place.folder("out"), export.LAYOUTS["webdataset"])
    out = place.folder("out")
    assert out.names() == ["shard-00000.tar", "shard-00001.tar"]
    files = ({"url": name, "stream": io.BytesIO(out.read(name))} for name in out.names())
    samples = list(group_by_keys(tar_file_expander(files)))
    assert [sample["__key__"] for sample in samples] == ["000000000", "000000002", "000000003"]
    assert samples[0]["png"] == picture(0)
    assert samples[1]["jpg"] == picture(2, "jpeg")
    assert samples[1]["txt"] == b"prompt 2"
    about = json.loads(samples[1]["json"])
    assert (about["id"], about["input"], about["seed"]) == ("z", {"tag": "c"}, 2)


def test_tar_files_are_the_same_each_time(tmp_path: Path) -> None:
    source = run_of(Folder(str(tmp_path / "run")), [("x", 1)])
    for name in ("one", "two"):
        hawk("export", source.url, tmp_path / name, "--webdataset")
    assert (tmp_path / "one" / "shard-00000.tar").read_bytes() == (
        tmp_path / "two" / "shard-00000.tar"
    ).read_bytes()
    with tarfile.open(tmp_path / "one" / "shard-00000.tar") as tar:
        assert tar.getnames() == ["000000000.json", "000000000.png", "000000000.txt"]


def test_a_folder_for_a_hub(tmp_path: Path) -> None:
    source = run_of(Folder(str(tmp_path / "run")), [("a", 1), ("```x", 1), ("c", 1)], c=None)
    hawk("export", source.url, tmp_path / "out", "--layout", "hub")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: unknown\n")
    assert "![some of them](contact-sheet.png)" in card
    assert "2 images and 1 rows with an error" in card
    assert (tmp_path / "out" / "contact-sheet.png").exists()
    assert "````json" in card
    opened = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert opened["id"][:] == ["a", "```x", "c"]
    assert opened[1]["image"].getpixel((0, 0)) == (1, 0, 0)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--layout", "zip"], "no layout 'zip': choose from geneval, dpg-bench, webdataset, hub"),
        (["--layout", "hub", "--name", "{id}.png"], "leave out --name"),
        (["--webdataset", "--name", "{id}.png"], "leave out --name"),
    ],
)
def test_bad_options_get_one_sentence(tmp_path: Path, options: list[str], complaint: str) -> None:
    run_of(Folder(str(tmp_path / "run")), [("a", 1)])
    assert complaint in hawk("export", tmp_path / "run", tmp_path / "out", *options, code=2)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run_of(Folder(str(tmp_path / "run")), [("a", 1), ("b", 1), ("c", 1)])
    (tmp_path / "run" / "part-00001.parquet").write_bytes(b"broken")
    said = hawk("export", tmp_path / "run", tmp_path / "out", code=2)
    assert "part-00001.parquet is damaged" in said
    assert not (tmp_path / "out").exists()
    assert "is no run folder" in hawk("export", tmp_path, tmp_path / "out", code=2)
