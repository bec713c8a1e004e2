"""The guards of this tree: each configuration that users have, with the secrets and requests to try with it."""

from __future__ import annotations

import json
import re

import yaml
from envoy import test_challenges, test_own_schemes

from harness import edge, full_config, sign
from harness.envoy import ROOT, SECRET, STRING
from harness.full_config import endpoint

from requests_of import NOW, Request, to_endpoint, variations

VECTORS = ROOT / "tests" / "vectors"
BODY = b'{"order": 42}'


def guards() -> dict:
    """Each guard by name: its configuration, its variables and its requests."""
    found = {**of_vectors(), **of_tests(), **of_shipped_files(), **of_pages()}
    # As they are read from a file.
    return json.loads(json.dumps({name: guard(*parts) for name, parts in found.items()}))


def guard(configuration: dict, variables: dict, requests: list) -> dict:
    return {"configuration": configuration, "variables": variables, "requests": [each.data() for each in requests]}


# The senders' vectors: an endpoint for each scheme and secret, at a host of its own.

# X's handshake reveals MACs, so an endpoint next to it must not have its secret.
ALONE = {"x"}


def of_vectors() -> dict:
    endpoints: dict = {}
    requests: dict = {}
    for file in sorted(VECTORS.glob("*.json")):
        vectors = json.loads(file.read_text())
        for name in ("presets", "refused"):
            ours, sent = of_sender(file.stem, [each for each in vectors if is_refused(each) == (name == "refused")])
            name = f"preset-{file.stem}" if file.stem in ALONE else name
            endpoints.setdefault(name, []).extend(ours)
            requests.setdefault(name, []).extend(sent)
    return {name: ({"environment": "test", "endpoints": endpoints[name]}, {}, requests[name]) for name in endpoints}


def is_refused(vector: dict) -> bool:
    """Whether the guard refuses the secret: a blank one, or one that is not ASCII where the sender's has to be."""
    return not vector["valid"] and (not vector["secret"].strip() or not vector["secret"].isascii())


def of_sender(sender: str, vectors: list) -> tuple:
    """The endpoints and the requests of a sender's vectors."""
    groups: dict = {}
    for vector in vectors:
        block = vector_endpoint(sender, vector)
        groups.setdefault(json.dumps(block, sort_keys=True), []).append(vector)
    endpoints, requests = [], []
    for number, (block, vectors) in enumerate(groups.items(), 1):
        name = f"{sender}-{number}"
        endpoints.append({"name": name, "match": {"prefix": "/", "host": f"{name}.test"}, **json.loads(block)})
        sent = [vector_request(f"{name}.test", each) for each in vectors]
        first = next((each for each, vector in zip(sent, vectors) if vector["valid"]), sent[0])
        requests += [*sent, *to_endpoint(first)]
    return endpoints, requests


def vector_endpoint(sender: str, vector: dict) -> dict:
    scheme = {"signature": vector["signature"]} if "signature" in vector else {"provider": sender}
    secret = {"version": "v1", "value": vector["secret"]}
    secret |= {"key_id": vector["key_id"]} if "key_id" in vector else {}
    more = {"query": vector["query"]} if "query" in vector else {}
    methods = [vector.get("method", "POST")]
    return {**scheme, "public_url": split_url(vector)[0], "methods": methods, "secrets": [secret], **more}


