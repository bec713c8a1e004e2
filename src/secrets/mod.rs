//! The secrets of an endpoint, and the keys that they hold at present.

pub(crate) mod key;
pub mod keyring;
pub mod secret;
