"""The installation of tools names what is missing, and leaves nothing unfinished behind."""

import fcntl
import os
import stat
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from harness import tools


class InstallTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "bin").mkdir()
        self.enter(mock.patch.object(tools, "TOOLS", self.root / ".tools"))
        self.enter(mock.patch.object(tools, "say", lambda text: None))

    def enter(self, context):
        context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    def only_command(self, name, script):
        """Makes PATH hold this command alone."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.only_path()

    def only_path(self):
        self.enter(mock.patch.dict(os.environ, {"PATH": str(self.root / "bin")}))

    def failure(self, name):
        with self.assertRaises(tools.Failure) as raised:
            tools.tool(name)
        return str(raised.exception)

    def leftovers(self):
        return sorted(path.name for path in (self.root / ".tools").iterdir())

    def test_without_go_the_failure_says_which_to_install(self):
        self.only_path()
        self.assertIn("`go` is not in PATH: install Go 1.26.7 or later", self.failure("crane"))

    def test_an_old_go_is_named(self):
        self.only_command("go", "echo go1.19.8")
        self.assertIn("is go1.19.8: install Go 1.26.7 or later", self.failure("crane"))

    def test_a_go_that_may_not_fetch_its_toolchain_is_named(self):
        self.only_command("go", "echo 'go.mod requires go >= 1.26.7 (GOTOOLCHAIN=local)' >&2; exit 1")
        failure = self.failure("crane")
        self.assertIn("GOTOOLCHAIN=local", failure)
        self.assertIn("install Go 1.26.7 or later", failure)

    def test_a_failed_build_shows_its_errors_and_leaves_nothing(self):
        self.only_command("go", 'test "$1" = env && echo go1.27.0 && exit; echo "no such module" >&2; exit 1')
        self.assertIn("no such module", self.failure("crane"))
        self.assertEqual(self.leftovers(), [".tools.lock"])

    def test_an_installation_appears_complete(self):
        self.only_command("go", 'test "$1" = env && echo go1.27.0 && exit; /bin/touch "$GOBIN/crane"')
        path = tools.tool("crane")
        self.assertTrue(path.is_file())
        self.assertEqual(self.leftovers(), [".tools.lock", path.parent.name])

    def test_an_installed_program_needs_no_go(self):
        self.only_path()
        (package,) = [each for each in tools.PACKAGES if each.name == "crane"]
        (tools.TOOLS / package.folder).mkdir(parents=True)
        self.assertEqual(tools.tool("crane"), tools.TOOLS / package.folder / "crane")

    def test_a_present_program_does_not_wait_for_another_installation(self):
        self.only_command("go", 'test "$1" = env && echo go1.27.0 && exit; /bin/touch "$GOBIN/crane"')
        tools.TOOLS.mkdir()
        with open(tools.TOOLS / ".tools.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = threading.Thread(target=tools.tool, args=["crane"], daemon=True)
            waiting.start()
            waiting.join(0.1)
            self.assertTrue(waiting.is_alive())
            (package,) = [each for each in tools.PACKAGES if each.name == "crane"]
            (tools.TOOLS / package.folder).mkdir()
            waiting.join(60)
            self.assertFalse(waiting.is_alive())

    def test_without_apt_the_failure_names_the_system(self):
        self.only_path()
        self.assertIn("apt-get is not in PATH: run this on Debian or Ubuntu", self.failure("etcd"))

    def test_an_unknown_name_is_refused(self):
        self.assertRegex(self.failure("istiod"), "istiod is not a known program: use .*pilot-discovery")


if __name__ == "__main__":
    unittest.main()