def vector_request(host: str, vector: dict) -> Request:
    headers = [
        (name, value)
        for name, values in vector["headers"].items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return Request(
        path=split_url(vector)[1],
        headers=headers,
        body=vector["body"].encode(),
        method=vector.get("method", "POST"),
        host=host,
        at=vector.get("now_unix", NOW),
    )


def split_url(vector: dict) -> tuple:
    """Origin and the rest of the URL that was signed."""
    url = vector.get("url", "https://hooks.example.com/webhook")
    return re.fullmatch(r"(https?://[^/]+)(/.*)", url).groups()


# The configurations of the tests: an endpoint of each kind, own schemes, and handshakes.


def of_tests() -> dict:
    passing = {"unmatched": {"pass": ["/app/", "/logo.png"]}, "health_check": {"path": "/healthz"}}
    published = {"cluster": "no-such-cluster", "authority": "a.test", "path": "/list", "pointer": "/a"}
    listed = endpoint("listed", allow_from=[published])
    return {
        "kinds": (full_config.CONFIGURATION, {"WEBHOOK_SECRET": SECRET}, kinds()),
        "unmatched": ({**passing, "endpoints": [endpoint("orders"), listed]}, {"WEBHOOK_SECRET": SECRET}, unmatched()),
        "defaults": defaults(),
        "own-schemes": own_schemes(),
        "handshakes": handshakes(),
    }


def signed(name: str, body: bytes = BODY, secret: str = SECRET, **more) -> Request:
    return Request(path=f"/{name}", headers=sign.default(secret, body), body=body, **more)


def kinds() -> list:
    """Requests to the endpoints of `full_config`."""
    found = [*variations(signed("webhook")), *variations(signed("any", method="DELETE"))]
    found += [signed("webhook?a=1&b=2"), signed("webhook?a=1&c=2"), signed("off"), signed("elsewhere")]
    for name, (secret, signer) in sorted(full_config.PRESETS.items()):
        timed = {} if name in ("github", "shopify") else {"at": NOW}
        found += variations(Request(path=f"/hooks/{name}", headers=signer(secret, BODY, **timed), body=BODY))
    code = sign.mac(b"secret-of-acme-corp", b"one.%d." % NOW, BODY).hex()
    acme = [("X-Acme-Signature", f"t={NOW},v1={code}"), ("X-Acme-Id", "one")]
    found += variations(Request(path="/hooks/acme/a", headers=acme, body=BODY))
    for secret in (full_config.NEW, full_config.OLD, full_config.COMING, full_config.LEAKED, "unknown-secret-of-none"):
        found.append(signed("rotated", secret=secret))
    for size in (999, 1000, 1001):
        found += [signed("small", b"x" * size), signed("watched", b"x" * size)]
    found += [signed("watched", secret="unknown-secret-of-none"), signed("webhook", b"x" * (1024 * 1024))]
    found.append(signed("webhook", b"x" * (1024 * 1024 + 1)))
    forwarded = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.1, 127.0.0.1")]
    for name in ("local", "forwarded", "peer", "unset", "unset-watched", "elsewhere", "watched"):
        found += [signed(name, source=source) for source in ("127.0.0.1", "127.0.0.2")]
        found += [signed(name).adding(each) for each in forwarded]
    found += [signed("hosted"), signed("hosted", host="other.test"), signed("hosted", host="HOOKS.test:443")]
    upgrade = [("connection", "upgrade"), ("upgrade", "websocket")]
    return [*found, signed("webhook").adding(*upgrade), signed("webhook", trailers=[("x-late", "1")])]


def defaults() -> tuple:
    """Blocks with the required fields alone, and requests at the limits of their defaults. Presets set most of these fields."""
    timed = {"header": "X-Signature", "message": "{timestamp}.{body}"}
    listed = {**timed, "format": ["t={timestamp}", "v1={signature}"], "separator": ","}
    headed = {**timed, "timestamp": {"header": "X-Time"}}
    one_sided = {**timed, "timestamp": {"header": "X-Time", "tolerance": {"past": "4m"}}}
    endpoints = [
        endpoint("listed", signature=listed),
        endpoint("headed", signature=headed),
        endpoint("one-sided", signature=one_sided),
        endpoint("remembering", identity="message", replay={"window": "1h"}),
    ]
    code = sign.mac(SECRET.encode(), b"%d." % NOW, BODY).hex()
    requests = variations(Request(path="/listed", headers=[("X-Signature", f"t={NOW},v1={code}")], body=BODY))
    for name in ("headed", "one-sided"):
        headers = [("X-Time", str(NOW)), ("X-Signature", code)]
        requests += variations(Request(path=f"/{name}", headers=headers, body=BODY))
    return {"endpoints": endpoints}, {"WEBHOOK_SECRET": SECRET}, [*requests, *variations(signed("remembering"))]


def unmatched() -> list:
    paths = ["/app/", "/app/x?y=1", "/app", "/logo.png", "/logo.pngx", "/Orders", "/orders/", "/%6frders", "/healthz"]
    found = [Request(path=each, method=method) for each in paths for method in ("GET", "POST")]
    return [*found, signed("orders"), signed("orders"), signed("listed"), Request(path="/orders")]


def own_schemes() -> tuple:
    """The blocks of `own_schemes.yaml`, with the senders' vectors for them."""
    endpoints, requests = [], []
    for name, block in test_own_schemes.BLOCKS.items():
        file = VECTORS / f"{name}.json"
        vectors = [each for each in json.loads(file.read_text()) if "signature" not in each] if file.exists() else []
        for number, vector in enumerate(vectors, 1):
            host = f"{name}-{number}"
            scheme = {**vector_endpoint(name, vector), "signature": block}
            del scheme["provider"]
            endpoints.append({"name": host, "match": {"prefix": "/", "host": f"{host}.test"}, **scheme})
            requests.append(vector_request(f"{host}.test", vector))
    ledger = test_own_schemes.ledger
    endpoints += [test_own_schemes.of_block("ledger"), test_own_schemes.of_block("gazette", public_url="https://g.test")]
    endpoints.append(test_own_schemes.of_block("courier", *map(test_own_schemes.public_key, test_own_schemes.KEYS)))
    body = b"parcel"
    courier = test_own_schemes.courier(body, {"main": "main"}, at=NOW)
    requests += variations(Request(path="/ledger", body=ledger(SECRET, SECRET)))
    requests.append(Request(path="/ledger", body=ledger(SECRET, "guessed")))
    requests += variations(Request(path="/courier", headers=courier, body=body))
    gazette = test_own_schemes.gazette(body, aud="https://g.test/gazette", iat=NOW)
    requests += variations(Request(path="/gazette", headers=gazette, body=body))
    return {"environment": "test", "endpoints": endpoints}, {}, requests


def handshakes() -> tuple:
    variables = {
        "WEBHOOK_SECRET": SECRET,
        "META_TOKEN": test_challenges.TOKEN,
        "X_SECRET": test_challenges.X_SECRET,
        "LINKEDIN_SECRET": test_challenges.LINKEDIN_SECRET,
        "AZURE_TOKEN": test_challenges.AZURE_TOKEN,
    }
    requests = []
    for method, path, headers, body, *_ in test_challenges.ANSWERS.values():
        first = Request(path=path, headers=headers, body=body, method=method)
        requests += [*variations(first), Request(path=path.replace("=", "=x"), headers=headers, body=body, method=method)]
    return test_challenges.CONFIGURATION, variables, requests


# The configurations that users copy: files, variants and pages.


def of_shipped_files() -> dict:
    folder = ROOT / "envoy"
    texts = {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.glob("**/*.yaml"))}
    texts |= {f"edge-{each.stem[5:]}": edge.variant(each.stem[5:]) for each in edge.VARIANTS}
    for source in ("file", "sds"):
        texts[f"secrets-{source}"] = edge.with_secrets((folder / "envoy.yaml").read_text(), source)
    found, seen = {}, []
    for name, text in texts.items():
        for configuration in configurations(list(yaml.safe_load_all(text))):
            if configuration not in seen:
                seen.append(configuration)
                found[re.sub(r"[^a-z0-9]+", "-", name)] = copied(configuration)
    return found


