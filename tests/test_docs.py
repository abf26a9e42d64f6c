"""Pages with examples are run: what they say is what the code does."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(page for page in DOCS.glob("*.md") if ">>> " in page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page_hold(page: Path) -> None:
    # A closing fence would be read as output that is expected.
    text = page.read_text(encoding="utf-8").replace("\n```\n", "\n\n\n")
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    outcome = runner.run(examples)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_the_tutorial_is_short() -> None:
    """A component takes one file of fewer than 40 lines."""
    text = (DOCS / "tutorial-component.md").read_text(encoding="utf-8")
    code = text.split("```python")[1].split("```")[0].strip().splitlines()
    assert len(code) < 40
