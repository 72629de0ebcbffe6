#!/usr/bin/env python3
"""The conformance ledger: which test proves which normative statement of MQTT, and which statements have none.

Reads the statements from docs/conformance/*.tsv and the claims from tests/ and fuzz/, and writes docs/conformance.md.
With --check it writes nothing and exits 1 when that page is stale. Either way it exits 1 when any tag or citation in
the tree, `[MQTT-x.y.z-n]` or `[MQTT311-x.y.z-n]`, names no statement: a mistyped number would otherwise prove nothing
and be missed by nobody.

What counts as a claim:
  - a tag of a Catch2 test case, unless the case is hidden or may fail;
  - a tag in a block of a data file, tests/conformance/**/*.txt, outside of its comments;
  - a tag in the docstring or the comments of a Python test function, in the docstring of its class, or an argument of
    its decorator @statements("MQTT-x.y.z-n"), unless the test is skipped or expected to fail;
  - a tag in the opening comment of a fuzz target.
Python's standard library only, and the same output for the same tree.
"""

import argparse
import ast
import os
import re
import sys
import tokenize
from collections import namedtuple
from pathlib import Path

PAGE = "docs/conformance.md"

# Title, prefix of the identifiers, file with the statements.
VERSIONS = (
    ("MQTT 5.0", "MQTT", "docs/conformance/mqtt5.tsv"),
    ("MQTT 3.1.1", "MQTT311", "docs/conformance/mqtt311.tsv"),
)
# bridge: a server that connects to other servers as well, which this one does not.
BINDS = ("server", "client", "both", "bridge", "-")

TAG = re.compile(r"\[(MQTT(?:311)?-\d+\.\d+\.\d+-\d+)\]")
# Whatever looks meant as a tag; what of it is not a TAG is a slip of the pen.
MEANT_AS_TAG = re.compile(r"\[\s*MQTT[\w.]*-\d[^\]\n]*\]", re.IGNORECASE)

CPP_SUFFIXES = {".cc", ".cpp", ".cxx", ".h", ".hpp"}
# Folders whose citations have to name statements that exist, and the files in them that are read for it.
CITING_FOLDERS = ("include", "lib", "tests", "fuzz", "bench", "examples", "bindings", "docs")
CITING_SUFFIXES = CPP_SUFFIXES | {".c", ".py", ".go", ".js", ".mjs", ".md", ".txt"}
SKIPPED_FOLDERS = {"node_modules", "__pycache__", "build", "venv", "corpus"}
# The tests of the tools quote tags, also wrong ones, and prove nothing about MQTT.
TOOL_TESTS = "tests/tools"

# Tests that see packets and no broker: that a breach is seen is half of what a statement about conduct asks.
CODEC_TESTS = ("tests/conformance/", "tests/unit/codec/", "tests/unit/message/", "fuzz/")

Statement = namedtuple("Statement", "id binds summary")
# One test and the identifiers it names. `counted` is false for a test that does not run, or may fail, by default.
Claim = namedtuple("Claim", "line test ids counted")
Proof = namedtuple("Proof", "file line test")


class LedgerError(Exception):
    """A file of ours that cannot be understood; the text says which and where."""


def order(statement_id):
    """Sorts identifiers as the standard does: by number, not by letter."""
    return [int(number) for number in re.findall(r"\d+", statement_id.split("-", 1)[1])]


def load_statements(path, prefix):
    """The statements of one version, in the standard's order. Columns: id, binds, summary."""
    statements = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#") or line == "id\tbinds\tsummary":
            continue
        fields = line.split("\t")
        where = f"{path.name}:{number}"
        if len(fields) != 3 or not fields[2].strip():
            raise LedgerError(f"{where}: want three columns: id, binds, summary")
        statement = Statement(*fields)
        if not TAG.fullmatch(f"[{statement.id}]") or statement.id.split("-")[0] != prefix:
            raise LedgerError(f"{where}: {statement.id!r} is not an identifier of this version")
        if statement.binds not in BINDS:
            raise LedgerError(f"{where}: binds is one of {', '.join(BINDS)}, not {statement.binds!r}")
        if statements and order(statement.id) <= order(statements[-1].id):
            raise LedgerError(f"{where}: {statement.id} comes twice or out of order")
        statements.append(statement)
    return statements


# --- claims of the tests -----------------------------------------------------------------------------------------

CPP_TOKEN = re.compile(
    r"""
      (?P<comment> //(?:\\\n|[^\n])* | /\*.*?\*/ )
    | (?P<raw> (?:u8|[uUL])?R"(?P<fence>[^\s()\\]{0,16})\((?P<body>.*?)\)(?P=fence)" )
    | (?P<string> (?:u8|[uUL])?"(?:\\.|[^"\\\n])*" )
    | (?P<char> (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+' )    # after a digit, ' separates digits
    | (?P<word> \w+ )
    | (?P<other> [^\s\w] )
    """,
    re.VERBOSE | re.DOTALL,
)
TEST_MACRO = re.compile(
    r"(?:TEMPLATE_(?:PRODUCT_|LIST_)?)?(?:TEST_CASE|SCENARIO)(?:_PERSISTENT_FIXTURE|_METHOD)?(?:_SIG)?"
    r"|METHOD_AS_TEST_CASE|REGISTER_TEST_CASE"
)
# Catch2 leaves hidden cases out of a plain run and forgives failures of the others.
PROVES_NOTHING = re.compile(r"\[\.|\[!(?:mayfail|shouldfail|benchmark|hide)\]")


def literal_value(token):
    if token["raw"] is not None:
        return token["body"]
    text = token["string"]
    return re.sub(r"\\(.)", r"\1", text[text.index('"') + 1 : -1], flags=re.DOTALL)


def macro_literals(tokens, begin):
    """The arguments of the macro whose `(` is tokens[begin], those that are string literals, adjacent ones joined."""
    literals, pieces, plain, depth = [], [], True, 0
    for token in tokens[begin:]:
        text = token.group()
        if token["raw"] is not None or token["string"] is not None:
            pieces.append(literal_value(token))
            continue
        if text in "([{":
            depth += 1
        elif text in ")]}":
            depth -= 1
        if depth == 0 or (depth == 1 and text == ","):
            if pieces and plain:
                literals.append("".join(pieces))
            pieces, plain = [], True
            if depth == 0:
                return literals
        elif not (depth == 1 and text == "("):
            plain = False
    return literals


def scan_cpp(text):
    """The test cases of a C++ file whose tags name statements. Comments hold no tests."""
    tokens = [token for token in CPP_TOKEN.finditer(text) if token["comment"] is None]
    for index, token in enumerate(tokens[:-1]):
        if token["word"] is None or not TEST_MACRO.fullmatch(token["word"]) or tokens[index + 1].group() != "(":
            continue
        literals = macro_literals(tokens, index + 1)
        if len(literals) < 2:
            continue
        name, tags = literals[0], literals[1]
        ids = TAG.findall(tags)
        if ids:
            yield Claim(text.count("\n", 0, token.start()) + 1, name, ids, not PROVES_NOTHING.search(tags))


def scan_fuzz_target(text):
    """A fuzz target makes one claim, with the tags of the comment that opens its file."""
    ids = []
    for token in CPP_TOKEN.finditer(text):
        if token["comment"] is None:
            break
        ids += TAG.findall(token.group())
    if ids:
        yield Claim(1, "fuzz target", ids, True)


SKIP_MARKS = {"skip", "xfail", "expectedFailure"}


def called_name(decorator):
    """`pytest.mark.skip(...)` -> "skip": the last name of what is called."""
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def decorator_ids(decorators):
    """The arguments of @statements(...), in brackets, so that the same rules read them as any other tag."""
    return [
        f"[{argument.value.strip('[]')}]"
        for decorator in decorators
        if isinstance(decorator, ast.Call) and called_name(decorator) == "statements"
        for argument in decorator.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def python_tests(tree):
    """Each test function with its class, or None; also those in nested classes."""
    pending = [(node, None) for node in tree.body]
    while pending:
        node, owner = pending.pop(0)
        if isinstance(node, ast.ClassDef):
            pending = [(child, node) for child in node.body] + pending
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
            yield node, owner


def scan_python(text):
    """The test functions of a Python file that name statements."""
    lines = iter(text.splitlines(keepends=True))
    comments = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(lambda: next(lines, ""))
        if token.type == tokenize.COMMENT
    ]
    for function, owner in python_tests(ast.parse(text)):
        first = min([function.lineno] + [decorator.lineno for decorator in function.decorator_list])
        told = [ast.get_docstring(function) or ""]
        told += [comment for line, comment in comments if first <= line <= function.end_lineno]
        decorators = list(function.decorator_list)
        name = function.name
        if owner is not None:
            told.append(ast.get_docstring(owner) or "")
            decorators += owner.decorator_list
            name = f"{owner.name}.{name}"
        told += decorator_ids(decorators)
        ids = [statement_id for piece in told for statement_id in TAG.findall(piece)]
        if ids:
            runs = not any(called_name(decorator) in SKIP_MARKS for decorator in decorators)
            yield Claim(function.lineno, name, ids, runs)


