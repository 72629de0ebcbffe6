#!/usr/bin/env python3
"""Checks which way includes point: STYLE section 1, as tables.

    check_includes.py [ROOT]

Prints one line per finding, `file:line: what is wrong`, and exits 1 if there was any. Judged are lib/, include/ and
examples/; tests, fuzz targets and benches may include what they test, but no path with `..` either.
"""

import fnmatch
import pathlib
import re
import sys

# Each folder of lib/ may include itself and what stands behind it in a chain. Folders in one group never include each
# other: stores and authenticators stand behind their interfaces.
CHAINS = (
    (("capi",), ("broker",), ("session",), ("queue", "stream"), ("router",), ("journal",), ("store", "auth"),
     ("codec",), ("message",), ("base",)),
    (("capi",), ("broker",), ("transport",), ("base",)),
)

# Folders that open no socket or file, read no clock and draw no random number, so that they run under a simulated
# world; and the headers, without extension, that would let them.
MIDDLE = ("codec", "session", "router", "queue", "stream", "journal")
OUTSIDE_WORLD = re.compile(
    r"sys/.*|netinet/.*|arpa/.*|linux/.*|net/.*|unistd|fcntl|poll|netdb|time|ctime|stdio|cstdio|dirent|pthread|"
    r"iostream|fstream|filesystem|random|thread|future|condition_variable|semaphore")

# Guests have a room each: include pattern, and the files of lib/ that may name it.
GUESTS = (
    ("uv.h", ("broker/shard.h", "broker/shard.cc")),
    ("mbedtls/*", ("transport/tls.cc", "transport/http_upgrade.cc")),
    ("psa/*", ("transport/tls.cc",)),
    ("ngtcp2/*", ("transport/quic*.cc",)),
    ("gnutls/*", ("transport/quic*.cc",)),
    ("lmdb.h", ("store/lmdb_store.cc",)),
    ("sanitizer/*", ("message/message_pool.cc",)),
    ("simdjson.h", ("router/message_key.cc", "capi/stream_lines.cc")),
    # For log and error text. Not in codec, router and message, which write none; and not in headers, whose every
    # includer would pay for it, but for the edge's own.
    ("fmt/*", ("base/*.cc", "broker/*.cc", "transport/*.cc", "store/*.cc", "auth/*.cc", "session/*.cc", "queue/*.cc",
               "stream/*.cc", "journal/*.cc", "capi/*")),
    # The C ABI: the edge itself, and the few doors through which the host's own functions are called.
    ("mqttq/*", ("capi/*", "store/host_store.*", "auth/host_auth.*", "base/log.*")),
)

# What of the standard library ISO C99 has and a header in include/ may need.
C_HEADERS = ("stddef.h", "stdint.h", "stdbool.h")

INCLUDE = re.compile(r'^\s*#\s*include\s*(?P<bracket>[<"])(?P<path>[^>"]+)[>"]')
SOURCES = {".h", ".cc", ".c", ".hpp", ".cpp"}


def allowed_folders() -> dict[str, set[str]]:
    """For each folder of lib/, the folders that it may include."""
    allowed: dict[str, set[str]] = {}
    for chain in CHAINS:
        for index, group in enumerate(chain):
            behind = {folder for later in chain[index + 1:] for folder in later}
            for folder in group:
                allowed.setdefault(folder, {folder}).update(behind)
    return allowed


ALLOWED = allowed_folders()


def guest_problem(path: str, file_in_lib: str) -> str | None:
    for pattern, rooms in GUESTS:
        if fnmatch.fnmatch(path, pattern):
            if any(fnmatch.fnmatch(file_in_lib, room) for room in rooms):
                return None
            return f"<{path}> belongs in {', '.join(rooms)}"
    return None


def is_system(path: str) -> bool:
    """Of the C or C++ library or of the kernel, as opposed to a guest: they lie in no folder but these."""
    return "/" not in path or path.split("/")[0] in ("sys", "netinet", "arpa", "linux", "net")


def judge_lib(lib: pathlib.Path, file_in_lib: str, path: str, quoted: bool) -> str | None:
    folder = file_in_lib.split("/")[0]
    target = path.split("/")[0]
    known_guest = any(fnmatch.fnmatch(path, pattern) for pattern, _ in GUESTS)
    if known_guest:
        return guest_problem(path, file_in_lib)
    if not quoted:
        if target in ALLOWED and "/" in path:
            return f'our own headers are included with quotes: "{path}"'
        if folder in MIDDLE and OUTSIDE_WORLD.fullmatch(path.removesuffix(".h")):
            return f"<{path}> lets {folder}/ see the world outside; it is handed in as arguments"
        if not is_system(path):
            return f"<{path}> is a guest without a room; give it one in tools/check_includes.py"
        return None
    if "/" not in path:
        return f'paths start at lib/: "{folder}/{path}"?'
    if target not in ALLOWED:
        return f'"{path}" names no folder of lib/'
    if folder not in ALLOWED:
        return f"{folder}/ has no place in the order of folders"
    if target not in ALLOWED[folder]:
        return f'{folder}/ may not include {target}/: "{path}"'
    if not (lib / path).is_file():
        return f'there is no "{path}"'
    return None


def judge(root: pathlib.Path, file: str, path: str, quoted: bool) -> str | None:
    """What is wrong with `file` (relative to the root) including `path`, or None."""
    if ".." in path.split("/"):
        return f'"{path}" goes up; paths start at lib/'
    place, _, rest = file.partition("/")
    if place == "lib":
        return judge_lib(root / "lib", rest, path, quoted)
    if place == "include":
        if path.startswith("mqttq/"):
            return None if (root / "include" / path).is_file() else f'there is no "{path}"'
        return None if path in C_HEADERS else f"<{path}> is more than a C99 caller can be asked for"
    if place == "examples":
        if path.split("/")[0] in ALLOWED and (root / "lib" / path).is_file():
            return f'"{path}" is inside the library; examples see include/ only'
    return None


def findings(root: pathlib.Path):
    for place in ("lib", "include", "examples", "tests", "fuzz", "bench"):
        for path in sorted((root / place).rglob("*")):
            if path.suffix not in SOURCES or "node_modules" in path.parts:
                continue
            file = path.relative_to(root).as_posix()
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                match = INCLUDE.match(line)
                if match:
                    problem = judge(root, file, match["path"], match["bracket"] == '"')
                    if problem:
                        yield f"{file}:{number}: {problem}"


def main() -> int:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[1]
    found = list(findings(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
