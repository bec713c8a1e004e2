//! **webhook-guard** verifies webhooks inside Envoy, before an application sees them.
//!
//! The crate has two halves. The core takes values and returns values: it has no host, no clock and no log. The shell
//! takes the host's callbacks, makes the calls to the host, and turns each failed call on which a verdict depends into a
//! denial. On wasm32 the host is Envoy. Elsewhere it is a host in memory, on which native tests run both halves.
//!
//! ```text
//! bytes --config--> Policy                                                once per configuration
//! host  --shell--> Head --verify--> Verification --body*--> finish --> Verdict --shell--> effects    per request
//! ```
//!
//! | level | module | responsibility |
//! |---|---|---|
//! | 1 | [`time`] | points in time, durations, and how both are written |
//! | 1 | `hex` | hexadecimal digits |
//! | 1 | [`ascii_json`] | the fields of a line in the log |
//! | 1 | [`version`] | the version and the commit of this build |
//! | 1 | [`config`] | reads the configuration's bytes, in either encoding, and reports every fault in it |
//! | 2 | [`request`] | a request's headers, path and client address |
//! | 2 | `crypto` | keys, signatures and their encodings; the only code that names hashes and curves |
//! | 3 | [`delivery`] | the hash by which two deliveries are the same |
//! | 3 | [`verdict`] | every reason for a verdict, with its status and body, in one table |
//! | 3 | [`held_requests`] | which held requests to reject: those that use too much memory, or wait too long |
//! | 3 | [`upstream`] | whether the upstream's answer confirms a delivery |
//! | 4 | `scheme` | what a sender signs, and where it puts the signature |
//! | 5 | [`secrets`] | the secrets of an endpoint, and their keys at present |
//! | 5 | [`replay`] | the memory of deliveries that were forwarded |
//! | 6 | [`policy`] | the endpoints, which of them a request belongs to, and what applies to it |
//! | 7 | [`verify`] | the phases of one request, up to its verdict |
//! | 8 | [`diagnosis`] | the evidence for the cause of a rejection, for the log |
//! | 9 | [`log_line`] | the line that the log gets |
//!
//! A module imports modules of its own level or of lower ones, and no two modules import each other.
//! The shell and the command line, `cli`, import all of them. A test holds the direction of the imports. The module is
//! built without the command line.
//!
//! Each part of the policy reads its own block of the configuration. A field's name, default and meaning are in one
//! place.

pub mod ascii_json;
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub mod cli;
pub mod config;
mod crypto;
pub mod delivery;
pub mod diagnosis;
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod held_requests;
mod hex;
pub mod log_line;
pub mod policy;
pub mod replay;
pub mod request;
mod scheme;
pub mod secrets;
pub mod time;
pub mod upstream;
pub mod verdict;
pub mod verify;
pub mod version;

mod shell;
