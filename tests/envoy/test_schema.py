"""The JSON Schema for editors, held against every configuration that there is here."""

from __future__ import annotations

import copy
import json

import fastjsonschema
import pytest
import yaml
from test_readme import PRESETS as PAGE_OF_PRESETS
from test_readme import REFERENCE, SCHEME, blocks
from test_shipped import NAMES, guard_of

from harness import full_config, presets
from harness.edge import FOLDER

SCHEMA = json.loads((FOLDER / "webhook-guard.schema.json").read_text())
VALIDATE = fastjsonschema.compile(SCHEMA)
PRESETS = sorted(file.stem for file in presets.FOLDER.glob("*.json"))


def shipped(name: str) -> dict:
    """The guard's configuration in a shipped file."""
    return guard_of(name)["configuration"]["value"]


EXAMPLES = {
    **{name: shipped(name) for name in NAMES},
    "the README's smallest": yaml.safe_load(blocks("yaml")[0]),
    "the reference's": yaml.safe_load(blocks("yaml", REFERENCE)[0]),
    "with an allow list": {
        "endpoints": [full_config.endpoint("listed", **yaml.safe_load(blocks("yaml", REFERENCE)[1]))]
    },
    "the scheme's": {"endpoints": [full_config.endpoint("own", **yaml.safe_load(blocks("yaml", SCHEME)[0]))]},
    "the preset's": yaml.safe_load(blocks("yaml", PAGE_OF_PRESETS)[0]),
    "that of most tests": full_config.CONFIGURATION,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_valid(name):
    VALIDATE(EXAMPLES[name])


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_preset_says_a_user_can_write(name):
    VALIDATE({"endpoints": [full_config.endpoint("own", signature=presets.signature_of(name))]})
    VALIDATE({"endpoints": [full_config.endpoint("named", provider=name)]})


def wrong(path: str, value) -> dict:
    """The reference's example with another value at this path."""
    configuration = copy.deepcopy(EXAMPLES["the reference's"])
    *steps, last = path.split(".")
    where = configuration
    for step in steps:
        where = where[int(step)] if step.isdigit() else where[step]
    where[last] = value
    return configuration


@pytest.mark.parametrize(
    "path, value",
    [
        ("endpoint", []),
        ("unmatched", "allow"),
        ("endpoints.0.provider", "gitbuh"),
        ("endpoints.0.allow", "10.0.0.0/8"),
        ("endpoints.0.max_body_bytes", "1MB"),
        ("endpoints.0.secrets.0.versoin", "v1"),
        ("endpoints.0.secrets.0.revoked", "yes"),
        ("endpoints.1.signature.timestamp.unit", "minutes"),
        ("endpoints.1.signature.algorithm", "md5"),
    ],
)
def test_mistakes_are_not(path, value):
    with pytest.raises(fastjsonschema.JsonSchemaException):
        VALIDATE(wrong(path, value))
