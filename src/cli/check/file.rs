//! Checks the guards of files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Severity};
use super::kubernetes::Cluster;
use super::{envoy, kubernetes, module};
use crate::cli::guards::{self, Guard};
use crate::cli::source::SourceFile;
use crate::cli::yaml::{self, Yaml};

/// The findings in all files.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) files: Vec<CheckedFile>,
    /// The environment variables that are not set here.
    pub(super) unset: BTreeSet<String>,
}

/// The findings in a file.
#[derive(Debug)]
pub(super) struct CheckedFile {
    pub(super) name: String,
    /// The content. Empty if the file cannot be read.
    pub(super) text: String,
    /// The number of guards.
    pub(super) guards: usize,
    /// The findings in the order of the file, each with the name of its guard.
    pub(super) findings: Vec<(Finding, Option<String>)>,
}

impl Checked {
    /// The severity of the worst finding.
    pub(super) fn worst(&self) -> Option<Severity> {
        self.findings()
            .map(|(_, finding, _)| finding.severity)
            .max()
    }

    pub(super) fn findings(
        &self,
    ) -> impl Iterator<Item = (&CheckedFile, &Finding, Option<&String>)> {
        self.files.iter().flat_map(|file| {
            let findings = file.findings.iter();
            findings.map(move |(finding, guard)| (file, finding, guard.as_ref()))
        })
    }

    /// The number of findings of a severity.
    pub(super) fn count(&self, severity: Severity) -> usize {
        let findings = self.findings();
        findings
            .filter(|(_, finding, _)| finding.severity == severity)
            .count()
    }

    /// The number of guards.
    pub(super) fn guards(&self) -> usize {
        self.files.iter().map(|file| file.guards).sum()
    }
}

/// Checks files together. A file without a guard is an error only if none of the files has one.
pub(super) fn check(paths: &[PathBuf]) -> Checked {
    of_files(paths.iter().map(|path| read(path)).collect())
}

/// The content of a file, before its check.
#[derive(Debug)]
struct Content {
    file: CheckedFile,
    documents: Vec<Yaml>,
}

fn of_files(contents: Vec<Content>) -> Checked {
    let mut unset = BTreeSet::new();
    let mut files = Vec::new();
    let mut documents = Vec::new();
    for content in contents {
        files.push(content.file);
        documents.push(content.documents);
    }
    let guards: Vec<_> = documents
        .iter()
        .map(|documents| guards::find(documents))
        .collect();
    let cluster = Cluster::new(documents.iter().flatten(), guards.iter().flatten());
    for ((file, documents), guards) in files.iter_mut().zip(&documents).zip(&guards) {
        check_documents(file, documents, guards, &cluster, &mut unset);
    }
    let has_findings = files.iter().any(|file| !file.findings.is_empty());
    if !has_findings && files.iter().all(|file| file.guards == 0) {
        for file in &mut files {
            let finding = error(
                "no-guard",
                "the file has no guard".to_owned(),
                "name the file that has the guard's `endpoints`",
            );
            file.findings.push((finding, None));
        }
    }
    Checked { files, unset }
}

fn read(path: &Path) -> Content {
    match SourceFile::read(path) {
        Ok(source) => of_source(source),
        Err(failure) => {
            let finding = error(
                "unreadable-file",
                failure.to_string(),
                "name a file that exists and is readable",
            );
            let file = CheckedFile {
                name: path.display().to_string(),
                text: String::new(),
                guards: 0,
                findings: vec![(finding, None)],
            };
            let documents = Vec::new();
            Content { file, documents }
        }
    }
}

/// An error about a file as a whole.
fn error(rule: &'static str, message: String, fix: &str) -> Finding {
    Finding {
        rule,
        severity: Severity::Error,
        span: 0..0,
        message,
        fix: fix.to_owned(),
    }
}

