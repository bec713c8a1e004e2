"""Writes how a release was built, as an in-toto statement with SLSA provenance: https://slsa.dev/spec/v1.1/provenance.

The values are from the variables that GitHub sets for a job. Without them, the statement says that it was a local build.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
# https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1 defines the parameters.
WORKFLOW = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"
LOCAL = "urn:webhook-guard:local-build"
SERVER = "https://github.com"

NUMBER = r"[0-9]{1,20}"
COMMIT = r"[0-9a-f]{40}"
NAME = r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9_.-]+"
TAG = r"refs/tags/v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?"
# A value of another form is an error, so that nothing else gets into a signed statement.
VARIABLES = {
    "GITHUB_SERVER_URL": re.escape(SERVER),
    "GITHUB_REPOSITORY": NAME,
    "GITHUB_REPOSITORY_ID": NUMBER,
    "GITHUB_REPOSITORY_OWNER_ID": NUMBER,
    "GITHUB_REF": TAG,
    "GITHUB_SHA": COMMIT,
    "GITHUB_WORKFLOW_REF": rf"{NAME}/\.github/workflows/release\.yml@{TAG}",
    "GITHUB_EVENT_NAME": "push|workflow_dispatch|release",
    "GITHUB_RUN_ID": NUMBER,
    "GITHUB_RUN_ATTEMPT": NUMBER,
    "RUNNER_ENVIRONMENT": "github-hosted|self-hosted",
}


class Failure(Exception):
    """There is no provenance. The text says why."""


def in_workflow(environment) -> bool:
    return environment.get("GITHUB_ACTIONS") == "true"


def identity(environment) -> str:
    """The identity in the certificate that a job of this workflow gets."""
    return f"{SERVER}/{variables(environment)['GITHUB_WORKFLOW_REF']}"


def statement(digests: dict, predicate: dict) -> dict:
    """The statement about files and the image, each a name with its SHA-256."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(digests.items())],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }


def predicate(version: str, root: Path, environment) -> dict:
    """How this version was built."""
    return (workflow_build if in_workflow(environment) else local_build)(version, root, environment)


def workflow_build(version: str, root: Path, environment) -> dict:
    values = variables(environment)
    ref, commit = values["GITHUB_REF"], values["GITHUB_SHA"]
    workflow, _, workflow_ref = values["GITHUB_WORKFLOW_REF"].rpartition("@")
    repository = values["GITHUB_REPOSITORY"]
    if ref != f"refs/tags/v{version}" or workflow_ref != ref:
        raise Failure(f"the workflow runs at {ref}, but Cargo.toml has the version {version}: push the tag v{version}")
    if not workflow.startswith(f"{repository}/"):
        raise Failure(f"the workflow {workflow} is not in {repository}: a release runs its own workflow only")
    if head(root) != commit:
        raise Failure(f"the folder has the commit {head(root)}, but the workflow runs for {commit}: check out that commit")
    if changes(root):
        raise Failure(f"the folder has changes that are not in the commit: {', '.join(changes(root)[:5])}")
    path = workflow.removeprefix(f"{repository}/")
    return {
        "buildDefinition": {
            "buildType": WORKFLOW,
            "externalParameters": {
                "workflow": {"ref": ref, "repository": f"{SERVER}/{repository}", "path": path},
            },
            "internalParameters": {
                "github": {
                    "event_name": values["GITHUB_EVENT_NAME"],
                    "repository_id": values["GITHUB_REPOSITORY_ID"],
                    "repository_owner_id": values["GITHUB_REPOSITORY_OWNER_ID"],
                    "runner_environment": values["RUNNER_ENVIRONMENT"],
                },
            },
            "resolvedDependencies": [source(f"{SERVER}/{repository}", ref, commit)],
        },
        "runDetails": {
            "builder": {"id": identity(environment)},
            "metadata": {
                "invocationId": f"{SERVER}/{repository}/actions/runs/{values['GITHUB_RUN_ID']}"
                f"/attempts/{values['GITHUB_RUN_ATTEMPT']}",
            },
        },
    }


def local_build(version: str, root: Path, _environment) -> dict:
    return {
        "buildDefinition": {
            "buildType": LOCAL,
            "externalParameters": {"version": version},
            "internalParameters": {"uncommitted_changes": bool(changes(root))},
            "resolvedDependencies": [{"uri": "git+file:", "digest": {"gitCommit": head(root)}}],
        },
        "runDetails": {"builder": {"id": LOCAL}},
    }


def source(repository: str, ref: str, commit: str) -> dict:
    return {"uri": f"git+{repository}@{ref}", "digest": {"gitCommit": commit}}


def variables(environment) -> dict:
    """The variables of a job, each in the form that it must have."""
    found = {}
    for name, form in VARIABLES.items():
        value = environment.get(name, "")
        if not re.fullmatch(form, value):
            raise Failure(f"{name} is {value!r}, and a release needs {form}: run the workflow for a tag of a version")
        found[name] = value
    return found


def head(root: Path) -> str:
    return git(root, "rev-parse", "HEAD").strip()


def changes(root: Path) -> list:
    """Files of the commit that differ, and files that git does not ignore."""
    return [line[3:] for line in git(root, "status", "--porcelain").splitlines()]


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"git {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout
