#!/usr/bin/env python3
"""Proves that bench_store_floor writes what a broker's log holds: its files are read back here, byte by byte.

usage: check_floor.py PATH_OF_BENCH_STORE_FLOOR DATA_DIRECTORY_OF_A_BROKER. Exits 0 when all is as docs/STORE.md says.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile

from checks import run_checks

FILE_HEADER = struct.Struct("<8sHHIQQI24sI")
RECORD_HEAD = struct.Struct("<IIQQIIHBBIII")
MESSAGE = 1
TABLE = []
for number in range(256):
    for _bit in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    TABLE.append(number)


def crc32c(data, before=0):
    value = ~before & 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return ~value & 0xFFFFFFFF


def batches_of(path):
    """[[(kind, body size)]] of one file; its sums and numbers are checked up to where nothing was written."""
    with open(path, "rb") as file:
        data = file.read()
    magic, form, size, _partition, _id, last, salt, _zeros, total = FILE_HEADER.unpack_from(data)
    assert (magic, form, size, total) == (b"mqttqlog", 1, FILE_HEADER.size, crc32c(data[:60])), f"the header of {path}"
    found, at = [], FILE_HEADER.size
    while at + RECORD_HEAD.size <= len(data) and any(data[at:at + RECORD_HEAD.size]):
        (body_size, body_sum, number, _term, _node, _boot, _partition, kind, _zero, index, count,
         head_sum) = RECORD_HEAD.unpack_from(data, at)
        body = data[at + RECORD_HEAD.size:at + RECORD_HEAD.size + body_size]
        assert head_sum == crc32c(data[at:at + 44], salt), f"the sum of a head at {at}"
        assert body_sum == crc32c(body, salt), f"the sum of a body at {at}"
        assert number > last and (index == 0 or number == last + 1), f"number {number} behind {last}"
        if index == 0:
            found.append([])
        found[-1].append((kind, body_size))
        assert index + 1 == len(found[-1]) <= count, f"place {index} of {count} at {at}"
        last = number
        at += RECORD_HEAD.size + body_size + 7 & ~7
    return found


def log_files(folder):
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("log-"))


def run(program, *arguments):
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=60)


def floor(program, *arguments):
    """(batches of the one file that it left, its line) of a run without a warm-up."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result = run(program, folder, "--keep", "--warmup", "0", "--seconds", "0.05", *arguments)
        assert result.returncode == 0, result.stderr
        files = log_files(folder)
        assert len(files) == 1, files
        return batches_of(files[0]), dict(word.split("=", 1) for word in result.stdout.split())


def equal_batches(program, _data):
    batches, line = floor(program, "--batch", "7", "--topic", "10", "--payload", "101", "--journals", "2")
    assert set(map(tuple, batches)) == {((MESSAGE, 37 + 2 * 8 + 10 + 101),) * 7}, batches[:2]
    assert int(line["batches"]) == len(batches) and int(line["msgs"]) == 7 * len(batches), line
    assert float(line["batch_bytes"]) == 7 * (48 + 168), line  # 164 bytes of body, at a multiple of eight


def batches_of_a_broker(program, data):
    wanted = [batch for path in log_files(data) for batch in batches_of(path)]
    with_messages = [i for i, batch in enumerate(wanted) if any(kind == MESSAGE for kind, _size in batch)]
    wanted = wanted[with_messages[0]:with_messages[-1] + 1]
    assert len(wanted) > 1 and any(kind != MESSAGE for batch in wanted for kind, _size in batch)
    batches, line = floor(program, "--like", data)
    assert batches == [wanted[i % len(wanted)] for i in range(len(batches))], batches
    assert int(line["msgs"]) == sum(kind == MESSAGE for batch in batches for kind, _size in batch), line
    assert int(line["batches"]) == len(batches) > 0, line


def without_sums(program, _data):
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result = run(program, folder, "--keep", "--warmup", "0", "--seconds", "0.05", "--batch", "1", "--no-sums")
        assert result.returncode == 0 and " sums=0 " in result.stdout, result
        try:
            batches_of(log_files(folder)[0])
        except AssertionError as error:
            assert "the sum of a head" in str(error), error
        else:
            raise AssertionError("there are sums")


def nothing_left_behind(program, _data):
    for room in ("reserved", "written"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            result = run(program, folder, "--warmup", "0", "--seconds", "0.05", "--batch", "3", "--room", room)
            assert result.returncode == 0 and f" room={room} " in result.stdout, result
            assert not os.listdir(folder), os.listdir(folder)


def torn_end(program, _data):
    """A batch whose end is damaged is left out, and what is behind it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        run(program, folder, "--keep", "--warmup", "0", "--seconds", "0.05", "--batch", "2")
        path = log_files(folder)[0]
        _batches, line = floor(program, "--like", folder)
        assert int(line["pattern"]) == len(batches_of(path)) >= 2, line
        record = 48 + 120  # 37 + 8 + 13 + 64 bytes of body, padded
        with open(path, "r+b") as file:
            file.seek(64 + 2 * record + record + 60)  # in the second record of the second batch
            file.write(b"?")
        _batches, line = floor(program, "--like", folder)
        assert int(line["pattern"]) == 1, line
        with open(path, "r+b") as file:
            file.seek(64 + 60)  # in the first
            file.write(b"?")
        result = run(program, folder, "--like", folder)
        assert result.returncode == 1 and "there is no message in its log" in result.stderr, result


def refused(program, data):
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for arguments, code, text in (
                ([], 2, "a directory is missing"),
                ([folder], 2, "one of --like and --batch"),
                ([folder, "--batch", "1", "--like", data], 2, "one of --like and --batch"),
                ([folder, "--batch", "0"], 2, "is not a number from 1"),
                ([folder, "--batch", "1x"], 2, "is not a number from 1"),
                ([folder, "--batch"], 2, "--batch takes a value"),
                ([folder, "--batch", "1", "--seconds", "0"], 2, "more than 0"),
                ([folder, "--batch", "1", "--room", "none"], 2, "--room takes"),
                ([folder, "--batch", "1", "--fast"], 2, "unknown option --fast"),
                ([folder, "--like", folder], 1, "there is no file log-*"),
                ([folder, "--like", folder + "/none"], 1, "No such file"),
                ([folder + "/none", "--batch", "1"], 1, "No such file")):
            result = run(program, *arguments)
            assert result.returncode == code and text in result.stderr and not result.stdout, (arguments, result)
        newer = shutil.copy(log_files(data)[0], folder)
        with open(newer, "r+b") as file:
            file.seek(8)
            file.write(b"\2")
        result = run(program, folder, "--like", folder)
        assert result.returncode == 1 and "a log of format 2" in result.stderr, result


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(run_checks((equal_batches, batches_of_a_broker, without_sums, nothing_left_behind, torn_end, refused),
                        *sys.argv[1:]))
