"""The README's example runs as it stands."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_example_of_the_readme_runs():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["answers"].shape == (200,)
    assert names["result"].counts.sum() == 200
