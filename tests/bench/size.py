"""The size of the module by part: which crates and which folders of src it consists of.

The module is built with the names of its functions, which the shipped one does not have. Its functions have the same
sizes, in another order, and this program checks that. Run it by `make bench-size`. With --functions N, it also lists the N largest functions.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from harness import wasm
from harness.envoy import MODULE, ROOT

NAMED = ROOT / "target/named/wasm32-wasip1/release/webhook_guard.wasm"
# The crates of each part. A crate that is missing here has a line of its own.
PARTS = {
    "Ed25519": "curve25519_dalek ed25519_dalek ed25519",
    "P-256": "p256 ecdsa elliptic_curve primeorder primefield crypto_bigint wnaf",
    "hashes and MACs": "sha1 sha2 hmac digest block_buffer hybrid_array subtle cmov ctutils",
    "JSON": "serde_json serde_core",
    "base64": "base64",
    "strsim: the nearest name": "strsim",
    "Rust's standard library": "core alloc std __rustc",
    "C library: allocator and start": "C",
}
STANDARD = set(PARTS["Rust's standard library"].split())
DATA = "data: presets, texts, tables"


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--functions", type=int, default=0)
    chosen = arguments.parse_args()
    named = build_named()
    shipped = MODULE.read_bytes()
    if bodies(named) != bodies(shipped):
        sys.exit("the module with names has other functions than the shipped one: run `make build` first")
    sizes = functions(named)
    print(table(shipped, sizes))
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[: chosen.functions]:
        print(f"{size:>8} {name}")


def build_named() -> bytes:
    """The module with names, from the same sources by the same flags."""
    script = "import cargo; cargo.named_module()"
    subprocess.run([sys.executable, "-B", "-c", script], cwd=ROOT / "release", check=True)
    return NAMED.read_bytes()


def bodies(module: bytes) -> list[int]:
    """The sizes of all functions."""
    return sorted(map(len, wasm.items(wasm.read(module)[wasm.CODE_SECTION])))


def functions(module: bytes) -> Counter:
    """The bytes of each function by its name."""
    sections = wasm.read(module)
    names = wasm.function_names(module)
    imported = len(list(wasm.imported(sections[wasm.IMPORT_SECTION])))
    sizes: Counter = Counter()
    for index, body in enumerate(wasm.items(sections[wasm.CODE_SECTION]), imported):
        sizes[names.get(index, f"function {index}")] += len(body)
    return sizes


def table(module: bytes, sizes: Counter) -> str:
    """The parts with their sizes, the largest first, as a table in Markdown."""
    parts: Counter = Counter()
    for name, size in sizes.items():
        parts[part(name)] += size
    parts[DATA] = len(wasm.read(module)[wasm.DATA_SECTION])
    total = len(module)
    parts["other sections"] = total - sum(parts.values())
    rows = [("part", "bytes", "share"), ("---", "---:", "---:")]
    rows += [(name, f"{size:,}", f"{size / total:.1%}") for name, size in parts.most_common()]
    rows.append(("**all**", f"{total:,}", ""))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def part(name: str) -> str:
    """The part that a function belongs to, by its mangled name."""
    found = crates(name)
    # Generic code of the standard library belongs to the crate that uses it.
    crate = next((each for each in found if each not in STANDARD), found[0])
    if crate == "webhook_guard":
        return folder(name)
    return next((part for part, names in PARTS.items() if crate in names.split()), crate)


def crates(name: str) -> list[str]:
    """The crates in a mangled name, in their order."""
    if name.startswith("_R"):
        return [text[: int(size)] for size, text in re.findall(r"Cs[0-9A-Za-z]+_(\d+)_?(\w+)", name)] or ["core"]
    if not name.startswith("_ZN"):
        return ["C"]
    plain = path(name)
    return [each for each in re.findall(r"(?<![\w:])(\w+)::", plain) if not each.isdigit()] or ["core"]


def path(name: str) -> str:
    """A name of the older mangling as Rust writes it, without the hash."""
    words, at = [], 3
    while match := re.match(r"\d+", name[at:]):
        begin = at + match.end()
        at = begin + int(match.group())
        words.append(name[begin:at])
    text = "::".join(words[:-1])
    for escape, plain in (("..", "::"), ("$LT$", "<"), ("$GT$", ">"), ("$u20$", " "), ("$RF$", "&"), ("$C$", ",")):
        text = text.replace(escape, plain)
    return re.sub(r"(^|::)_<", r"\1<", text)


def folder(name: str) -> str:
    """The file or folder of src that a function of ours is in."""
    match = re.search(r"webhook_guard::(\w+)", path(name))
    first = match.group(1) if match else "lib"
    here = Path(ROOT, "src")
    return f"src/{first}" if (here / first).is_dir() else "src/*.rs"


if __name__ == "__main__":
    main()
