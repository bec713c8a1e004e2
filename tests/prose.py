"""Measures the prose of this repository: long sentences, and words to avoid.

    python3 tests/prose.py                      every tracked file
    python3 tests/prose.py src/shell README.md  only these files and folders
    python3 tests/prose.py -q                   only the summary by folder

Each finding is one line, `path:line: what`. The exit status is 1 if there is a finding.

The script reads:
* Markdown pages, table cells one by one, but not code blocks
* comments, doc comments and names of tests
* messages in the code under src/, envoy/ and release/, and the snapshots of errors
* comments and names of steps in the workflows under .github/
* alerts, dashboards and the notes of presets

Text in backticks counts as one word and is not searched: to quote a word, put it in backticks. A sentence
that has to stay as it is belongs in `ALLOWED`, with the reason.
"""

import ast
import collections
import io
import json
import re
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

LONGEST = 25  # words in a sentence

AVOID = {
    r"\bmend(s|ed|ing)?\b": "write 'fix'",
    r"\banew\b": "write 'again'",
    r"\b(nobody|anybody|somebody|whoever)\b": "name the actor",
    r"\bshall\b": "write 'must' or 'will'",
    r"\bas far as\b": "say when",
    r"\b(stands?|stood)\b(?!-)(?! (up|by|alone)\b)": "write 'is', 'means' or 'precedes'",
    r"\b(come|comes|coming|came) to\b": "write 'reach', 'amount to' or 'arrive at'",
    r"\b(tell|tells|told|telling)\b": "write 'report', 'show' or 'distinguish'",
    r"(?<!there )(?<!there)\b(is|are|was|were) no\b(?!\s+(longer|more\sthan|less\sthan)\b)": "write 'is not a'",
    r"\bno\smore\b(?!(\s\w+)?\sthan\b)": "write 'no longer'",
    r"\bof (which|whom)\b": "start a new sentence",
    r"\b(to|by|for|of|from|with|than|but) who\b": "name the actor",
    r"^(test )?([Ww]ho|[Ww]hom|[Ww]hose)\b[^?]*$": "name the actor",
    r"^Should\b[^?]*$": "write 'If'",
    r"^What(ever)?\b(?! to\b)[^?]*\.$": "start with the thing itself",
    r"^Else\b": "write 'Otherwise'",
    r";.*;": "split the sentence, or make a list",
}
# Patterns with `^` need the capital letter that begins a sentence.
AVOID = {re.compile(pattern, re.DOTALL | (0 if pattern.startswith("^") else re.IGNORECASE)): advice
         for pattern, advice in AVOID.items()}

# Part of a sentence -> why it stays.
ALLOWED = {}

CODE = re.compile(r"`+[^`]+`+|<[a-z]+://[^>]*>|https?://\S+")
LINK = re.compile(r"!?\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])")
SENTENCE_END = re.compile(r"""(?<=[.!?])["')\]*]*\s+(?=[A-Z0-9"'(\[*]|code\b)""")
RUST = re.compile(r"""(?P<raw>r(?P<hashes>\#*)".*?"(?P=hashes))|(?P<string>"(?:\\.|[^"\\])*")|'(?:\\.|[^'\\])'"""
                  r"""|(?P<comment>//[^\n]*)""", re.DOTALL)
HASH = re.compile(r"(?:^|\s)#+\s+(.*)")