fn of_source(source: SourceFile) -> Content {
    let (text, documents) = match source.text() {
        Ok(text) => (text.to_owned(), yaml::parse(text)),
        Err(failure) => {
            let fault = yaml::Fault {
                offset: 0,
                message: failure.to_string(),
            };
            (String::new(), Err(fault))
        }
    };
    let mut file = CheckedFile {
        name: source.name,
        text,
        guards: 0,
        findings: Vec::new(),
    };
    let finding = match documents {
        Ok(documents) => return Content { file, documents },
        Err(_) if is_patch(&file.text) => error(
            "no-guard",
            "the file is a patch, and not a configuration".to_owned(),
            "apply it with `patch`, and name the file that it changes",
        ),
        Err(fault) => Finding {
            span: fault.offset..fault.offset.saturating_add(1),
            ..error(
                "syntax-error",
                fault.message,
                "correct the syntax of the file",
            )
        },
    };
    file.findings.push((finding, None));
    let documents = Vec::new();
    Content { file, documents }
}

/// Whether a text is a unified diff.
fn is_patch(text: &str) -> bool {
    ["--- ", "+++ ", "@@ "]
        .iter()
        .all(|begin| text.lines().any(|line| line.starts_with(begin)))
}

fn check_documents<'f>(
    file: &mut CheckedFile,
    documents: &'f [Yaml],
    guards: &'f [Guard<'f>],
    cluster: &Cluster<'f>,
    unset: &mut BTreeSet<String>,
) {
    file.guards = guards
        .len()
        .saturating_add(envoy::discovered_guards(documents));
    let mut findings = Vec::new();
    let mut policies = Vec::new();
    for guard in guards {
        let reading = module::read(guard, &file.text, unset);
        findings.extend(reading.findings);
        policies.push(reading.policy);
    }
    findings.extend(envoy::check(documents, guards, &policies));
    findings.extend(kubernetes::check(documents, guards, &policies, cluster));
    findings.sort_by_key(|finding| finding.span.start);
    let named = findings.into_iter().map(|finding| {
        let guard = owner(guards, &finding);
        (finding, guard)
    });
    file.findings.extend(named);
}

