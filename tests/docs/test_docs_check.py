"""The documentation check passes on this repository and finds every planted mistake."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import check_docs  # noqa: E402
import docs_reference  # noqa: E402

VERBS = docs_reference.verbs()


def test_the_documentation_of_this_repository_is_true():
    problems, looked_at = check_docs.check_all()
    assert problems == []
    assert looked_at["pages"] > 30
    assert looked_at["links"] > 40
    assert looked_at["commands"] > 50
    assert looked_at["python blocks"] > 8


def page(tmp_path, text):
    (tmp_path / "Makefile").write_text("demo: x\n\techo\n")
    (tmp_path / "other.md").write_text("# Other page\n\n## Its `second` heading\n")
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    return check_docs.read_page(tmp_path / "page.md", tmp_path)


def problems_of(tmp_path, text):
    read = page(tmp_path, text)
    return [
        *check_docs.check_links(read),
        *check_docs.check_paths(read),
        *check_docs.check_commands(read, VERBS),
        *check_docs.check_code(read),
    ]


GOOD = {
    "a link": "[x](other.md), [y](other.md#its-second-heading), [z](https://example.org/x)",
    "a link to its own heading": "# A (b): c\n\n[x](#a-b-c)",
    "a command": "```console\n$ clearsight train photos --out runs/1 --time 10m\nTrained.\n```",
    "two commands": "```bash\nmake demo && clearsight serve a b --port 0 | cat\n```",
    "a command over two lines": "```bash\nclearsight predict r \\\n  x --out t.csv\n```",
    "inline": "Use `clearsight train DATA --out RUN --resume`, `--time 10m` and `make demo`.",
    "a foreign command": "```bash\ncurl --data-binary @x.jpg http://127.0.0.1\n```",
    "python": "```python\nfrom clearsight.core.errors import DataError\n```",
    "a doctest": "```python\n>>> from clearsight.core.durations import seconds\n>>> seconds('2m')\n"
    "120.0\n```",
    "a doctest that goes on": "```python\n>>> a = 1\n```\n\n```python\n>>> a + 1\n2\n```",
    "json": '```json\n{"a": 1}\n```',
    "a path to write": "Put `src/my_file.py` there.",
}
BAD = {
    "a link to nothing": ("[x](missing.md)", "leads nowhere"),
    "a picture that is not there": ("![x](missing.png)", "leads nowhere"),
    "a heading that is not there": ("[x](other.md#third)", "no heading #third"),
    "an unknown verb": ("```console\n$ clearsight trian photos\n```", "no verb 'trian'"),
    "an unknown option": ("```bash\nclearsight train x --epoch 3\n```", "no option '--epoch'"),
    "the second command": ("```sh\nmake demo && clearsight fly x\n```", "no verb 'fly'"),
    "an unknown option inline": ("`clearsight serve RUN --prot 1`", "no option '--prot'"),
    "an option no verb has": ("Give `--fast`.", "no verb has the option --fast"),
    "an unknown make target": ("```bash\nmake deom\n```", "no make target 'deom'"),
    "a missing example": ("```bash\npython examples/99_x.py\n```", "there is no 'examples/99_x"),
    "python that does not compile": ("```python\ndef f(:\n```", "not valid"),
    "a module that is not there": ("```python\nimport clearsight.nothing\n```", "cannot import"),
    "a name that is not there": (
        "```python\nfrom clearsight.core.errors import Nope\n```",
        "has no 'Nope'",
    ),
    "a wrong doctest": ("```python\n>>> 1 + 1\n3\n```", "example fails"),
    "broken json": ("```json\n{a: 1}\n```", "not valid"),
    "broken toml": ("```toml\na =\n```", "not valid"),
    "code without a language": ("```\nx\n```", "names no language"),
    "an open code block": ("```python\nx = 1\n", "not closed"),
    "a path that is not there": ("See `src/clearsight/gone.py`.", "there is no 'src/clearsight/g"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_right_is_accepted(tmp_path, name):
    assert problems_of(tmp_path, GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_a_planted_mistake_is_found(tmp_path, name):
    text, expected = BAD[name]
    found = problems_of(tmp_path, text)
    assert len(found) == 1, found
    assert expected in found[0]
    assert found[0].startswith("page.md")


README = """# Title

