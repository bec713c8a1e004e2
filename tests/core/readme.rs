//! What the README claims of the code, held against the code.

use std::fs;

use webhook_guard::verdict::Reason;

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// The rows of the table whose first column is headed `heading`, cells trimmed.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = readme();
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    };
    text.lines()
        .skip_while(|line| !line.starts_with(&format!("| {heading} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

#[test]
fn the_verdict_table_is_the_codes() {
    let expected: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| {
            let (status, body) = match reason.response() {
                Some(response) => {
                    let retry = response
                        .retry_after
                        .map(|after| format!(", Retry-After: {after}"));
                    (
                        format!("{}{}", response.status, retry.unwrap_or_default()),
                        response.body,
                    )
                }
                None => ("-".to_owned(), "-"),
            };
            [reason.name().to_owned(), status, body.to_owned()]
        })
        .collect();
    let written: Vec<_> = table("reason")
        .into_iter()
        .map(|row| row[..3].to_vec())
        .collect();
    assert_eq!(written, expected);
}

#[test]
fn the_table_of_presets_is_complete() {
    let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/providers")).unwrap();
    let mut presets: Vec<_> = folder
        .map(|file| {
            let text = fs::read(file.unwrap().path()).unwrap();
            let preset: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let text = |field: &str| preset[field].as_str().unwrap().to_owned();
            vec![text("name"), text("evidence")]
        })
        .collect();
    presets.sort();
    let written: Vec<_> = table("provider")
        .into_iter()
        .map(|row| row[..2].to_vec())
        .collect();
    assert_eq!(written, presets);
}
