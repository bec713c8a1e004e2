//! Rules for the filters of a connection manager, wherever they are written: in Envoy's own files or in resources of Istio.
//!
//! [`chain`] finds the guard among its neighbours. Each other module has the rules of one theme, each a small function.

pub(super) mod chain;
pub(super) mod connection_manager;
pub(super) mod gate;
pub(super) mod limits;
pub(super) mod logs;
pub(super) mod order;
pub(super) mod outputs;
pub(super) mod plugin;
pub(super) mod settings;
pub(super) mod values;

use super::rule::Rule;

/// The rules of all themes here, in the order of the documentation.
pub(super) fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        plugin::RULES,
        settings::RULES,
        gate::RULES,
        limits::RULES,
        order::RULES,
        connection_manager::RULES,
        logs::RULES,
        outputs::RULES,
    ]
    .into_iter()
    .flatten()
    .copied()
}
