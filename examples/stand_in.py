"""Simulate human annotators: python examples/stand_in.py TASKS ANSWERS.

TASKS is an export of `pairbench export` for Label Studio or as CSV; ANSWERS is the file that the
tool would export. Two annotators prefer lists and three to five tips, and do not always agree.
"""

import csv
import json
import random
import sys
from pathlib import Path


def draw_label(first: str, second: str, rng: random.Random) -> str:
    """Draw an annotator's label of a pair."""
    if rng.random() < 0.04:
        return "skip"
    utilities = [("- " in text) - abs(text.count(".") - 4) / 2 for text in (first, second)]
    difference = utilities[0] - utilities[1] + rng.gauss(0, 0.5)
    return "tie" if abs(difference) < 0.2 else "first" if difference > 0 else "second"


def label_studio(tasks: Path, answers: Path, rng: random.Random) -> None:
    """Annotate a project of Label Studio, JSON."""
    project = json.loads(tasks.read_text())
    number = 0
    for task in project:
        task["annotations"] = []
        for annotator in (1, 2):
            number += 1
            answer = draw_label(task["data"]["first"], task["data"]["second"], rng)
            result = {"from_name": "preferred", "type": "choices", "value": {"choices": [answer]}}
            task["annotations"].append(
                {"id": number, "completed_by": annotator, "result": [result]}
            )
    answers.write_text(json.dumps(project))


def spreadsheet(tasks: Path, answers: Path, rng: random.Random) -> None:
    """Annotate a CSV file."""
    with tasks.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with answers.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            answer = draw_label(row["first"], row["second"], rng)
            writer.writerow(row | {"preferred": answer, "annotator": "ann"})


def main() -> None:
    """Annotate all tasks of a file."""
    tasks, answers = Path(sys.argv[1]), Path(sys.argv[2])
    annotate = spreadsheet if tasks.suffix == ".csv" else label_studio
    annotate(tasks, answers, random.Random(0))


if __name__ == "__main__":
    main()
