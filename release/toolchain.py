"""Parts of the toolchain in the module and in the command line: Rust's standard library, and C libraries.

Update this table together with rust-toolchain.toml. The tests compare the table with the installed toolchain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from crates import COMMAND, MODULE, Artifact, Failure, output

RUST = "1.95.0"
COMMIT = "59807616e1fa2540724bfbac14d7976d7e4a3860"
# The text in Rust's libc.a names this release, and the release names a commit of wasi-libc.
WASI_SDK = "30.0"
WASI_LIBC = "ec0effd769df5f05b647216578bcf5d3b5449725"

# In both C libraries.
MUSL = "1.2.5"

BOTH = (MODULE, COMMAND)


@dataclass(frozen=True)
class Part:
    """Code of the toolchain. `texts` are the files in `release/licenses`, for licences other than Apache-2.0."""

    name: str
    version: str
    licence: str
    chosen: str
    copyright: str = ""
    purl: str = ""
    cpe: str = ""
    texts: tuple = ()
    inside: tuple = BOTH
    parts: tuple = field(default=())


def crate(name: str, version: str, licence: str, copyright_line: str = "", **other) -> Part:
    """A crate of the standard library. Cargo.lock of Rust pins the crate, and not that of the guard."""
    purl = f"pkg:cargo/{name}@{version.replace('+', '%2B')}"
    return Part(name, version, licence, other.pop("chosen", "Apache-2.0"), copyright_line, purl, **other)


EITHER = "MIT OR Apache-2.0"
LLVM_EITHER = "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"

STANDARD_LIBRARY = Part(
    "rust-std", RUST, "(MIT OR Apache-2.0) AND Unicode-3.0", "Apache-2.0 AND Unicode-3.0",
    "The Rust Project Developers (see https://thanks.rust-lang.org)",
    purl=f"pkg:github/rust-lang/rust@{RUST}#library", cpe=f"cpe:2.3:a:rust-lang:rust:{RUST}:*:*:*:*:*:*:*",
    texts=("unicode",),
    parts=(
        crate("addr2line", "0.25.1", EITHER, inside=(COMMAND,)),
        crate("adler2", "2.0.1", "0BSD OR MIT OR Apache-2.0"),
        crate("cfg-if", "1.0.4", EITHER),
        Part(
            "compiler-builtins", RUST, "MIT AND Apache-2.0 WITH LLVM-exception AND (MIT OR Apache-2.0)",
            "MIT AND Apache-2.0 WITH LLVM-exception", texts=("compiler-builtins",),
        ),
        crate("gimli", "0.32.3", EITHER, inside=(COMMAND,)),
        crate("hashbrown", "0.16.1", EITHER),
        crate("libc", "0.2.178", EITHER),
        crate("memchr", "2.7.6", "Unlicense OR MIT", chosen="MIT", texts=("memchr",), inside=(COMMAND,)),
        crate("miniz_oxide", "0.8.9", "MIT OR Zlib OR Apache-2.0"),
        crate("object", "0.37.3", EITHER, inside=(COMMAND,)),
        crate("rustc-demangle", "0.1.27", EITHER),
        crate("wasi", "0.11.1+wasi-snapshot-preview1", LLVM_EITHER, inside=(MODULE,)),
    ),
)

# The C library of the module. Its allocator is dlmalloc.
WASI = Part(
    "wasi-libc", f"wasi-sdk-{WASI_SDK}", LLVM_EITHER, "Apache-2.0",
    purl=f"pkg:github/webassembly/wasi-libc@{WASI_LIBC}", texts=("wasi-libc",), inside=(MODULE,),
    parts=(
        Part("cloudlibc", "", "BSD-2-Clause", "BSD-2-Clause", texts=("cloudlibc",), inside=(MODULE,)),
        Part("dlmalloc", "2.8.6", "CC0-1.0", "CC0-1.0", texts=("dlmalloc",), inside=(MODULE,)),
        Part("musl", MUSL, "MIT", "MIT", texts=("musl",), inside=(MODULE,)),
    ),
)

# Without them, the command line would need the C library of the system.
MUSL_LIBC = Part(
    "musl", MUSL, "MIT", "MIT", purl=f"pkg:generic/musl@{MUSL}", cpe=f"cpe:2.3:a:musl-libc:musl:{MUSL}:*:*:*:*:*:*:*",
    texts=("musl",), inside=(COMMAND,),
)
UNWINDER = Part(
    "libunwind", f"rust-{RUST}", "Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception",
    purl=f"pkg:github/rust-lang/rust@{RUST}#src/llvm-project/libunwind", texts=("compiler-builtins",), inside=(COMMAND,),
)
# Some hundred bytes at the start and the end of the program. The exception frees compiled programs from the licence.
GCC_START = Part(
    "gcc-crtstuff", "9.4.0", "GPL-3.0-or-later WITH GCC-exception-3.1", "GPL-3.0-or-later WITH GCC-exception-3.1",
    purl="pkg:generic/gcc@9.4.0#libgcc/crtstuff.c",
    texts=("gcc-exception",), inside=(COMMAND,),
)

WHOLES = (STANDARD_LIBRARY, WASI, MUSL_LIBC, UNWINDER, GCC_START)


def parts(artifact: Artifact) -> list[Part]:
    """The parts of the toolchain in this artifact."""
    return [part for part in WHOLES if artifact in part.inside]


def check() -> str:
    """The first line of rustc's version. Refuses a toolchain that the table does not describe."""
    shown = output("rustc", "-vV")
    version = dict(re.findall(r"^(release|commit-hash): (.+)$", shown, re.MULTILINE))
    if version != {"release": RUST, "commit-hash": COMMIT}:
        raise Failure(f"release/toolchain.py describes Rust {RUST}, and rustc is {version['release']}: update the table")
    return shown.splitlines()[0]