Words [link](README.zh-CN.md).

```bash
make demo   # words
```

| a | b |
| --- | --- |
| accuracy | 0.93 |
"""
TRANSLATED = README.replace("words", "字").replace("Words", "字").replace("accuracy", "准确率")
DIFFERENT = {
    "a heading more": TRANSLATED + "\n## More\n",
    "a heading of another level": TRANSLATED.replace("# Title", "## Title"),
    "another command": TRANSLATED.replace("make demo", "make test"),
    "a code block less": TRANSLATED.replace("```bash\nmake demo   # 字\n```\n", ""),
    "a row less": TRANSLATED.replace("| 准确率 | 0.93 |\n", ""),
    "a column more": TRANSLATED.replace("0.93 |", "0.93 | x |"),
    "another figure": TRANSLATED.replace("0.93", "0.95"),
    "another link": TRANSLATED.replace("README.zh-CN.md", "docs/index.md"),
}


def both(tmp_path, translated):
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    swapped = translated.replace("README.zh-CN.md", "README.md")
    (tmp_path / "README.zh-CN.md").write_text(swapped, encoding="utf-8")
    names = ("README.md", "README.zh-CN.md")
    one, other = (check_docs.read_page(tmp_path / name, tmp_path) for name in names)
    return list(check_docs.check_same_structure(one, other))


def test_a_translation_has_the_same_structure(tmp_path):
    assert both(tmp_path, TRANSLATED) == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_translation_that_differs_is_found(tmp_path, name):
    assert DIFFERENT[name] != TRANSLATED
    assert both(tmp_path, DIFFERENT[name])


@pytest.fixture
def repository(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


@pytest.mark.parametrize("name", sorted(docs_reference.GENERATED))
def test_a_generated_table_that_was_edited_is_found_and_written_again(repository, name):
    text = (repository / name).read_text(encoding="utf-8")
    row = next(line for line in text.split(docs_reference.BEGIN)[1].splitlines() if "| `" in line)
    (repository / name).write_text(text.replace(row + "\n", ""), encoding="utf-8")
    found = list(check_docs.check_generated(repository, write=False))
    assert len(found) == 1
    assert found[0].startswith(name)
    assert list(check_docs.check_generated(repository, write=True)) == []
    assert (repository / name).read_text(encoding="utf-8") == text


def test_a_page_that_lost_its_markers_is_found(repository):
    file = repository / "docs/reference/errors.md"
    text = file.read_text(encoding="utf-8").replace(docs_reference.END, "")
    file.write_text(text, encoding="utf-8")
    assert "0 generated places" in next(check_docs.check_generated(repository, write=True))


@pytest.mark.parametrize("name", sorted(docs_reference.must_name()))
def test_a_reference_page_that_forgets_something_is_found(repository, name):
    word = sorted(docs_reference.must_name()[name])[-1]
    text = (repository / name).read_text(encoding="utf-8")
    (repository / name).write_text(text.replace(f"`{word}`", "it"), encoding="utf-8")
    assert list(check_docs.check_names(repository)) == [f"{name}: does not mention `{word}`"]


def test_a_decision_number_that_is_used_twice_is_found(repository):
    decisions = repository / "docs/decisions"
    assert list(check_docs.check_decisions(repository)) == []
    (decisions / "0001-again.md").write_text("# Again\n")
    (decisions / "notes.md").write_text("# Notes\n")
    found = list(check_docs.check_decisions(repository))
    assert len(found) == 2
    assert any("same number" in problem for problem in found)
    assert any("notes.md" in problem for problem in found)
