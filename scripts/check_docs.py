"""Checks that the documentation is true: links, commands, code, tables, and two equal READMEs.

python scripts/check_docs.py            check everything; exit 1 and one line a problem
python scripts/check_docs.py --write    put the generated tables into the pages first
"""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docs_reference
from docs_reference import BEGIN, END, Parameter

ROOT = Path(__file__).resolve().parent.parent
SHELLS = ("console", "bash", "sh", "shell")
BETWEEN_COMMANDS = {"&&", "||", "|", ";", "&"}
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)[^)]*\)")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
REPOSITORY_PATH = re.compile(r"(src|tests|docs|scripts|examples|benchmarks)/[\w./-]+\w/?")


@dataclass
class Block:
    """One fenced code block.

    Args:
        language: the word after the fence.
        line: number of its first line of code.
        text: the code.
    """

    language: str
    line: int
    text: str


@dataclass
class Page:
    """One Markdown file, read.

    Args:
        path: the file.
        root: the repository.
        blocks: its fenced code.
        prose: (line number, text) of everything else.
    """

    path: Path
    root: Path
    blocks: list[Block] = field(default_factory=list)
    prose: list[tuple[int, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def headings(self) -> list[tuple[int, str]]:
        """Level and text of every heading."""
        found = [re.fullmatch(r"(#{1,6}) +(.+?) *", text) for _, text in self.prose]
        return [(len(match[1]), match[2]) for match in found if match]

    @property
    def rows(self) -> list[str]:
        """Every table row."""
        return [text for _, text in self.prose if text.lstrip().startswith("|")]

    def inline(self) -> Iterator[tuple[int, str]]:
        """Yield line and text of everything in code style."""
        for line, text in self.prose:
            for match in INLINE.finditer(text):
                yield line, match[1]


def read_page(path: Path, root: Path = ROOT) -> Page:
    """Read one Markdown file into blocks and prose."""
    page, block = Page(path, root), None
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r" *```+(\S*)", text)
        if fence and block is None:
            block = Block(fence[1], number + 1, "")
        elif fence and block is not None:
            page.blocks.append(block)
            block = None
        elif block is not None:
            block.text += text + "\n"
        else:
            page.prose.append((number, text))
    if block is not None:
        page.prose.append((block.line, "UNCLOSED CODE BLOCK"))
    return page


def pages(root: Path = ROOT) -> list[Page]:
    """Return every page: the two READMEs, the change log and docs/."""
    top = [root / name for name in ("README.md", "README.zh-CN.md", "CHANGELOG.md")]
    found = [path for path in top if path.is_file()] + sorted((root / "docs").rglob("*.md"))
    return [read_page(path, root) for path in found]


def check_links(page: Page) -> Iterator[str]:
    """Every relative link names a file that is there, and a heading that is in it."""
    for line, text in page.prose:
        if text == "UNCLOSED CODE BLOCK":
            yield f"{page.name}:{line}: a code block is not closed"
        for match in LINK.finditer(INLINE.sub("", text)):
            target, _, anchor = match[1].partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            file = (page.path.parent / target).resolve() if target else page.path
            if not file.exists():
                yield f"{page.name}:{line}: the link {match[1]!r} leads nowhere"
            elif anchor and anchor not in _anchors(file, page.root):
                yield f"{page.name}:{line}: {file.name} has no heading #{anchor}"


def check_paths(page: Page) -> Iterator[str]:
    """Every path of this repository named in code style exists; `my_...` files are the reader's."""
    for line, code in page.inline():
        ours = REPOSITORY_PATH.fullmatch(code) and not Path(code).name.startswith("my_")
        if ours and not (page.root / code).exists():
            yield f"{page.name}:{line}: there is no {code!r} in this repository"


def check_commands(page: Page, verbs: dict[str, list[Parameter]]) -> Iterator[str]:
    """Every `clearsight` command has a real verb and real options; every make target exists."""
    for line, command in _commands(page):
        problem = _wrong(command, verbs, page.root)
        if problem:
            yield f"{page.name}:{line}: {problem} in: {' '.join(command)}"
    options = {name for items in verbs.values() for item in items for name in item.names}
    options |= {"--help", "--version"}
    for line, code in page.inline():
        if re.fullmatch(r"--[a-z][a-z-]*( .*)?", code) and code.split()[0] not in options:
            yield f"{page.name}:{line}: no verb has the option {code.split()[0]}"


def check_code(page: Page) -> Iterator[str]:
    """Python compiles, its clearsight imports exist, doctests run; JSON and TOML parse."""
    globs: dict[str, object] = {}
    for block in page.blocks:
        where = f"{page.name}:{block.line}"
        try:
            if block.language == "json":
                json.loads(block.text)
            elif block.language == "toml":
                tomllib.loads(block.text)
            elif block.language == "python" and ">>>" in block.text:
                yield from _doctest(block, where, globs)
            elif block.language == "python":
                yield from _imports(ast.parse(block.text), where)
            elif not block.language:
                yield f"{where}: a code block names no language (use text)"
        except (SyntaxError, ValueError) as error:
            yield f"{where}: this {block.language} is not valid: {error}"


def check_same_structure(one: Page, other: Page) -> Iterator[str]:
    """Two translations have the same headings, code, tables, links and figures."""
    for what, show in STRUCTURE.items():
        first, second = show(one), show(other)
        if first == second:
            continue
        pairs = zip([*first, None], [*second, None], strict=False)
        got = next((pair for pair in pairs if pair[0] != pair[1]), (None, None))
        yield f"{one.name} and {other.name} differ in {what}: {got[0]!r} beside {got[1]!r}"


STRUCTURE: dict[str, Callable[[Page], list[object]]] = {
    "headings": lambda page: [level for level, _ in page.headings],
    "code": lambda page: [(b.language, re.sub(r"#.*", "", b.text)) for b in page.blocks],
    "table columns": lambda page: [row.count("|") for row in page.rows],
    "figures in tables": lambda page: [re.findall(r"\d[\d.,]*", row) for row in page.rows],
    "links": lambda page: [
        match[1].replace("README.zh-CN.md", "README.md")
        for _, text in page.prose
        for match in LINK.finditer(text)
    ],
}


def check_generated(root: Path, write: bool) -> Iterator[str]:
    """Every generated table in a page is what the code gives now."""
    for name, makers in docs_reference.GENERATED.items():
        text = (root / name).read_text(encoding="utf-8")
        parts = re.split(f"({re.escape(BEGIN)}\n.*?{re.escape(END)})", text, flags=re.DOTALL)
        if len(parts) != 2 * len(makers) + 1:
            yield f"{name}: has {len(parts) // 2} generated places instead of {len(makers)}"
            continue
        parts[1::2] = [f"{BEGIN}\n\n{make()}\n\n{END}" for make in makers]
        if "".join(parts) != text and write:
            (root / name).write_text("".join(parts), encoding="utf-8")
        elif "".join(parts) != text:
            yield f"{name}: differs from the code; run scripts/check_docs.py --write"


def check_names(root: Path) -> Iterator[str]:
    """Every reference page names what it must, in code style."""
    for name, words in docs_reference.must_name().items():
        page = read_page(root / name, root)
        named = {code for _, code in page.inline()}
        for word in sorted(words - named):
            yield f"{name}: does not mention `{word}`"


def check_decisions(root: Path) -> Iterator[str]:
    """Decisions are numbered, each number is used once."""
    numbers: dict[str, str] = {}
    for path in sorted((root / "docs" / "decisions").glob("[!R]*.md")):
        match = re.match(r"(\d{4})-[a-z0-9-]+\.md", path.name)
        if match is None:
            yield f"docs/decisions/{path.name}: is not named NNNN-some-words.md"
        elif match[1] in numbers:
            yield f"docs/decisions/{path.name}: {numbers[match[1]]} has the same number"
        else:
            numbers[match[1]] = path.name


def check_all(root: Path = ROOT, write: bool = False) -> tuple[list[str], dict[str, int]]:
    """Return every problem, and how much was looked at."""
    problems = list(check_generated(root, write))
    every, verbs = pages(root), docs_reference.verbs()
    for page in every:
        problems += [*check_links(page), *check_paths(page), *check_commands(page, verbs)]
        problems += check_code(page)
    english, chinese = (read_page(root / n, root) for n in ("README.md", "README.zh-CN.md"))
    problems += [*check_same_structure(english, chinese), *check_names(root)]
    problems += check_decisions(root)
    looked_at = {
        "pages": len(every),
        "links": sum(len(LINK.findall(text)) for page in every for _, text in page.prose),
        "commands": sum(1 for page in every for _ in _commands(page)),
        "python blocks": sum(b.language == "python" for page in every for b in page.blocks),
    }
    problems += [f"nothing to look at: {what}" for what, count in looked_at.items() if not count]
    return problems, looked_at


def _commands(page: Page) -> Iterator[tuple[int, list[str]]]:
    for block in page.blocks:
        if block.language in SHELLS:
            prompts = "$ " in block.text and block.language == "console"
            text = block.text.replace("\\\n", " ")
            for offset, line in enumerate(text.splitlines()):
                if not prompts or line.startswith("$ "):
                    for command in _split(line.removeprefix("$ ")):
                        yield block.line + offset, command
    for line, code in page.inline():
        if re.match(r"(clearsight|make) [a-z-]", code):
            for command in _split(code):
                yield line, command


def _split(line: str) -> Iterator[list[str]]:
    try:
        tokens = shlex.split(line, comments=True)
    except ValueError:
        return
    command: list[str] = []
    for token in [*tokens, ";"]:
        if token in BETWEEN_COMMANDS or token.endswith(";"):
            command += (
                [token.rstrip(";")] if token.rstrip(";") not in BETWEEN_COMMANDS | {""} else []
            )
            if command:
                yield command
            command = []
        else:
            command.append(token)


def _wrong(command: list[str], verbs: dict[str, list[Parameter]], root: Path) -> str:
    words = [word for word in command if "=" not in word or word.startswith("-")]
    if not words:
        return ""
    program, rest = words[0].rsplit("/", 1)[-1], words[1:]
    if program == "make":
        rules = (root / "Makefile").read_text(encoding="utf-8")
        bad = [word for word in rest if not re.search(rf"^{re.escape(word)}:", rules, re.MULTILINE)]
        return f"no make target {bad[0]!r}" if bad else ""
    if program.startswith("python") and rest and re.match(r"(examples|scripts)/", rest[0]):
        return "" if (root / rest[0]).is_file() else f"there is no {rest[0]!r}"
    if program != "clearsight" or not rest or rest[0] in ("--help", "-h", "--version"):
        return ""
    verb = " ".join(rest[:2])  # of a group: "keys create"
    if verb not in verbs:
        verb = rest[0]
    if verb not in verbs:
        group = sorted(name for name in verbs if name.startswith(f"{verb} "))
        unknown = " ".join(rest[:2]) if group else verb
        return "" if group and len(rest) == 1 else f"no verb {unknown!r}"
    known = {name for item in verbs[verb] for name in item.names} | {"--help", "-h"}
    given = [word.partition("=")[0] for word in rest[1:] if re.match(r"--?[a-z]", word)]
    bad = [name for name in given if name not in known]
    return f"{verb} has no option {bad[0]!r}" if bad else ""


def _doctest(block: Block, where: str, globs: dict[str, object]) -> Iterator[str]:
    test = doctest.DocTestParser().get_doctest(block.text, globs, where, None, 0)
    said: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
    runner.run(test, out=said.append, clear_globs=False)
    globs.update(test.globs)
    if runner.failures:
        yield f"{where}: the example fails: {' '.join(''.join(said).split())[:300]}"


def _imports(tree: ast.Module, where: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            wanted = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        for module, name in wanted:
            if module.split(".")[0] != "clearsight":
                continue
            try:
                loaded = importlib.import_module(module)
            except ImportError as error:
                yield f"{where}: cannot import {module}: {error}"
                continue
            if name and not hasattr(loaded, name):
                yield f"{where}: {module} has no {name!r}"


def _anchors(file: Path, root: Path) -> set[str]:
    if file.suffix != ".md":
        return set()
    plain = [re.sub(r"[`*]", "", text).lower() for _, text in read_page(file, root).headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in plain}


def main() -> int:
    """Check, print one line a problem, return the exit code."""
    problems, looked_at = check_all(write="--write" in sys.argv[1:])
    for problem in problems:
        print(problem)
    counts = ", ".join(f"{count} {what}" for what, count in looked_at.items())
    print(f"documentation: {counts}; {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
