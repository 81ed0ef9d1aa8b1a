from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.refine.language import detect
from node.refine.quality import (
    NEUTRAL,
    Scale,
    density,
    measure_scale,
    novelty,
    privacy,
    relevance,
    score_record,
    score_text,
    validity,
)
from node.refine.script import shingles, tokens, unspaced_share
from protocols.quality import PPM, WEIGHTS
from protocols.sealed.records import Record, record_id
from tests.support.records import clustered, unit

ENGLISH = (
    "This dress is lovely: the fabric is soft, the colour is exactly as shown, and it fits true to size. I ordered my "
    "usual medium and could wear it to work as well as to a wedding in late summer."
)
GERMAN = (
    "Die Pumpe fördert zwanzig Liter pro Minute und bleibt dabei sehr leise, wie unsere Messung im Labor ergab. Der "
    "Verbrauch lag bei hundertzwanzig Watt und damit unter dem des Vorgängermodells."
)
CHINESE = "这款水泵每分钟可以输送二十升水，运行时非常安静。我们在实验室进行了测量，耗电量为一百二十瓦，低于上一代产品。"
JAPANESE = (
    "このポンプは毎分二十リットルの水を送ることができ、動作音もとても静かです。"
    "研究室で測定した消費電力は百二十ワットでした。"
)


@pytest.mark.parametrize(("text", "code"), [(ENGLISH, "en"), (GERMAN, "de"), (CHINESE, "zh"), (JAPANESE, "ja")])
def test_good_prose_scores_well_in_any_script(text: str, code: str) -> None:
    assert detect(text).code == code
    scored = score_text(text, code)
    assert scored.validity == PPM
    assert scored.privacy == PPM
    assert scored.density > 700_000
    assert scored.language > 900_000


def test_repetition_and_noise_score_badly_where_they_should() -> None:
    assert density("buy now " * 60) == 0
    assert validity("buy now " * 60) < PPM
    assert validity("1 {} 2 # " * 30) < 500_000


def test_a_wrong_language_claim_scores_nothing() -> None:
    assert score_text(GERMAN, "en").language == 0
    assert score_text("", "").language == 0


def test_privacy_falls_with_what_is_left_more_than_with_what_was_redacted() -> None:
    left, replaced = privacy(ENGLISH + " a@b.example"), privacy(ENGLISH + " [EMAIL]")
    assert left < replaced < PPM
    assert privacy("DE89 3704 0044 0532 0130 00") == 0


def test_a_buyer_computes_the_same_from_the_record_alone() -> None:
    record = Record(id=record_id("A title", ENGLISH), title="A title", text=ENGLISH, language="en")
    assert score_record(record) == score_text(f"A title\n{ENGLISH}", "en")
    assert score_record(record).uniqueness == 0


def test_novelty_stands_on_the_models_own_scale() -> None:
    scale = Scale(0.8, 0.9)
    assert novelty(np.array([1.0, 0.9, 0.8, 0.5], np.float32), scale) == [0, pytest.approx(500_000, abs=5), PPM, PPM]


def test_relevance_is_neutral_without_wants_and_high_for_the_wanted() -> None:
    vectors = np.stack([unit(1, 0), unit(0, 1)])
    scale = Scale(0.1, 0.9)
    assert relevance(vectors, np.empty((0, 8), np.float32), scale) == [NEUTRAL, NEUTRAL]
    assert relevance(vectors, unit(1, 0)[None], scale) == [PPM, 0]


def test_a_scale_is_measured_from_the_vectors_themselves() -> None:
    assert measure_scale(clustered(10, 16, 2)) == Scale(0.80, 0.90)  # too few: the default
    vectors = clustered(2_000, 384, 40)
    scale = measure_scale(vectors)
    assert -0.1 < scale.middle < 0.1
    assert 0.4 < scale.close < 1
    assert measure_scale(vectors) == scale


@given(st.text(max_size=400), st.sampled_from(["", "en", "zh"]))
def test_every_component_is_a_share(text: str, language: str) -> None:
    scored = score_text(text, language)
    assert all(0 <= getattr(scored, name) <= PPM for name in WEIGHTS)
    assert scored == score_text(text, language)


def test_words_in_scripts_without_spaces_are_characters() -> None:
    assert tokens("Das Kleid, 漂亮的裙子!") == ["das", "kleid", "漂", "亮", "的", "裙", "子"]
    assert tokens("한국어 문장") == ["한국어", "문장"]
    assert shingles("a b") == {"a b"}
    assert shingles("...") == set()
    assert unspaced_share(CHINESE) > 0.8
