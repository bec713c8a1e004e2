//! A request as Envoy received it: its headers, its path and its client.

pub mod address;
pub(crate) mod bytes;
pub mod headers;
pub(crate) mod path;
pub(crate) mod percent;
