"""Which files a folder or a glob stands for, the same on disk and on S3."""

import os
from pathlib import Path

import pytest

from hawk.prompts import globs
from hawk.prompts.output_folder import refuse_overlap
from hawk.storage.folder import Folder, locate
from hawk.storage.layout import MANIFEST
from tests.batch.places import Place

OLD_MANIFEST = '{"making": {}, "inputs": "", "rows_per_file": 1, "provenance": {}}'


def test_every_level_of_a_folder_is_read(place: Place) -> None:
    for name in ("b.txt", "a/c.txt", "a/b/d.csv", "a.txt", "z.jsonl.gz"):
        place.put(name)
    assert place.found().names == ["a.txt", "a/b/d.csv", "a/c.txt", "b.txt", "z.jsonl.gz"]
    assert place.found().note is None


def test_hidden_files_and_other_kinds_are_passed_over_and_said(place: Place) -> None:
    for name in (
        "a.txt", "_x.txt", ".y.csv", ".ipynb_checkpoints/a.csv", "b/_old/c.txt", "b/_old/d.txt",
        "read.md", "data.xlsx", "image.parquet.gz", "LICENSE",
    ):  # fmt: skip
        place.put(name)
    found = place.found()
    assert found.names == ["a.txt"]
    assert found.note == (
        f"passed over in {place.url}: 4 hidden, other kinds (.gz, .md, .xlsx, ...)"
    )


def test_globs_find_their_files(place: Place) -> None:
    for name in ("a.txt", "x/b.txt", "x/y/c.txt", "x/y/z[1]/d.txt", ".h/e.txt"):
        place.put(name)
    for pattern, names in (
        ("*.txt", ["a.txt"]),
        ("**/*.txt", ["a.txt", "x/b.txt", "x/y/c.txt", "x/y/z[1]/d.txt"]),
        ("x/**", ["x/b.txt", "x/y/c.txt", "x/y/z[1]/d.txt"]),
        ("x/*/*.txt", ["x/y/c.txt"]),
        ("*/?.txt", ["x/b.txt"]),
        ("x/y/z[1]/*.txt", ["x/y/z[1]/d.txt"]),
        ("x/*/z[1]/*", ["x/y/z[1]/d.txt"]),
        ("x/y/z[1]/d.txt", ["x/y/z[1]/d.txt"]),
        ("[ab].txt", ["a.txt"]),
        ("[!b].txt", ["a.txt"]),
    ):
        found = place.found(pattern).files
        assert found == [place.location(name).path for name in names], pattern


def test_a_folder_called_like_a_pattern_is_a_folder(place: Place) -> None:
    place.put("run[1]/a.txt")
    place.put("what?/b.txt")
    assert place.found("run[1]").names == ["a.txt"]
    assert place.found("what?/*.txt").names == ["b.txt"]


@pytest.mark.parametrize("pattern", ["*.csv", "**/none.txt", "nowhere", "[z].txt"])
def test_what_finds_nothing_is_said(place: Place, pattern: str) -> None:
    place.put("a.txt")
    with pytest.raises(FileNotFoundError, match="no "):
        place.found(pattern)


def test_a_folder_of_other_kinds_says_which(place: Place) -> None:
    place.put("prompts.xlsx")
    with pytest.raises(FileNotFoundError, match=r"files in .* \(passed over in .*\(\.xlsx\)\)"):
        place.found()


def test_run_folders_are_results_and_not_prompts(place: Place) -> None:
    place.put("a.txt")
    place.put(f"made/{MANIFEST}", "{}")
    place.put("made/part-00000.parquet")
    place.put("x/old/manifest.json", OLD_MANIFEST)
    place.put("x/old/part-00000.parquet")
    place.put("y/manifest.json", "[]")  # of somebody else
    place.put("y/b.csv", "prompt\n1\n")
    found = place.found()
    assert found.names == ["a.txt", "y/b.csv", "y/manifest.json"]
    assert [run.rpartition("/")[2] for run in sorted(found.runs)] == ["made", "old"]
    assert "the run folder " in str(found.note)


def test_a_run_folder_can_be_given_as_prompts(place: Place) -> None:
    place.put(f"made/{MANIFEST}", "{}")
    place.put("made/part-00000.parquet")
    assert place.found("made").names == ["part-00000.parquet"]


def test_links_are_followed_and_no_file_is_read_twice(tmp_path: Path) -> None:
    place = Place(url=str(tmp_path / "in"), endpoint=None)
    place.put("a.txt")
    place.put("deep/b.txt")
    elsewhere = Path(Place(url=str(tmp_path / "other"), endpoint=None).put("c.txt"))
    top = Path(place.url)
    (top / "self").symlink_to(top)
    (top / "deep" / "up").symlink_to("..")
    (top / "above").symlink_to(tmp_path)
    (top / "z.txt").symlink_to("a.txt")
    (top / "linked").symlink_to(elsewhere.parent)
    (top / "again").symlink_to(elsewhere.parent)
    (top / "broken.txt").symlink_to("nothing")
    os.mkfifo(top / "pipe.txt")
    found = place.found()
    assert len(found.names) == 3
    assert {name.rpartition("/")[2] for name in found.names} == {"a.txt", "b.txt", "c.txt"}
    assert "5 links to what is read already, 2 neither file nor folder" in str(found.note)


