//! A preset written out: an endpoint to paste, with the sender's notes as comments.

use std::env::VarError;

use super::catalogue::Preset;
use super::yaml_text;
use crate::cli::yaml::{self, Yaml};
use crate::config;
use crate::policy::Policy;

/// The longest line of a comment, in characters.
const WIDTH: usize = 110;

/// The width of the labels of comments.
const LABEL: usize = 15;

/// The preset as a configuration of one endpoint, whose comments have what is known about the sender.
pub(super) fn of(preset: &Preset) -> String {
    let configuration = configuration(preset);
    let mut text = format!("# {}: {}\n#\n", preset.name, preset.sender());
    for (label, value) in notes(preset, &configuration) {
        comment(&mut text, label, &value);
    }
    text.push('\n');
    text.push_str(&configuration);
    text
}

fn configuration(preset: &Preset) -> String {
    let name = preset.name;
    let scheme = yaml_text::fields(preset.signature(), "    ");
    let variable = name.to_uppercase().replace('-', "_");
    let mut text = format!("endpoints:\n- name: {name}\n  match: {{path: /hooks/{name}}}\n");
    for (field, explanation) in settings(&scheme) {
        text.push_str(&format!("  {field} # {explanation}\n"));
    }
    if let Some(bytes) = largest_body_bytes(preset) {
        text.push_str(&format!(
            "  # The default is 1 MiB, and the guard answers larger bodies 413. The sender's can be larger. If you raise the limit,\n\
             {:2}# also raise Envoy's `request_body_buffer_limit` above this value.\n\
             {:2}# max_body_bytes: {bytes}\n",
            "", ""
        ));
    }
    text.push_str(&format!(
        "  # Write `provider: {name}` instead of this block, unless you change it.\n  signature:\n{scheme}"
    ));
    let is_public = preset
        .field("key")
        .is_some_and(|key| key.starts_with("public key"));
    let kind = if is_public { "PUBLIC_KEY" } else { "SECRET" };
    text.push_str(&format!(
        "  secrets: [{{version: v1, env: {variable}_{kind}}}]\n"
    ));
    text
}

/// Settings of the endpoint that the scheme needs, or that the sender does, each with its reason.
fn settings(scheme: &str) -> Vec<(&'static str, &'static str)> {
    let mut settings = Vec::new();
    if ["{url", "url_hash:", "{path}", "{encoded_path}"]
        .iter()
        .any(|part| scheme.contains(part))
    {
        settings.push((
            "public_url: https://hooks.example.com",
            "CHANGE: the origin that the sender calls",
        ));
    }
    if scheme.contains("challenge:") {
        settings.push((
            "answer_challenges: true",
            "answers the sender's setup requests",
        ));
    }
    if scheme.contains("verify_token:") {
        settings.push((
            "verify_token: {env: VERIFY_TOKEN}",
            "the token that you enter at the sender",
        ));
    }
    settings
}

/// The labels and texts of the comments.
fn notes(preset: &Preset, configuration: &str) -> Vec<(&'static str, String)> {
    let field = |name| preset.field(name).map(str::to_owned);
    let documented = |text: Option<String>| text.unwrap_or_else(|| "not documented".to_owned());
    let tolerance = tolerance(preset.signature());
    let mut notes = vec![
        ("Documentation", documented(field("documentation"))),
        ("Evidence", evidence(preset.field("evidence")).to_owned()),
        ("Secret", documented(field("key"))),
        (
            "Tolerance",
            tolerance.unwrap_or_else(|| "the sender signs no time".to_owned()),
        ),
        ("Retries", documented(retries(preset))),
        ("Largest body", documented(largest_body(preset))),
        ("Rotation", documented(field("rotation"))),
    ];
    notes.extend(field("setup").map(|setup| ("Setup requests", setup)));
    notes.extend(field("copies").map(|copies| ("Copies", copies)));
    let weaknesses = weaknesses(preset.signature(), configuration);
    notes.extend(weaknesses.into_iter().map(|text| ("Weakness", text)));
    notes.extend(field("notes").map(|notes| ("Notes", notes)));
    notes
}

fn evidence(evidence: Option<&str>) -> &str {
    match evidence {
        Some("official-vector") => "tested with signed requests of the sender's documentation",
        Some("sdk") => "tested with the sender's own package",
        Some("third-party-vector") => "tested with signed requests of another project",
        _ => "the sender's documentation alone",
    }
}

/// The tolerance of the preset's timestamp.
fn tolerance(signature: &Yaml) -> Option<String> {
    let timestamp = signature.get("timestamp")?;
    Some(match timestamp.get("tolerance") {
        None => "5m".to_owned(),
        Some(both) if both.text().is_some() => both.text().unwrap_or_default().to_owned(),
        Some(sides) => {
            let side = |name| sides.get(name).and_then(Yaml::text).unwrap_or("5m");
            format!("{} past, {} future", side("past"), side("future"))
        }
    })
}

fn retries(preset: &Preset) -> Option<String> {
    let retries = preset.part("retries")?;
    let text = |name: &str| retries.get(name).and_then(Yaml::text);
    let sources = retries.get("sources").map(Yaml::items).unwrap_or_default();
    let source = sources.first().and_then(Yaml::text);
    let parts = [text("schedule"), text("signature"), source];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    Some(parts.join(", "))
}

