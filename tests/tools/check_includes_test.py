"""tools/check_includes.py on small trees: what points the right way passes, each wrong way is found."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import check_includes  # noqa: E402


class Includes(unittest.TestCase):
    def found(self, files: dict[str, str]) -> list[str]:
        """The findings in a tree of these files."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            return list(check_includes.findings(root))

    def found_for(self, file: str, line: str) -> list[str]:
        """The findings when `file` holds `line`, beside one header per folder that may be meant."""
        headers = {f"lib/{folder}/x.h": "" for folder in check_includes.ALLOWED}
        return self.found(headers | {"include/mqttq/version.h": "", file: line + "\n"})

    def test_a_folder_may_include_itself_and_what_stands_to_its_right(self):
        for file, target in (("session/a.cc", "session"), ("session/a.cc", "queue"), ("queue/a.h", "store"),
                             ("capi/a.cc", "transport"), ("broker/a.cc", "stream"), ("transport/a.cc", "base"),
                             ("router/a.cc", "auth"), ("codec/a.cc", "message")):
            self.assertEqual(self.found_for(f"lib/{file}", f'#include "{target}/x.h"'), [], f"{file} {target}")

    def test_no_folder_includes_what_stands_to_its_left(self):
        for file, target in (("router/a.cc", "session"), ("queue/a.cc", "session"), ("base/a.h", "message"),
                             ("broker/a.cc", "capi"), ("codec/a.cc", "transport"), ("journal/a.cc", "router"),
                             ("transport/a.cc", "codec")):
            self.assertEqual(len(self.found_for(f"lib/{file}", f'#include "{target}/x.h"')), 1, f"{file} {target}")

    def test_folders_in_one_pair_of_braces_never_include_each_other(self):
        for file, target in (("queue/a.cc", "stream"), ("stream/a.cc", "queue"), ("auth/a.cc", "store")):
            self.assertEqual(len(self.found_for(f"lib/{file}", f'#include "{target}/x.h"')), 1, f"{file} {target}")

    def test_the_middle_does_not_see_the_world(self):
        for header in ("sys/socket.h", "unistd.h", "ctime", "fstream", "random", "stdio.h"):
            self.assertEqual(len(self.found_for("lib/session/a.cc", f"#include <{header}>")), 1, header)
        self.assertEqual(self.found_for("lib/transport/a.cc", "#include <sys/socket.h>"), [])
        self.assertEqual(self.found_for("lib/session/a.cc", "#include <span>"), [])

    def test_a_guest_stays_in_its_room(self):
        self.assertEqual(self.found_for("lib/broker/shard.h", "#include <uv.h>"), [])
        self.assertEqual(self.found_for("lib/broker/shard.cc", "#include <uv.h>"), [])
        self.assertEqual(len(self.found_for("lib/broker/broker.cc", "#include <uv.h>")), 1)
        self.assertEqual(len(self.found_for("lib/session/a.cc", "#include <mbedtls/ssl.h>")), 1)
        self.assertEqual(len(self.found_for("lib/base/a.h", "#include <fmt/format.h>")), 1)

    def test_an_unknown_guest_needs_a_room_first(self):
        self.assertEqual(len(self.found_for("lib/broker/a.cc", "#include <boost/asio.hpp>")), 1)

    def test_paths_start_at_lib_and_never_go_up(self):
        self.assertEqual(len(self.found_for("lib/base/a.cc", '#include "x.h"')), 1)
        self.assertEqual(len(self.found_for("lib/base/a.cc", '#include "../base/x.h"')), 1)
        self.assertEqual(len(self.found_for("tests/unit/a_test.cc", '#include "../hex.h"')), 1)
        self.assertEqual(len(self.found_for("lib/base/a.cc", "#include <base/x.h>")), 1)

    def test_an_include_of_nothing_is_found(self):
        self.assertEqual(len(self.found_for("lib/base/a.cc", '#include "base/missing.h"')), 1)

    def test_public_headers_need_no_more_than_c99(self):
        self.assertEqual(self.found_for("include/mqttq/a.h", "#include <stdint.h>\n#include <mqttq/version.h>"), [])
        self.assertEqual(len(self.found_for("include/mqttq/a.h", "#include <sys/uio.h>")), 1)

    def test_examples_see_the_public_headers_only(self):
        self.assertEqual(self.found_for("examples/embed/main.c", "#include <mqttq/version.h>"), [])
        self.assertEqual(len(self.found_for("examples/embed/main.c", '#include "base/x.h"')), 1)


if __name__ == "__main__":
    unittest.main()
