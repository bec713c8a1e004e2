//! Finds the configurations of guards in files of Envoy, Istio and Envoy Gateway.

use super::yaml::{Kind, Yaml};

const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// A guard in a file.
#[derive(Debug)]
pub(super) struct Guard<'f> {
    /// The plugin's configuration.
    pub(super) configuration: Configuration<'f>,
    /// The filter's typed configuration, if the file has one: a `Wasm` message, or an item of Envoy Gateway's `spec.wasm`.
    pub(super) filter: Option<&'f Yaml>,
    /// The document that contains the guard.
    pub(super) document: &'f Yaml,
}

/// The configuration of a plugin, in one of its forms.
#[derive(Debug)]
pub(super) enum Configuration<'f> {
    /// Fields of the file itself, such as a `Struct`.
    Fields(&'f Yaml),
    /// JSON in a text, such as a `StringValue`.
    Text(&'f Yaml),
    /// The filter has no configuration.
    Absent(&'f Yaml),
}

impl Configuration<'_> {
    /// The bytes that the module gets.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Fields(value) => value.to_json().into_bytes(),
            Self::Text(value) => value.text().unwrap_or_default().as_bytes().to_vec(),
            Self::Absent(_) => Vec::new(),
        }
    }
}

/// Finds the guards of a file's documents, in their order.
pub(super) fn find(documents: &[Yaml]) -> Vec<Guard<'_>> {
    let mut guards = Vec::new();
    for document in documents {
        if document.get("endpoints").is_some() {
            guards.push(Guard {
                configuration: Configuration::Fields(document),
                filter: None,
                document,
            });
            continue;
        }
        visit(document, document, &mut guards);
    }
    guards
}

fn visit<'f>(value: &'f Yaml, document: &'f Yaml, guards: &mut Vec<Guard<'f>>) {
    let is_wasm = |url: &str| url.rsplit('/').next() == Some(WASM);
    let has_type = |name| value.get(name).and_then(Yaml::text).is_some_and(is_wasm);
    let filter = match (has_type("@type"), has_type("type_url")) {
        (true, _) => Some(value),
        // A TypedStruct.
        (false, true) => value.get("value"),
        (false, false) => None,
    };
    if let Some(filter) = filter {
        guards.extend(guard(filter, document));
        return;
    }
    for item in value.items() {
        visit(item, document, guards);
    }
    for field in value.fields() {
        match (field.name.as_str(), &field.value.kind) {
            ("pluginConfig", _)
                if document.get("kind").and_then(Yaml::text) == Some("WasmPlugin")
                    && is_plugin(value, Some(&field.value), document) =>
            {
                guards.push(Guard {
                    configuration: Configuration::Fields(&field.value),
                    filter: Some(value),
                    document,
                });
            }
            // Envoy Gateway's EnvoyExtensionPolicy.
            ("wasm", Kind::List(plugins)) => {
                let plugins = plugins.iter().filter(|plugin| {
                    plugin.get("code").is_some() && is_plugin(plugin, plugin.get("config"), plugin)
                });
                guards.extend(plugins.map(|plugin| {
                    Guard {
                        configuration: plugin
                            .get("config")
                            .map_or(Configuration::Absent(plugin), Configuration::Fields),
                        filter: Some(plugin),
                        document,
                    }
                }));
            }
            _ => visit(&field.value, document, guards),
        }
    }
}

/// Whether a plugin of Istio or Envoy Gateway is the guard: by its endpoints, or the name of its module or resource.
fn is_plugin(plugin: &Yaml, configuration: Option<&Yaml>, document: &Yaml) -> bool {
    let has_endpoints = configuration.is_some_and(|value| value.get("endpoints").is_some());
    let names = [
        plugin.get("name"),
        plugin.get("pluginName"),
        plugin.get("rootID"),
        plugin.get("url"),
        plugin.at(&["code", "image", "url"]),
        plugin.at(&["code", "http", "url"]),
        document.at(&["metadata", "name"]),
    ];
    let is_named = |name: &Yaml| {
        let text = name.text().unwrap_or_default();
        text.replace('-', "_").contains("webhook_guard")
    };
    has_endpoints || names.into_iter().flatten().any(is_named)
}

/// The guard in a `Wasm` message. `None` if the module is another one.
fn guard<'f>(filter: &'f Yaml, document: &'f Yaml) -> Option<Guard<'f>> {
    let plugin = filter.get("config")?;
    let configuration = match plugin.get("configuration") {
        None => Configuration::Absent(plugin),
        Some(any) => match any.get("value") {
            Some(value) if value.text().is_some() => Configuration::Text(value),
            Some(value) => Configuration::Fields(value),
            None => Configuration::Fields(any),
        },
    };
    let is_guard = match &configuration {
        Configuration::Fields(value) => value.get("endpoints").is_some(),
        Configuration::Text(value) => value.text().is_some_and(|text| text.contains("endpoints")),
        Configuration::Absent(_) => false,
    };
    let named = ["name", "root_id"]
        .iter()
        .filter_map(|name| plugin.get(name)?.text());
    let is_named = named
        .into_iter()
        .any(|name| name.replace('-', "_").contains("webhook_guard"));
    (is_guard || is_named).then_some(Guard {
        configuration,
        filter: Some(filter),
        document,
    })
}