/// The name of the guard that a finding is about.
fn owner(guards: &[Guard<'_>], finding: &Finding) -> Option<String> {
    let contains =
        |yaml: &Yaml| yaml.span.start <= finding.span.start && finding.span.end <= yaml.span.end;
    let mut around = guards.iter().filter(|guard| {
        guard
            .filter
            .map_or_else(|| contains(guard.document), contains)
    });
    let found = match (guards, around.next()) {
        (_, Some(guard)) => guard,
        ([guard], None) => guard,
        _ => return None,
    };
    let at = |yaml: &Yaml, names: &[&str]| yaml.at(names)?.text().map(str::to_owned);
    let kind = at(found.document, &["kind"]);
    let resource = at(found.document, &["metadata", "name"]);
    let plugin = found
        .filter
        .and_then(|filter| at(filter, &["config", "name"]).or_else(|| at(filter, &["name"])));
    match (kind, resource) {
        (Some(kind), Some(resource)) => Some(format!("{kind} {resource}")),
        _ => plugin,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::check::faulty::faulty;

    fn checked(text: &str) -> CheckedFile {
        let source = SourceFile {
            name: "a.yaml".to_owned(),
            bytes: text.as_bytes().to_vec(),
        };
        let mut checked = of_files(vec![of_source(source)]);
        checked.files.remove(0)
    }

    /// The value that a path names, or the nearest one around it, and the name of its field.
    fn named<'y>(path: &str, whole: &'y Yaml) -> (&'y Yaml, std::ops::Range<usize>) {
        let mut found = (whole, whole.span.clone());
        for step in path.replace('[', ".[").split('.') {
            let next = match step.strip_prefix('[') {
                Some(index) => {
                    let index: usize = index.trim_end_matches(']').parse().unwrap();
                    let item = found.0.items().get(index);
                    item.map(|item| (item, item.span.clone()))
                }
                None => {
                    let mut fields = found.0.fields().iter();
                    let field = fields.rfind(|field| field.name == step);
                    field.map(|field| (&field.value, field.span.start..field.value.span.end))
                }
            };
            match next {
                Some(next) => found = next,
                None => break,
            }
        }
        found
    }

    #[test]
    fn each_fault_of_the_module_is_in_the_block_that_its_path_names() {
        let mut seen = 0_usize;
        for text in faulty() {
            if !text.contains("endpoints") {
                continue;
            }
            let Ok(documents) = yaml::parse(&text) else {
                continue;
            };
            let [document] = documents.as_slice() else {
                continue;
            };
            for (finding, _) in checked(&text).findings {
                if !finding.rule.starts_with("configuration") {
                    continue;
                }
                let path = finding.message.split(": ").next().unwrap_or_default();
                let path = match path.contains([' ', '`', '"', '{']) {
                    true => "",
                    false => path,
                };
                let (_, block) = named(path, document);
                let span = &finding.span;
                assert!(
                    block.start <= span.start && span.end <= block.end && !span.is_empty(),
                    "{text}: {}: {span:?} is not in {block:?}",
                    finding.message
                );
                assert!(!finding.fix.is_empty());
                seen = seen.saturating_add(1);
            }
        }
        assert!(seen > 150, "{seen}");
    }

    #[test]
    fn files_are_checked_together() {
        let shipped = |name: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy/istio");
            std::fs::read_to_string(folder.join(name)).unwrap()
        };
        let found = |texts: &[&str]| -> Vec<Vec<&str>> {
            let sources = texts.iter().map(|text| SourceFile {
                name: "a.yaml".to_owned(),
                bytes: text.as_bytes().to_vec(),
            });
            let checked = of_files(sources.map(of_source).collect());
            let files = checked.files.iter();
            files
                .map(|file| file.findings.iter().map(|(each, _)| each.rule).collect())
                .collect()
        };
        let sidecar = shipped("sidecar.yaml");
        let (filter, policies) = sidecar.split_once("\n---\n").unwrap();
        assert_eq!(found(&[filter]), [["sidecar-bypass"]]);
        assert_eq!(found(&[filter, policies]), [[""; 0], []]);
        let pods = shipped("sidecar-example.yaml").replace("inject: \"true\"", "inject: \"false\"");
        let expected: [&[&str]; 3] = [&[], &[], &["sidecar-absent"]];
        assert_eq!(found(&[policies, filter, &pods]), expected);
    }

    #[test]
    fn an_alias_bomb_ends_with_an_error() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30_usize {
            let item = format!("*a{},", level.saturating_sub(1));
            text.push_str(&format!("a{level}: &a{level} [{}]\n", item.repeat(10)));
        }
        let checked = checked(&text);
        assert_eq!(checked.findings[0].0.rule, "syntax-error");
    }

    #[test]
    fn a_patch_is_explained() {
        let text = "Use it so: now.\n--- a/x.yaml\n+++ b/x.yaml\n@@ -1 +1 @@\n-a: b\n+c: d\n";
        let finding = &checked(text).findings;
        assert!(finding[0].0.message.contains("patch"), "{finding:?}");
    }

    #[test]
    fn a_text_that_is_not_the_name_of_a_variable_is_not_listed_as_unset() {
        let text = "endpoints:\n- name: a\n  match: {path: /a}\n  secrets: [{version: v1, env: whsec-abc}, {version: v2, env: KEY_2}, {version: v3, env: abcdef0123456789}]\n";
        let source = SourceFile {
            name: "a.yaml".to_owned(),
            bytes: text.as_bytes().to_vec(),
        };
        let unset = of_files(vec![of_source(source)]).unset;
        assert_eq!(
            unset,
            BTreeSet::from(["KEY_2", "a name that is not in capitals"].map(str::to_owned))
        );
    }
}
