from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.collect.errors import NoTextColumn, NothingToCollect, SourceMissing, SourceUnreadable
from node.collect.files import canonical, files
from node.collect.prose import PASSAGE, passages, sections
from node.collect.readers import LINE_MOST, Flaw, Found, read
from node.refine.item import RawItem

LONG = "a review long enough to be taken for prose when no column has a usual name"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def items(path: Path, fields: dict[str, str] | None = None) -> list[Found]:
    return list(read(path, fields, max_bytes=64 << 20))


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_gives_text_title_and_labels(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ["Title", "Review Text", "Rating", "Empty"],
        ["Nice", '"soft, warm; and\n""red"""', "5", ""],
        ["", "b", "1", ""],
    ]
    path = write(tmp_path, "t.csv", "\r\n".join(delimiter.join(row) for row in rows))
    assert items(path) == [
        RawItem('soft, warm; and\n"red"', "Nice", {"Rating": "5"}),
        RawItem("b", "", {"Rating": "1"}),
    ]


@pytest.mark.parametrize(
    ("header", "text", "title"),
    [
        ("id,subject,body", "c", "b"),
        ("question,answer,n", "b", "a"),
        ("TEXT,Headline,x", "a", "b"),
        ("标题,正文,x", "b", "a"),
        ("review_title,review_text,x", "b", "a"),
        ("n,m,anything", LONG, ""),
    ],
)
def test_columns_are_found_by_their_usual_names_or_by_their_prose(
    tmp_path: Path, header: str, text: str, title: str
) -> None:
    row = f"1,2,{LONG}" if text == LONG else "a,b,c"
    (item,) = items(write(tmp_path, "t.csv", f"{header}\n{row}\n"))
    assert isinstance(item, RawItem)
    assert (item.text, item.title) == (text, title)


def test_given_fields_win_over_the_usual_names(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "text,other,when\nno,yes,2024-05-01T00:00:00Z\n")
    assert items(path, {"text": "other", "created_at": "when"}) == [RawItem("yes", "", {"text": "no"}, 1_714_521_600)]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"text": "nope"}, "'nope'.*'a', 'b'"),
        ({"title": "a"}, "must say which column"),
        ({"text": "a", "colour": "b"}, "not colour"),
        (None, "no column looks like the text.*'a', 'b'"),
    ],
)
def test_a_table_without_a_text_column_says_what_to_do(
    tmp_path: Path, fields: dict[str, str] | None, says: str
) -> None:
    with pytest.raises(NoTextColumn, match=says):
        items(write(tmp_path, "t.csv", "a,b\n1,2\n"), fields)


def test_a_short_row_and_a_long_row_do_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "text,n\nonly\nfull,1,too,many\n")
    assert items(path) == [RawItem("only"), RawItem("full", "", {"n": "1"})]


def test_a_table_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", f'text\nfine\n"{"x" * (LINE_MOST + 1)}"\n')
    with pytest.raises(SourceUnreadable, match=r"t\.csv, line 3: field larger"):
        items(path)


# -- lines of JSON -----------------------------------------------------------------------------------------------------


def test_objects_and_texts_become_items_and_broken_lines_flaws(tmp_path: Path) -> None:
    lines = [
        '{"title": "T", "content": "one", "n": 1, "tags": ["a", "b"], "deep": {"x": 1}, "ok": true, '
        '"created_at": 1700000000123}',
        "", '"just a text"', "{broken", "[1, 2]", "17", '{"content": "two"}', '{"content": "\\ud800"}',
    ]  # fmt: skip
    assert items(write(tmp_path, "t.jsonl", "\n".join(lines))) == [
        RawItem("one", "T", {"n": "1", "tags": "a, b", "ok": "yes"}, 1_700_000_000),
        RawItem("just a text"),
        Flaw("malformed"),
        Flaw("malformed"),
        Flaw("malformed"),
        RawItem("two"),
        Flaw("malformed"),
    ]


def test_a_line_over_the_limit_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", f'"{"x" * (2 * LINE_MOST + 5)}"\n"next"\n')
    assert items(path) == [Flaw("too long"), RawItem("next")]


def test_deep_nesting_is_a_flaw_not_a_crash(tmp_path: Path) -> None:
    assert items(write(tmp_path, "t.jsonl", "[" * 100_000 + "\n")) == [Flaw("malformed")]


# -- running text ------------------------------------------------------------------------------------------------------


def test_short_paragraphs_share_a_passage_and_long_ones_are_cut() -> None:
    long = "This is a sentence of a long paragraph. " * 100
    texts = [item.text for item in passages(["one\n", "\n", "two\n", "\n", long])]
    assert texts[0].startswith("one\n\ntwo")
    assert all(len(text) <= PASSAGE for text in texts)
    assert "".join(" ".join(texts).split()) == "".join(f"one two {long}".split())


@given(st.lists(st.text(max_size=200), max_size=30))
def test_no_word_of_a_text_is_lost(lines: list[str]) -> None:
    texts = [item.text for item in passages(f"{line}\n" for line in lines)]
    assert "".join("".join(texts).split()) == "".join("".join(lines).split())
    assert all(len(text) <= 2 * PASSAGE for text in texts)


def test_markdown_sections_carry_their_heading() -> None:
    text = (
        "---\ntitle: x\n---\nIntro [here](http://a.example/b) <!-- no -->\n# First #\n![pic](p.png) body\n"
        "## Second\n```\n# not a heading [x](y)\n```\n"
    )
    assert [(item.title, item.text.strip()) for item in sections(text.splitlines(keepends=True))] == [
        ("", "Intro here"),
        ("First", "pic body"),
        ("Second", "```\n# not a heading [x](y)\n```"),
    ]


# -- what is not as it should be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_unicode_encoding_with_a_mark_is_read(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "t.csv", "text,n\nschön 漂亮,1\n".encode(encoding))
    assert items(path) == [RawItem("schön 漂亮", "", {"n": "1"})]


def test_a_file_that_cannot_be_decoded_is_named_with_the_place(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", b"text\ngut\nsch\xf6n\n")
    with pytest.raises(SourceUnreadable, match=r"t\.csv is not UTF-8 \(byte 12\).*iconv"):
        items(path)


def test_a_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="binary"):
        items(write(tmp_path, "t.txt", b"\x00\x01\x02"))


def test_a_file_over_the_limit_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="5 bytes, the limit is 4"):
        list(read(write(tmp_path, "t.txt", "hello"), max_bytes=4))


def test_a_folder_gives_its_readable_files_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", ".hidden.txt", "x.pdf", "sub/c.JSONL", ".git/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, name, "x")
    assert [path.relative_to(tmp_path).as_posix() for path in files(str(tmp_path))] == ["a.md", "b.txt", "sub/c.JSONL"]
    assert files(str(tmp_path / "*.txt")) == [tmp_path / "b.txt"]


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("missing.txt", SourceMissing, "neither a file nor a folder"),
        ("x.pdf", SourceUnreadable, r"suffix \.pdf: we read"),
        ("empty", NothingToCollect, "holds no file"),
        ("*.csv", NothingToCollect, "no file fits"),
    ],
)
def test_a_source_that_gives_nothing_says_why(tmp_path: Path, name: str, error: type[Exception], says: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path, "x.pdf", "x")
    with pytest.raises(error, match=says):
        files(str(tmp_path / name))


def test_an_address_is_not_a_path() -> None:
    with pytest.raises(SourceMissing, match="not a path"):
        canonical("https://a.example/data.csv")
