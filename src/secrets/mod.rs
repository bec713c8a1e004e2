//! The secrets of an endpoint, and the keys that they make now.

mod environment;
mod key;
mod keyring;
mod reader;
mod secret;

pub use environment::Environment;
#[cfg(feature = "cli")]
pub use environment::Unset;
pub(crate) use keyring::{KeyEntry, Latest};
pub use keyring::{Keyring, Note, SecretIndex};
pub(crate) use reader::{read_list, read_token};
pub use secret::{Expiry, Secret};