def scan_data(text):
    """The blocks of a data file that name statements. Empty lines part blocks; a line that begins with # is a comment,
    and claims nothing. A block is called what its line `title:` says, or its first line if there is none."""
    block, begin = [], 1
    for number, line in enumerate(text.splitlines() + [""], 1):
        if line.startswith("#"):
            continue
        if line.strip():
            begin = begin if block else number
            block.append(line)
            continue
        ids = TAG.findall("\n".join(block))
        if ids:
            titles = [spoken.partition(":")[2] for spoken in block if spoken.startswith("title:")]
            yield Claim(begin, TAG.sub("", (titles + block)[0]).strip(), ids, True)
        block = []


def scanner_of(path):
    """Which scanner reads the file with this path (relative, with slashes), or None."""
    suffix = os.path.splitext(path)[1]
    if path.startswith(TOOL_TESTS + "/"):
        return None
    if path.startswith("tests/conformance/") and suffix == ".txt" and not path.endswith("/CMakeLists.txt"):
        return scan_data
    if path.startswith("tests/"):
        return scan_python if suffix == ".py" else scan_cpp if suffix in CPP_SUFFIXES else None
    if path.startswith("fuzz/") and suffix in CPP_SUFFIXES:
        return scan_fuzz_target
    return None


# --- the tree ----------------------------------------------------------------------------------------------------


def files_under(root, folder):
    """Paths relative to root, in one order on every machine."""
    for where, folders, names in os.walk(root / folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("."))
        for name in sorted(names):
            yield (Path(where) / name).relative_to(root).as_posix()


