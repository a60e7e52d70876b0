"""Recognition: what generated images are worth to a classifier of real ones (classification accuracy score)."""

from ltgen_bench.evaluation.recognition.mixtures import Fill, Mixture, parse_fill
from ltgen_bench.evaluation.recognition.plan import recognition_plan
from ltgen_bench.evaluation.recognition.recipes import RecognitionRecipe, recipe_names, recognition_recipe
from ltgen_bench.evaluation.recognition.recognize import (
    RecognitionSettings,
    RecognitionTask,
    images_to_test_with,
    recognize,
)
from ltgen_bench.evaluation.recognition.summary import summarise

__all__ = [
    "Fill",
    "Mixture",
    "RecognitionRecipe",
    "RecognitionSettings",
    "RecognitionTask",
    "images_to_test_with",
    "parse_fill",
    "recipe_names",
    "recognition_plan",
    "recognition_recipe",
    "recognize",
    "summarise",
]