def test_names_that_are_not_text_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("b")
    found = Place(url=str(tmp_path), endpoint=None).found()
    assert found.names == ["a.txt"]
    assert "1 with names that are not UTF-8" in str(found.note)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("a*", ["a", "ab"], ["a/b", "ba"]),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax", "x/a"]),
        ("a/**", ["a/x", "a/b/x"], ["a", "b/x"]),
        ("[]]", ["]", "[]]"], ["["]),
        ("[a-c]x", ["bx", "[a-c]x"], ["dx", "-x"]),
        ("[!a]", ["b", "[!a]"], ["a", "/"]),
        ("a[", ["a["], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("?\n", ["x\n"], ["x"]),
        ("[\\d^]", ["d", "^", "\\"], ["1"]),
    ],
)
def test_patterns_match_whole_names(text: str, inside: list[str], outside: list[str]) -> None:
    matches = globs.compiled(text).fullmatch
    assert [name for name in [*inside, *outside] if matches(name)] == inside


@pytest.mark.parametrize(
    ("prompts", "out"),
    [
        ("data", "data"),
        ("data/a.txt", "data"),
        ("data/deep/../a.txt", "data/."),
        ("data/*.txt", "data"),
        ("data/**/*.txt", "data/deep"),
        ("data", "data/images"),
        ("data", "data/deep/more/images"),
        ("data", "linked"),
        ("data", "linked/images"),
        ("linked", "data"),
        ("linked/*.txt", "data"),
        ("outside", "data"),  # a link in it leads there
        ("data/**", "data/images"),
        ("data/*/*.parquet", "data/images"),
    ],
)
def test_an_output_that_overlaps_the_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompts: str, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Place(url=str(tmp_path), endpoint=None)
    for name in ("data/a.txt", "data/deep/b.txt", "data/x/c.parquet", "outside/d.txt"):
        place.put(name)
    (tmp_path / "linked").symlink_to("data")
    (tmp_path / "outside" / "link.txt").symlink_to(tmp_path / "data" / "a.txt")
    for spelled in (out, f"{out}/", str(tmp_path / out)):
        with pytest.raises(ValueError, match=r"give (another|a) folder"):
            refuse_overlap(place.found(prompts), locate(spelled, endpoint=None))


@pytest.mark.parametrize(
    ("prompts", "out"),
    [
        ("data/a.txt", "data/images"),
        ("data/*.txt", "data/images"),
        ("data", "data-images"),
        ("data", "images"),
        ("data/deep", "data/images"),
    ],
)
def test_an_output_beside_the_input_is_fine(place: Place, prompts: str, out: str) -> None:
    place.put("data/a.txt")
    place.put("data/deep/b.txt")
    refuse_overlap(place.found(prompts), place.location(out))


@pytest.mark.parametrize(
    ("prompts", "out"),
    [("data", "data"), ("data/a.txt", "data"), ("data", "/data/"), ("data", "data//images")],
)
def test_an_output_on_s3_that_overlaps_is_refused(place: Place, prompts: str, out: str) -> None:
    place.put("data/a.txt")
    with pytest.raises(ValueError, match=r"give (another|a) folder"):
        refuse_overlap(place.found(prompts), place.location(out))


def test_another_mount_of_the_same_folder_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has one device and inode is one, whatever the paths say."""
    place = Place(url=str(tmp_path), endpoint=None)
    place.put("data/a.txt")
    place.put("mounted/b.txt")
    stat = Path.stat

    def same(path: Path, **options: bool) -> os.stat_result:
        return stat(tmp_path / "data" if path == tmp_path / "mounted" else path, **options)

    monkeypatch.setattr(Path, "stat", same)
    with pytest.raises(ValueError, match="give another folder"):
        refuse_overlap(place.found("data"), place.location("mounted"))


@pytest.mark.parametrize("url", ["", "  "])
def test_an_empty_path_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a path is empty"):
        locate(url, endpoint=None)
    with pytest.raises(ValueError, match="a path is empty"):
        Folder(url)


@pytest.mark.parametrize("url", ["caf\udce9.txt", "a\0b"])
def test_a_path_that_is_no_text_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no name that Arrow can open: rename it"):
        locate(url, endpoint=None)


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://b/../x", "s3://b/./x", "gs://b/x"])
def test_urls_that_mean_nothing_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"names no bucket|write it out|s3:// URL"):
        locate(url, endpoint=None)
