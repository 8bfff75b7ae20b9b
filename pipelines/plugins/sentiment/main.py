"""Scores the sentiment of financial news by a lexicon; `plugin.yaml` says what it promises."""

import csv
import re
from pathlib import Path

import pyarrow as pa

from fuseline_plugin import Refused, serve

WORD = re.compile(r"[a-z]+(?:['’][a-z]+)?")


def read_lexicon(path):
    """Words and their weights, 1 or -1."""
    with open(path, encoding="utf-8", newline="") as file:
        weights = {row["word"]: int(row["weight"]) for row in csv.DictReader(file)}
    wrong = [word for word, weight in weights.items() if weight not in (1, -1)]
    if wrong:
        raise Refused(f"the weight of `{wrong[0]}` in {path.name} is neither 1 nor -1")
    return weights


def score(text, weights, negations, reach):
    """The score of one text, and how many words of the lexicon it holds."""
    positive = negative = 0
    left = 0  # words the last negation still turns round
    for word in WORD.findall((text or "").lower()):
        if word in negations or word.endswith("n't"):
            left = reach
            continue
        weight = weights.get(word, 0) * (-1 if left > 0 else 1)
        positive += weight > 0
        negative += weight < 0
        left = max(left - 1, 0)
    found = positive + negative
    return (positive - negative) / found if found else 0.0, found


def start(greeting):
    options = greeting["options"]
    weights = read_lexicon(Path(__file__).parent / "lexicon.csv")
    negations = {word.lower() for word in options["negations"]}

    def scored(rows):
        results = [score(text, weights, negations, options["reach"]) for text in rows[options["column"]].to_pylist()]
        return pa.table(
            {
                options["as"]: pa.array([result[0] for result in results], pa.float64()),
                options["count_as"]: pa.array([result[1] for result in results], pa.int64()),
            }
        )

    return scored


if __name__ == "__main__":
    serve(start)