def markdown(text, line=1):
    """The paragraphs of a page, each with the number of its first line."""
    paragraph, start, fence = [], line, None
    for number, row in enumerate(text.split("\n"), line):
        bare = re.sub(r"^\s*(>\s?)*", "", row)
        bare = re.sub(r"<!-- /?clone -->", "", bare)  # marks of what a release leaves out
        mark = re.match(r"(```+|~~~+)", bare)
        if fence or mark:
            fence = None if fence and bare.startswith(fence) else fence or mark[1]
            bare = ""
        if not bare or re.match(r"([-*+]|\d+[.)])\s|#+\s|\||\[[^\]]+\]: |<!--", bare):
            yield start, "\n".join(paragraph)
            paragraph, start = [], number
        if bare.startswith("|"):
            cells = re.sub(r"`[^`]*`", lambda code: code[0].replace("|", "/"), bare).replace(r"\|", "/")
            yield from ((number, cell) for cell in cells.split("|"))
        elif bare and not re.match(r"\[[^\]]+\]: |<!--", bare):
            paragraph.append(re.sub(r"^([-*+]|\d+[.)]|#+)\s+", "", bare))
            start = number if len(paragraph) == 1 else start
    yield start, "\n".join(paragraph)


def joined(comments):
    """Blocks of comments, from (line, kind, text) of each line: neighbours of one kind belong together."""
    block, first, last = [], 0, None
    for line, kind, text in comments:
        if block and last != (line - 1, kind):
            yield from markdown("\n".join(block), first)
            block = []
        first = first if block else line
        block.append(text)
        last = (line, kind)
    yield from markdown("\n".join(block), first)


def messages(line, text):
    """A string in the code, if a person reads it: at least five words."""
    text = re.sub(r"\\\n\s*", " ", text)
    if len(re.findall(r"(?:^|\s)[A-Za-z]{2,}(?=[\s,.:;]|$)", text)) >= 5 and "\n" not in text.strip():
        yield line, text


def rust(path, text):
    """Comments, messages and names of tests."""
    comments = []
    for match in RUST.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["comment"]:
            kind, words = re.match(r"(//[/!]?)(.*)", match["comment"]).groups()
            before = text[text.rfind("\n", 0, match.start()) + 1:match.start()].strip()
            comments.append((line, (kind, bool(before), line if before else 0), words[1:]))
        elif match["string"] and path.parts[0] == "src":
            yield from messages(line, match["string"][1:-1])
    yield from joined(comments)
    for match in re.finditer(r"#\[test\]\s+fn (\w+)", text):
        yield text.count("\n", 0, match.start(1)) + 1, match[1].replace("_", " ")


def python(path, text):
    """Docstrings, comments, messages and names of tests."""
    tree = ast.parse(text)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            docstrings.add(node.body[0].value)
            yield from markdown(node.body[0].value.value, node.body[0].lineno)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.lineno, node.name.replace("_", " ")
    for node in ast.walk(tree) if path.parts[0] in ("envoy", "release") else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield from messages(node.lineno, node.value)
    yield from joined((token.start[0], token.line.lstrip().startswith("#") or token.start[0], token.string.lstrip("# "))
                      for token in tokenize.generate_tokens(io.StringIO(text).readline)
                      if token.type == tokenize.COMMENT)


def hashes(path, text):
    """Comments after `#`, help after `##`, annotations of alerts, and the introduction of a patch."""
    rows = text.split("\n")
    if path.suffix == ".patch":
        begin = next(number for number, row in enumerate(rows) if row.startswith("--- "))
        yield from markdown("\n".join(rows[:begin]))
        rows = [""] * begin + [row[1:] if row.startswith("+") else "" for row in rows[begin:]]
    comments = []
    for number, row in enumerate(rows, 1):
        match = HASH.search(row)
        if match and row[:match.start()].count('"') % 2 == 0 and not row.startswith("#!"):
            before = row[:match.start()].strip()
            comments.append((number, number if before else 0, match[1]))
    yield from joined(comments)
    for match in re.finditer(r"^ *(?:- )?name: ([^\n]+)", text, re.M) if path.parts[0] == ".github" else ():
        yield text.count("\n", 0, match.start(1)) + 1, match[1].strip("\"'")
    for match in re.finditer(r"^( +)(?:summary|runbook|description): (>-\n(?:\1 .*\n|\n)+|.*)", "\n".join(rows), re.M):
        yield "\n".join(rows)[:match.start()].count("\n") + 1, re.sub(r"^>-", "", match[2]).strip("\"'")


