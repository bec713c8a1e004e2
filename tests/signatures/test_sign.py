"""The workflow signs a release, and users verify it with the commands of the page."""

from harness.signed_release import succeeds


def test_users_verify_the_files_with_cosign(release, page, downloads):
    shown = succeeds(release.run(page.commands(page.cosign, page.attestations), downloads))
    assert shown.count("Verified OK") == 4
    assert "webhook_guard.wasm: OK" in shown


def test_users_verify_the_files_with_openssl_alone(release, page, downloads):
    succeeds(release.run(page.authorities, downloads))
    shown = succeeds(release.run(page.commands(page.openssl), downloads, PATH="/usr/bin:/bin"))
    for line in ("Verified OK", "Verification: OK", "SHA256SUMS.pem: OK", "webhook_guard.wasm: OK"):
        assert line in shown


def test_users_verify_the_image(release, page, downloads):
    digest = (downloads / "image-digest.txt").read_text().strip()
    assert digest in succeeds(release.run(page.commands(page.image), downloads))


def test_maintainers_verify_a_release(release):
    assert "verified: 4 files" in succeeds(release.verify())