/// The largest body in bytes, if the sender documents a number for every kind of event.
fn largest_body_bytes(preset: &Preset) -> Option<String> {
    Some(preset.part("largest_body")?.get("bytes")?.to_json())
}

fn largest_body(preset: &Preset) -> Option<String> {
    let body = preset.part("largest_body")?;
    let text = |name: &str| body.get(name).and_then(Yaml::text);
    let parts: Vec<_> = [text("size"), text("source")]
        .into_iter()
        .flatten()
        .collect();
    Some(parts.join(", "))
}

/// Warnings of the guard, and weaknesses that no signed value prevents.
fn weaknesses(signature: &Yaml, configuration: &str) -> Vec<String> {
    let text = |name: &str| signature.get(name).and_then(Yaml::text);
    let has = |name: &str| signature.get(name).is_some();
    let mut weaknesses = warnings(configuration);
    if text("algorithm") == Some("token") {
        weaknesses
            .push("the sender signs nothing: the secret itself is in each request".to_owned());
    }
    if !text("identity").map_or(has("id") || has("timestamp"), |by| by != "none") {
        weaknesses.push(
            "no signed value distinguishes deliveries: the guard accepts a copy of a request"
                .to_owned(),
        );
    }
    weaknesses
}

/// The warnings of the module about a configuration.
fn warnings(configuration: &str) -> Vec<String> {
    let Ok(documents) = yaml::parse(configuration) else {
        return Vec::new();
    };
    let Some(Ok(value)) = documents
        .first()
        .map(|document| config::parse(document.to_json().as_bytes()))
    else {
        return Vec::new();
    };
    let (_, _, warnings) = Policy::check(&value, &|_| Err(VarError::NotPresent));
    warnings
        .iter()
        .map(|warning| warning.message.clone())
        .collect()
}

/// Writes a comment with its label, in lines.
fn comment(text: &mut String, label: &str, value: &str) {
    let mut line = format!("# {label:LABEL$}");
    let mut is_empty = true;
    for word in value.split_whitespace() {
        let length = line.chars().count().saturating_add(word.chars().count());
        if !is_empty && length >= WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = format!("# {:LABEL$}", "");
        }
        line.push(' ');
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::catalogue;
    use super::*;

    const PUBLIC_KEYS: [(&str, &str); 4] = [
        (
            "discord",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        (
            "sendgrid",
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==",
        ),
        (
            "standard-webhooks-v1a",
            "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        ),
        ("telnyx", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
    ];

    fn secret(name: &str) -> String {
        let key = PUBLIC_KEYS.iter().find(|(known, _)| *known == name);
        key.map_or_else(
            // Hexadecimal, base64 and a text at once, also after the prefix.
            || "whsec_6162636465666768696a6b6c6d6e6f707172737475767778".to_owned(),
            |(_, key)| (*key).to_owned(),
        )
    }

    #[test]
    fn each_example_is_a_configuration_that_the_guard_accepts() {
        for preset in catalogue::read().unwrap() {
            let text = of(&preset);
            let documents = yaml::parse(&text).unwrap();
            let json = documents[0].to_json();
            let name = preset.name;
            let read = |secret: String| Policy::read(json.as_bytes(), &move |_| Ok(secret.clone()));
            let plain = secret(name).replace("whsec_", "");
            let read = read(secret(name)).or_else(|_| read(plain));
            let (_, warnings) = read.unwrap_or_else(|faults| panic!("{name}: {faults:#?}\n{text}"));
            // The sender's own weaknesses remain.
            for warning in warnings {
                let place = warning.to_string();
                assert!(
                    place.starts_with("endpoints[0].signature: "),
                    "{name}: {warning}"
                );
            }
        }
    }

    #[test]
    fn a_body_limit_in_an_example_is_one_that_the_guard_accepts() {
        let limited = |preset: &&Preset| largest_body_bytes(preset).is_some();
        let presets = catalogue::read().unwrap();
        let names: Vec<_> = presets
            .iter()
            .filter(limited)
            .map(|each| each.name)
            .collect();
        assert_eq!(names, ["github", "github-sha1", "gitlab", "gitlab-token"]);
        for preset in presets.iter().filter(limited) {
            let text = of(preset).replace("# max_body_bytes:", "max_body_bytes:");
            let json = yaml::parse(&text).unwrap()[0].to_json();
            let read = Policy::read(json.as_bytes(), &|_| {
                Ok("whsec_6162636465666768696a6b6c6d6e6f70".to_owned())
            });
            assert!(json.contains("\"max_body_bytes\":26214400"), "{json}");
            assert!(read.is_ok(), "{}: {read:?}", preset.name);
        }
    }

    #[test]
    fn each_block_is_that_of_the_preset() {
        for preset in catalogue::read().unwrap() {
            let documents = yaml::parse(&of(&preset)).unwrap();
            let endpoint = &documents[0].get("endpoints").unwrap().items()[0];
            let written: Value =
                serde_json::from_str(&endpoint.get("signature").unwrap().to_json()).unwrap();
            let (_, block) = crate::scheme::PROVIDERS
                .iter()
                .find(|(name, _)| *name == preset.name)
                .unwrap();
            assert_eq!(written, serde_json::from_str::<Value>(block).unwrap());
        }
    }
}