def configurations(value):
    """The configurations of guards in a file of whatever form."""
    if isinstance(value, str) and "endpoints" in value and "secrets" in value:
        value = yaml.safe_load(value)
        if isinstance(value, str):
            return
    if isinstance(value, dict):
        if value.get("@type") == STRING:
            value = json.loads(value["value"])
        if is_configuration(value):
            yield value
            return
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from configurations(each)


def is_configuration(value: dict) -> bool:
    endpoints = value.get("endpoints")
    return isinstance(endpoints, list) and any(isinstance(each, dict) and "match" in each for each in endpoints)


def of_pages() -> dict:
    """The examples of pages. A block without endpoints is the part of one."""
    found = {}
    for page in ("envoy/configuration.md", "src/scheme/README.md", "src/providers/README.md"):
        blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
        for number, text in enumerate(blocks):
            block = yaml.safe_load(text)
            if set(block) == {"tolerance"}:
                block["provider"] = "linear"
            if "endpoints" not in block:
                block = {"public_url": "https://hooks.example.com", "endpoints": [endpoint("acme", **block)]}
            found[re.sub(r"[^a-z0-9]+", "-", f"{page.lower()}-{number}")] = copied(block)
    return found


def copied(configuration: dict) -> tuple:
    """A configuration with values for its variables, and requests to each endpoint."""
    names = sorted(set(re.findall(r'"env": "(\w+)"', json.dumps(configuration))))
    variables = {name: SECRET if name == "WEBHOOK_SECRET" else f"the-secret-in-{name}" for name in names}
    requests = []
    for each in configuration["endpoints"]:
        path = each["match"].get("path") or each["match"]["prefix"] + "x"
        for name in names or ["WEBHOOK_SECRET"]:
            headers = sign.default(variables.get(name, SECRET), BODY)
            if each.get("provider") == "github":
                headers = sign.github(variables[name], BODY)
            if each.get("provider") == "stripe":
                headers = sign.stripe(variables[name], BODY, NOW)
            host = each["match"].get("host", "hooks.test")
            requests += variations(Request(path=path, headers=headers, body=BODY, host=host))
    return configuration, variables, requests
