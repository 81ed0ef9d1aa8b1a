"""From a raw item to a scored record: clean, redact, language, duplicates, embedding, quality."""

from node.refine.item import RawItem
from node.refine.quality import SCORE_VERSION, score_record
from node.refine.refiner import Batch, Facts, Refiner
from node.refine.rules import Rules

__all__ = ["SCORE_VERSION", "Batch", "Facts", "RawItem", "Refiner", "Rules", "score_record"]
