"""Small pool files with texts that nobody wrote."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Rows = list[dict[str, Any]]
Write = Callable[..., Path]
MadeUp = Callable[..., Rows]


@pytest.fixture(scope="session")
def made_up() -> MadeUp:
    """Prompts with completions of made-up words, in the wide layout."""
    return _made_up


def _made_up(prompts: int = 12, completions: int = 5, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)

    def text(words: int) -> str:
        return " ".join(f"word{w}" for w in rng.integers(40, size=words)).capitalize() + "."

    return [
        {
            "prompt": f"Question {x}?",
            "completions": [text(int(rng.integers(3, 60))) for _ in range(completions)],
        }
        for x in range(prompts)
    ]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows, text or bytes into a file of the test's folder."""

    def put(content: Sequence[Any] | str | bytes, name: str = "pool.jsonl") -> Path:
        path = tmp_path / name
        if isinstance(content, str):
            content = content.encode()
        if not isinstance(content, bytes):
            content = "".join(json.dumps(row) + "\n" for row in content).encode()
        path.write_bytes(content)
        return path

    return put