def values(path, text):
    """The texts of a dashboard or a preset."""
    keys = ("notes", "rotation", "sender") if "providers" in path.parts else ("title", "description")
    for match in re.finditer(r'"(\w+)": ("(?:\\.|[^"\\])*")', text):
        if match[1] in keys:
            yield text.count("\n", 0, match.start()) + 1, json.loads(match[2])


READERS = {
    ".md": lambda path, text: markdown(text),
    ".rs": rust, ".mjs": rust, ".py": python, ".json": values,
    ".yaml": hashes, ".yml": hashes, ".toml": hashes, ".patch": hashes, ".ini": hashes, ".sh": hashes, ".conf": hashes, ".cfg": hashes,
    "Makefile": hashes, "Caddyfile": hashes, "run": hashes,
    ".snap": lambda path, text: ((number, re.sub(r"^ +[\w.\[\]]+: |(?<=none of ).*", "", row))
                                 for number, row in enumerate(text.split("\n"), 1) if row.startswith("    ")),
    ".svg": lambda path, text: ((text.count("\n", 0, match.start()) + 1, match[1])
                                for match in re.finditer(r"<text[^>]*>([^<]+)", text)),
}
# The schema is made of the tables in the pages.
OTHERS = re.compile(r"tests/(vectors|fuzz/corpus|sdks/package)|envoy/webhook-guard\.schema|Cargo\.lock|\.git(?!hub)|LICENSE")


def sentences(text):
    """Each sentence with the line it begins on, counted from 0."""
    text = CODE.sub(lambda code: "code" + "\n" * code[0].count("\n"), LINK.sub(r"\1", text))
    at = 0
    for end in [match.end() for match in SENTENCE_END.finditer(text)] + [len(text)]:
        sentence = text[at:end]
        if sentence.strip():
            yield text.count("\n", 0, at + len(sentence) - len(sentence.lstrip())), sentence.strip()
        at = end


def problems(sentence, first):
    """The findings in a sentence, each with its line counted from 0. `first`: it begins a paragraph."""
    if any(part in sentence for part in ALLOWED):
        return
    if words(sentence) > LONGEST:
        yield 0, f"{words(sentence)} words: {' '.join(sentence.split())[:60]}..."
    for pattern, advice in AVOID.items():
        if match := pattern.search(sentence):
            yield sentence.count("\n", 0, match.start()), f"'{' '.join(match[0].split())[:40]}': {advice}"
    if first and sentence.startswith(("It ", "Its ")):
        yield 0, "begins with 'It': name the thing"


def words(sentence):
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split())


def tracked(paths):
    names = subprocess.run(["git", "ls-files", "--", *paths], check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in names.splitlines() if not OTHERS.match(name) and Path(name).exists()]


def main(arguments):
    folders = collections.defaultdict(lambda: ([], []))  # lengths, findings
    for path in tracked([argument for argument in arguments if argument != "-q"]):
        reader = READERS.get(path.suffix) or READERS.get(path.name)
        if not reader:
            continue
        lengths, findings = folders[str(path.parent)]
        found = []
        for line, text in reader(path, path.read_text()):
            for number, (offset, sentence) in enumerate(sentences(text)):
                if words(sentence) > 2:  # a cell or a heading is not a sentence
                    lengths.append(words(sentence))
                found += ((line + offset + below, what) for below, what in problems(sentence, number == 0))
        findings += (f"{path}:{line}: {what}" for line, what in sorted(found))
    if "-q" not in arguments:
        print(*(finding for _, findings in folders.values() for finding in findings), sep="\n")
    print(f"\n{'folder':32} sentences  median  longest  findings")
    for folder, (lengths, findings) in sorted(folders.items()):
        if lengths:
            print(f"{folder:32} {len(lengths):9} {statistics.median(lengths):7.0f} {max(lengths):8} {len(findings):9}")
    return any(findings for _, findings in folders.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
