//! The secrets of an endpoint, and the keys that they make now.

mod environment;
mod key;
mod keyring;
mod reader;
mod secret;

pub use environment::Environment;
#[cfg(feature = "cli")]
pub use environment::Unset;
#[cfg(feature = "cli")]
pub(crate) use key::{make as make_keys, secret_in};
pub(crate) use keyring::{KeyEntry, Latest};
pub use keyring::{Keyring, Note, SecretIndex};
#[cfg(feature = "cli")]
pub(crate) use reader::{is_variable, printable};
pub(crate) use reader::{read_list, read_token};
#[cfg(feature = "cli")]
pub(crate) use secret::KeySource;
pub use secret::{Expiry, Secret};
