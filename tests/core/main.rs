//! The core, tested natively: it needs no host, so what is tested here is what runs in Envoy.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic: that is how it fails"
)]

mod alternatives;
mod challenges;
mod compatibility;
mod configuration;
mod copies;
mod diagnosis;
mod edges;
mod faulty;
mod forgeries;
mod fuzzing;
mod headers;
mod health_check;
mod known_bugs;
mod layers;
mod memory;
mod names;
mod paths;
mod presets;
mod properties;
mod public_keys;
mod public_url;
mod query;
mod readme;
mod replay;
mod schema;
mod schemes;
mod secrets;
mod security;
mod support;
mod vectors;
mod verdicts;