def wrong_tags(path, text, known):
    """One line per tag or citation that names no statement."""
    meant = [(text.count("\n", 0, match.start()) + 1, match.group()) for match in MEANT_AS_TAG.finditer(text)]
    if path.endswith(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and called_name(node) == "statements":
                meant += [(node.lineno, tag) for tag in decorator_ids([node])]
    for line, tag in sorted(set(meant)):
        match = TAG.fullmatch(tag)
        if not match:
            yield f"{path}:{line}: {tag} is not written as a tag, [MQTT-x.y.z-n] or [MQTT311-x.y.z-n]"
        elif match[1] not in known:
            yield f"{path}:{line}: {tag} names no statement"


def collect(root, known):
    """What the tree claims: identifier -> proofs in the order of the files, the uncounted tests, the errors."""
    proofs, uncounted, errors = {}, [], []
    for folder in CITING_FOLDERS:
        for path in files_under(root, folder):
            if path == PAGE or path.startswith(TOOL_TESTS + "/") or os.path.splitext(path)[1] not in CITING_SUFFIXES:
                continue
            text = (root / path).read_text(encoding="utf-8", errors="replace")
            try:
                errors += wrong_tags(path, text, known)
                scanner = scanner_of(path)
                claims = list(scanner(text)) if scanner else []
            except (SyntaxError, tokenize.TokenError) as error:
                errors.append(f"{path}: not understood: {error}")
                continue
            for claim in claims:
                proof = Proof(path, claim.line, claim.test)
                if not claim.counted:
                    uncounted.append(proof)
                    continue
                for statement_id in dict.fromkeys(claim.ids):
                    proofs.setdefault(statement_id, []).append(proof)
    return proofs, uncounted, errors


# --- the page ----------------------------------------------------------------------------------------------------


def cell(text):
    """Text that a table's cell shows as it is."""
    text = " ".join(text.split())
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def tests_cell(proofs):
    by_file = {}
    for proof in proofs:
        by_file.setdefault(proof.file, []).append(cell(proof.test))
    return "<br>".join(f"`{file}`: {'; '.join(dict.fromkeys(tests))}" for file, tests in by_file.items())


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def by_codec_alone(proofs):
    return all(proof.file.startswith(CODEC_TESTS) for proof in proofs)


def parted(statements, proofs):
    """The three parts of a version: proved and owed, of what binds a server, and the rest."""
    server = [statement for statement in statements if statement.binds in ("server", "both")]
    proved = [statement for statement in server if statement.id in proofs]
    owed = [statement for statement in server if statement.id not in proofs]
    rest = [statement for statement in statements if statement.binds not in ("server", "both")]
    return proved, owed, rest


def render(versions, proofs, uncounted):
    """The whole page. versions: (title, statements) each; proofs: identifier -> list of Proof."""
    lines = [
        "# Conformance to MQTT",
        "",
        "Which test proves which normative statement. Written by `tools/conformance.py` from the tags of the tests:",
        "edit the tests or `docs/conformance/*.tsv`, not this page. A tag is what a test's author claims, and this",
        "page counts claims. The summaries are ours; the standards alone are binding. Statements of MQTT 3.1.1 are",
        "written `MQTT311-x.y.z-n`. *By codec* marks statements shown on decoded or encoded packets alone: that the",
        "broker then acts as it has to is not shown.",
        "",
    ]
    counts = []
    for title, statements in versions:
        proved, owed, rest = parted(statements, proofs)
        bound = len(proved) + len(owed)
        alone = sum(by_codec_alone(proofs[statement.id]) for statement in proved)
        numbers = (len(statements), bound, len(proved), alone, len(owed), len(rest))
        counts.append([title] + [str(number) for number in numbers])
    heads = ["Version", "Statements", "Bind a server", "Proved", "of these by codec", "Owed", "Not of this server"]
    lines += table(heads, counts)
    if uncounted:
        lines += ["Not counted, since they are hidden, skipped or allowed to fail:", ""]
        lines += [f"- `{proof.file}`: {cell(proof.test)}" for proof in uncounted] + [""]
    for title, statements in versions:
        proved, owed, rest = parted(statements, proofs)
        lines += [f"## {title}", "", f"### Proved: {len(proved)}", ""]
        if proved:
            rows = []
            for statement in proved:
                tests = proofs[statement.id]
                by = "codec" if by_codec_alone(tests) else "broker"
                rows.append([statement.id, cell(statement.summary), by, tests_cell(tests)])
            lines += table(["Statement", "Summary", "By", "Tests"], rows)
        lines += [f"### Owed: {len(owed)}", ""]
        if owed:
            lines += ["These bind a server and have no test.", ""]
            lines += table(["Statement", "Binds", "Summary"], [[s.id, s.binds, cell(s.summary)] for s in owed])
        lines += [f"### Not of this server: {len(rest)}", ""]
        for statement in rest:
            tests = f" ({tests_cell(proofs[statement.id])})" if statement.id in proofs else ""
            lines.append(f"- {statement.id}: {cell(statement.summary)}{tests}")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Writes docs/conformance.md from the tags of the tests.")
    here = Path(__file__).resolve().parent.parent
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is stale")
    parser.add_argument("--root", type=Path, default=here, help="the project's folder")
    options = parser.parse_args(arguments)
    try:
        versions = [(title, load_statements(options.root / file, prefix)) for title, prefix, file in VERSIONS]
    except (LedgerError, OSError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 1
    known = {statement.id for _, statements in versions for statement in statements}
    proofs, uncounted, errors = collect(options.root, known)
    page = render(versions, proofs, uncounted)
    path = options.root / PAGE
    for error in errors:
        print(f"conformance: {error}", file=sys.stderr)
    if not options.check:
        path.write_text(page, encoding="utf-8", newline="\n")
    elif not path.exists() or path.read_bytes() != page.encode("utf-8"):
        print(f"conformance: {PAGE} is stale: run tools/conformance.py", file=sys.stderr)
        return 1
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
