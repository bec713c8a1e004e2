"""The workflows run nothing but make targets, with few rights and pinned actions."""

import re
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = {path.name: path.read_text() for path in sorted((ROOT / ".github" / "workflows").iterdir())}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

# A job may have more than `contents: read` where a release needs that.
WRITERS = {
    ("release.yml", "sign"): {"contents": "read", "packages": "write", "id-token": "write"},
    ("release.yml", "draft"): {"contents": "write"},
}


def jobs():
    """Each job, with the names of its workflow and of itself."""
    for workflow, text in WORKFLOWS.items():
        for name, job in yaml.safe_load(text)["jobs"].items():
            yield workflow, name, job


def steps():
    for workflow, name, job in jobs():
        for step in job.get("steps", []):
            yield f"{workflow}, job {name}", job, step


def targets(job):
    """The make targets of a job, with the values of its matrix."""
    for step in job.get("steps", []):
        run = step.get("run", "").removeprefix("make ")
        if run == '"$TARGET"':
            yield from job["strategy"]["matrix"]["target"]
        elif run:
            yield run


class Workflows(unittest.TestCase):
    def test_each_step_runs_one_make_target(self):
        for place, _, step in steps():
            self.assertTrue(("run" in step) != ("uses" in step), f"{place}: {step}")
            if "run" in step:
                self.assertRegex(step["run"], r'\Amake ([a-z-]+|"\$TARGET")\Z', place)
        for workflow, name, job in jobs():
            for target in targets(job):
                self.assertIn(target, TARGETS, f"{workflow}, job {name}")

    def test_a_matrix_names_the_target_by_an_expression(self):
        for place, job, step in steps():
            if step.get("run") == 'make "$TARGET"':
                self.assertEqual(job["env"]["TARGET"], "${{ matrix.target }}", place)

    def test_actions_are_pinned_by_hash_and_are_few(self):
        used = re.findall(r"uses: (.*)", "\n".join(WORKFLOWS.values()))
        local = "./.github/workflows/test.yml # zizmor: ignore[self-repository]"
        pinned = [re.fullmatch(r"(actions/[a-z-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used if each != local]
        self.assertNotIn(None, pinned, used)
        few = {"actions/checkout", "actions/upload-artifact", "actions/download-artifact"}
        self.assertLessEqual({each[1] for each in pinned}, few)
        # One version of each, so that a review of the pin is a review of every use.
        self.assertLessEqual(len({each[0] for each in pinned}), len(few))

    def test_a_job_has_the_least_permissions(self):
        for workflow, text in WORKFLOWS.items():
            self.assertEqual(yaml.safe_load(text)["permissions"], {}, workflow)
        for workflow, name, job in jobs():
            wanted = WRITERS.get((workflow, name), {"contents": "read"})
            self.assertEqual(job["permissions"], wanted, f"{workflow}, job {name}")

    def test_a_checkout_keeps_no_credentials(self):
        for place, _, step in steps():
            if step.get("uses", "").startswith("actions/checkout@"):
                self.assertIs(step["with"]["persist-credentials"], False, place)

    def test_a_job_has_a_pinned_runner_and_a_timeout(self):
        for workflow, name, job in jobs():
            if "uses" not in job:
                self.assertEqual(job["runs-on"], "ubuntu-24.04", f"{workflow}, job {name}")
                self.assertLessEqual(job["timeout-minutes"], 60, f"{workflow}, job {name}")

    def test_no_event_gives_rights_to_foreign_content(self):
        """Other events, such as pull_request_target, run with the rights of the repository on content of other people."""
        for workflow, text in WORKFLOWS.items():
            # YAML 1.1 reads `on` as true.
            events = set(yaml.safe_load(text)[True])
            self.assertLessEqual(events, {"push", "pull_request", "workflow_call", "schedule", "workflow_dispatch"}, workflow)

    def test_only_the_job_with_reviewers_uses_secrets(self):
        for workflow, name, job in jobs():
            if "secrets." in str(job):
                self.assertEqual(job.get("environment"), "release", f"{workflow}, job {name}")

    def test_no_registry_is_named(self):
        for workflow, text in WORKFLOWS.items():
            self.assertNotRegex(text, r"\b(ghcr|docker|quay|gcr|pkg)\.(io|dev)\b", workflow)


class Release(unittest.TestCase):
    def setUp(self):
        self.jobs = {name: job for workflow, name, job in jobs() if workflow == "release.yml"}

    def test_the_tests_run_before_anything_is_built_and_published(self):
        needs = {name: job.get("needs") for name, job in self.jobs.items()}
        self.assertEqual(needs, {
            "check": None, "test": "check", "build": "test", "rebuild": "test", "sign": ["build", "rebuild"], "draft": "sign",
        })

    def test_two_builds_are_compared_before_the_job_has_a_token_of_the_registry(self):
        self.assertEqual(list(targets(self.jobs["sign"])), ["compare-dist", "login", "push", "sign"])
        with_token = [step["run"] for _, _, step in steps() if "REGISTRY_TOKEN" in str(step)]
        self.assertEqual(with_token, ["make login"])

    def test_a_job_gets_files_by_the_number_of_an_upload(self):
        """Another job could upload files under the same name."""
        downloads = [step["with"] for _, _, step in steps() if step.get("uses", "").startswith("actions/download-artifact@")]
        self.assertEqual(len(downloads), 3)
        for each in downloads:
            self.assertRegex(each["artifact-ids"], r"\A\$\{\{ needs\.[a-z]+\.outputs\.dist \}\}\Z")
            self.assertNotIn("name", each)


class Suites(unittest.TestCase):
    def test_the_workflow_runs_what_the_script_runs(self):
        run = set(re.findall(r"^ *(?:timed |echo |later=)([a-z-]+)\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
        # The versions of Envoy are a matrix in both.
        run.add("test-envoy")
        workflow = {each for file, _, job in jobs() if file == "test.yml" for each in targets(job)}
        self.assertEqual(workflow, run | {"all-passed"})

    def test_the_workflow_has_each_envoy_of_the_makefile(self):
        others, pinned = (
            re.search(rf"^ENVOY_{name} := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
            for name in ("OTHERS", "PINNED")
        )
        versions = yaml.safe_load(WORKFLOWS["test.yml"])["jobs"]["envoy"]["strategy"]["matrix"]["envoy"]
        self.assertEqual(versions, [*others.split(), pinned])


if __name__ == "__main__":
    unittest.main()
