from __future__ import annotations

import msgspec

from node.models.split import bucket_ppm, folds, plain, resembling, split
from tests.unit.models.corpora import example

EXAMPLES = [example(number) for number in range(400)]


def ids(rows, examples=EXAMPLES):
    return {examples[row].id for row in rows}


def test_the_parts_are_disjoint_and_complete():
    parts = split(EXAMPLES)
    rows = [*parts.train, *parts.held_out, *parts.excluded]
    assert sorted(rows) == list(range(400))
    assert 70 <= len(parts.held_out) <= 130  # a quarter


def test_a_record_keeps_its_side_whatever_else_is_there():
    held_out = ids(split(EXAMPLES).held_out)
    fewer = EXAMPLES[::3]
    assert ids(split(fewer).held_out, fewer) == held_out & {e.id for e in fewer}
    assert ids(split(EXAMPLES[::-1]).held_out, EXAMPLES[::-1]) == held_out


def planted(**changes: str):
    """A training record made to look like a held-out one."""
    parts = split(EXAMPLES)
    victim, thief = EXAMPLES[parts.held_out[0]], parts.train[0]
    changed = {name: getattr(victim, name) if value == "=" else value for name, value in changes.items()}
    return (
        victim,
        thief,
        [msgspec.structs.replace(e, **changed) if row == thief else e for row, e in enumerate(EXAMPLES)],
    )


def test_a_copied_title_leaves_training():
    _, thief, examples = planted(title="=")
    assert thief in split(examples).excluded


def test_a_title_in_other_case_and_punctuation_is_the_same_title():
    victim, thief, _ = planted()
    _, _, examples = planted(title=f"  {victim.title.upper()}!!")
    assert thief in split(examples).excluded


def test_a_nearly_copied_text_leaves_training():
    victim, _, _ = planted()
    words = victim.text.split()
    _, thief, examples = planted(text=" ".join([*words[:-2], "some", "end"]))
    assert thief in split(examples).excluded


def test_a_copied_chinese_text_leaves_training():
    text = "这件连衣裙非常漂亮面料柔软穿着舒适尺码合适颜色和图片一样"
    parts = split(EXAMPLES)
    keeper, thief = parts.held_out[0], parts.train[0]
    examples = list(EXAMPLES)
    examples[keeper] = msgspec.structs.replace(examples[keeper], text=text)
    examples[thief] = msgspec.structs.replace(examples[thief], text=text[:-3] + "很好看")
    assert thief in split(examples).excluded


def test_a_stock_phrase_is_no_likeness():
    phrase = "thank you for reading this review "
    examples = [msgspec.structs.replace(e, text=phrase + e.text) for e in EXAMPLES]
    assert not split(examples).excluded


def test_the_same_text_under_many_held_out_records_is_still_found():
    same = [msgspec.structs.replace(e, text="one stock text for all of these records") for e in EXAMPLES]
    parts = split(same)
    assert len(parts.held_out) > 64
    assert not parts.train


def test_folds_validate_every_row_once_and_fit_on_nothing_alike():
    twins = [
        *EXAMPLES[:100],
        *(msgspec.structs.replace(e, id=example(1_000 + n).id) for n, e in enumerate(EXAMPLES[:100])),
    ]
    parts = folds(twins, 4)
    assert sorted(row for _, check in parts for row in check) == list(range(200))
    for fit, check in parts:
        assert not {plain(twins[row].text) for row in fit} & {plain(twins[row].text) for row in check}


def test_nothing_resembles_an_empty_title():
    examples = [msgspec.structs.replace(e, title="") for e in EXAMPLES[:10]]
    assert resembling(examples, [0]) == set()


def test_the_side_of_a_record_is_fixed_for_ever():
    """A change here would turn records that models were judged on into training records."""
    assert [bucket_ppm(e.id, "held-out") for e in EXAMPLES[:3]] == [504429, 676233, 371058]
    assert bucket_ppm(EXAMPLES[0].id, "fold") != 504429
