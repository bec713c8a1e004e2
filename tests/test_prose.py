"""Tests of prose.py: prose of the kind to avoid is reported with its place, other prose is not."""

import contextlib
import io
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import prose

LONG = "Word " + "word " * 24 + "word."


class Prose(unittest.TestCase):
    def findings(self, name, text):
        """The lines that the script prints about a file with this text, and its exit status."""
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), io.StringIO() as out:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
            subprocess.run(["git", "init", "-q"], check=True)
            subprocess.run(["git", "add", "."], check=True)
            with contextlib.redirect_stdout(out):
                failed = prose.main([])
            lines = out.getvalue().partition("\nfolder")[0].split("\n")
            found = [line for line in lines if line.startswith(name)]
            self.assertEqual(failed, bool(found))
            return found

    def assert_found(self, name, text, *expected):
        found = self.findings(name, text)
        self.assertEqual(len(found), len(expected), found)
        for line, (number, what) in zip(found, expected):
            self.assertTrue(line.startswith(f"{name}:{number}: ") and what in line, (line, number, what))

    def test_reads_paragraphs_lists_and_cells_of_pages_but_no_code(self):
        self.assert_found("page.md", f"# Page\n\nFirst line,\nsecond line. {LONG}\n\n- Mend it.\n\n"
                          "| a | b |\n|---|---|\n| Fine. | told of |\n\n```\nanybody\n```\n\nThis `mend` is code.\n",
                          (4, "26 words"), (6, "'Mend'"), (10, "'told'"))

    def test_a_link_or_code_is_as_long_as_what_is_shown_of_it(self):
        self.assert_found("page.md", "[" + "word " * 24 + "](https://example.com/a%20b) `some long code`.\n")

    def test_counts_a_sentence_that_ends_in_code(self):
        self.assert_found("page.md", "One `x`. " + "word " * 20 + ".\n")

    def test_reads_comments_tests_and_messages_of_rust(self):
        self.assert_found("src/a.rs", "//! It begins badly.\n\n/// Good, over\n/// two lines, for nobody.\nfn a() {}\n"
                          "#[test]\nfn nobody_passes() {}\nconst M: &str = \"a message that tells of something\";\n"
                          "const N: &str = \"// tells\"; // as far as it goes\n",
                          (1, "begins with 'It'"), (4, "'nobody'"), (7, "'nobody'"), (8, "'tells'"), (9, "'as far as'"))

    def test_reads_docstrings_comments_and_tests_of_python(self):
        self.assert_found("a.py", '"""It is.\n\nTold."""\nx = "# tells" # anew\ndef test_mends(): pass\n',
                          (1, "begins with 'It'"), (3, "'Told'"), (4, "'anew'"), (5, "'mends'"))

    def test_reads_messages_of_the_release(self):
        self.assert_found("release/a.py", 'print("the file that tells of the digest")\n', (1, "'tells'"))

    def test_reads_comments_and_names_of_workflows(self):
        self.assert_found(".github/workflows/a.yml", "# Nobody.\nname: Tests anew\njobs:\n  a:\n    steps:\n"
                          "    - name: 'Mends it'\n    - run: echo anew\n",
                          (1, "'Nobody'"), (2, "'anew'"), (6, "'Mends'"))

    def test_reads_comments_and_annotations_of_yaml(self):
        self.assert_found("a.yaml", "a: 1 # Nobody.\n# Of course.\nb:\n  summary: It comes to this.\n  runbook: >-\n"
                          "    Who is it?\n    Who asks is\n    told.\nc: 'x # y'\n",
                          (1, "'Nobody'"), (4, "'comes to'"), (4, "begins with 'It'"), (7, "'Who asks"), (8, "'told'"))

    def test_reads_help_of_make_and_added_lines_of_patches(self):
        self.assert_found("Makefile", "all: ## Mends all\n\techo\n", (1, "'Mends'"))
        self.assert_found("a.patch", "For whoever.\n\n--- a\n+++ b\n@@ -1 +1,2 @@\n # anew\n-# anew\n+# anew\n",
                          (1, "'whoever'"), (8, "'anew'"))

    def test_reads_texts_of_presets_and_dashboards(self):
        self.assert_found("src/providers/a.json", '{\n"name": "x",\n"notes": "It stands there."\n}', (3, "'stands'"),
                          (3, "begins with 'It'"))
        self.assert_found("a.json", '{"expr": "told", "title": "Who is told?"}', (1, "'told'"))

    def test_reads_errors_of_snapshots(self):
        self.assert_found("a.snap", "{\"told\": 1}\n    a.b: nobody may\n    a: \"x\" is none of " + "y, " * 30 + "\n",
                          (2, "'nobody'"))

    def test_every_word_to_avoid_is_found_and_good_prose_is_not(self):
        bad = ["It was mended.", "Is it anew?", "Has anybody seen it?", "You shall see.", "As far as known.",
               "This stands for that.", "A request comes to it.", "The log tells it.", "This is no key.",
               "A key no more.", "Two, of which one.", "Said to who asks.", "Who signs it may.", "test who signs may", "Should it fail, retry.", "Else it fails.",
               "What is held stays.", "One; two; three."]
        good = ["The host is no longer there.", "There is no key.", "No more than two.", "No more keys than two.", "Standard Webhooks.",
                "Who signs it?", "Should it fail?", "What is a key?", "What to do: restart Envoy.", "A client who asks.", "The key; the other.",
                "A stand-in stands up.", "An amendment.", "A shallow copy."]
        for sentence in bad:
            with self.subTest(sentence):
                self.assertEqual(len(list(prose.problems(sentence, False))), 1)
        for sentence in good:
            with self.subTest(sentence):
                self.assertEqual(list(prose.problems(sentence, False)), [])


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    unittest.main()
