//! **webhook-guard** verifies webhooks inside Envoy, before an application sees them.
//!
//! One crate in two halves. The core takes values and returns values: it has no host, no clock and
//! no log, and every native test runs all of it. The shell, built for wasm32 alone, talks to Envoy
//! and decides nothing.
//!
//! ```text
//! bytes --value, protobuf--> Value --config--> Policy                     once per configuration
//! host  --shell--> Head --check--> Check --body*--> finish --> Verdict --shell--> effects    per request
//! ```
//!
//! | room | what it answers |
//! |---|---|
//! | [`value`], `protobuf` | what tree of values the configuration's bytes hold, in either encoding |
//! | [`config`] | where in it the faults are, all of them at once |
//! | [`policy`], [`endpoint`] | what is to be done, and for whom |
//! | `matcher`, `path` | which endpoint a request belongs to; whether the upstream could take its path for another |
//! | `unmatched` | whether a request of no endpoint may pass |
//! | `scheme`, `encoding` | what a sender signs and how it writes the signature; what a request claims |
//! | [`headers`] | a request's headers, as bytes |
//! | [`secret`], [`keyring`], `key` | which secrets there are, and what their keys are at present |
//! | `mac` | whether a key made a signature |
//! | [`address`] | where a request comes from, and whether it may |
//! | [`published`] | the allow lists that senders publish, and whose turn it is to fetch one |
//! | [`held`] | how much memory held requests use, and which of them to reject when that is too much |
//! | [`check`] | the phases of a request, and the order of the checks |
//! | [`replay`] | what makes two deliveries the same; the memory of those that arrived |
//! | [`verdict`] | every reason, status and body, in one table |
//! | [`report`] | the line that the log gets |
//! | [`generation`] | which configuration is in use, and how many threads have it |
//!
//! Each part of the policy reads its own block of the configuration, so that a field's name, its
//! default and its meaning stand in one place.

pub mod address;
pub mod check;
pub mod config;
pub mod duration;
mod encoding;
pub mod endpoint;
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod generation;
pub mod headers;
pub mod held;
mod key;
pub mod keyring;
mod mac;
mod matcher;
mod path;
pub mod policy;
mod protobuf;
pub mod published;
pub mod replay;
pub mod report;
mod scheme;
pub mod secret;
mod unmatched;
pub mod value;
pub mod verdict;

#[cfg(target_arch = "wasm32")]
mod shell;
