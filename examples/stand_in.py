"""Answer in place of people: python examples/stand_in.py TASKS ANSWERS.

TASKS are Label Studio's tasks as `pairbench export` writes them, or its CSV; ANSWERS is what the
tool would give back. Two annotators like lists and three to five tips, and do not always agree.
"""

import csv
import json
import random
import sys
from pathlib import Path


def opinion(first: str, second: str, rng: random.Random) -> str:
    """What one annotator says."""
    if rng.random() < 0.04:
        return "skip"
    liked = [("- " in text) - abs(text.count(".") - 4) / 2 for text in (first, second)]
    difference = liked[0] - liked[1] + rng.gauss(0, 0.5)
    return "tie" if abs(difference) < 0.2 else "first" if difference > 0 else "second"


def label_studio(tasks: Path, answers: Path, rng: random.Random) -> None:
    """Fill in a project's JSON export."""
    project = json.loads(tasks.read_text())
    number = 0
    for task in project:
        task["annotations"] = []
        for annotator in (1, 2):
            number += 1
            answer = opinion(task["data"]["first"], task["data"]["second"], rng)
            result = {"from_name": "preferred", "type": "choices", "value": {"choices": [answer]}}
            task["annotations"].append(
                {"id": number, "completed_by": annotator, "result": [result]}
            )
    answers.write_text(json.dumps(project))


def spreadsheet(tasks: Path, answers: Path, rng: random.Random) -> None:
    """Fill in a CSV."""
    with tasks.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with answers.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            answer = opinion(row["first"], row["second"], rng)
            writer.writerow(row | {"preferred": answer, "annotator": "ann"})


def main() -> None:
    """Answer all tasks."""
    tasks, answers = Path(sys.argv[1]), Path(sys.argv[2])
    fill = spreadsheet if tasks.suffix == ".csv" else label_studio
    fill(tasks, answers, random.Random(0))


if __name__ == "__main__":
    main()
