"""A reader pastes a block of the page, or a script has it. The line `verified:` and the status 0 appear only if all held."""

import pytest

from harness.envoy import MODULE
from harness.signed_release import NAME, image_of, succeeds

OTHER = MODULE.read_bytes() + b"\x00\x02\x01z"
# A shell, and what follows the commands in it. Each writes the file `used` if the commands seem to have succeeded.
SHELLS = {
    "pasted": ("bash --norc -i", "{}\n[ $? = 0 ] && touch used"),
    "script": ("bash", "{}\n[ $? = 0 ] && touch used"),
    "script that stops at errors": ("bash -e", "{}\ntouch used"),
    "condition": ("bash -e", "if\n{}\nthen touch used; else exit 1; fi"),
    "POSIX shell": ("sh", "{}\n[ $? = 0 ] && touch used"),
}
BLOCKS = ["cosign", "attestations", "openssl", "image"]


@pytest.fixture(params=SHELLS)
def verify(request, release, page, downloads):
    """Runs a block in a shell. The result is the lines of its output, its status, and whether `used` exists."""
    shell, script = SHELLS[request.param]

    def verify(block: str, version: str = "0.1.0") -> tuple:
        if block == "openssl":
            succeeds(release.run(page.authorities, downloads))
        script_of_block = script.format(page.commands(getattr(page, block), version=version))
        done = release.run(f'exec {shell} <<<"$SCRIPT"', downloads, SCRIPT=script_of_block)
        return done.stdout.splitlines(), done.returncode, (downloads / "used").exists()

    return verify


def starts(lines: list, text: str) -> list:
    """The lines that start with a text. An interactive shell also shows the commands, after a prompt."""
    return [line for line in lines if line.startswith(text)]


def refused(result: tuple) -> bool:
    lines, status, used = result
    return not starts(lines, "verified: ") and len(starts(lines, "NOT VERIFIED")) == 1 and status != 0 and not used


@pytest.mark.parametrize("block", BLOCKS)
def test_a_release_ends_with_the_line(block, verify):
    lines, status, used = verify(block)
    assert status == 0 and used, lines
    (line,) = starts(lines, "verified: ")
    assert line.endswith("release.yml@refs/tags/v0.1.0")
    assert not starts(lines, "NOT VERIFIED")


@pytest.mark.parametrize("block", BLOCKS)
def test_another_tag(block, verify):
    result = verify(block, version="9.9.9")
    assert refused(result), result


@pytest.mark.parametrize("block", BLOCKS[:3])
def test_a_changed_module_with_its_own_sum(block, release, downloads, verify):
    (downloads / "webhook_guard.wasm").write_bytes(OTHER)
    succeeds(release.run("sed -i /wasm/d SHA256SUMS && sha256sum webhook_guard.wasm >>SHA256SUMS", downloads))
    result = verify(block)
    assert refused(result), result


def test_an_image_that_is_not_signed(release, downloads, verify, tmp_path):
    digest = image_of(OTHER, tmp_path / "other")
    succeeds(release.run(f"crane push {tmp_path / 'other'} {NAME}:other"))
    (downloads / "image-digest.txt").write_text(digest)
    result = verify("image")
    assert refused(result), result
