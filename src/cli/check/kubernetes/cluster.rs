//! The resources of all files, and how they select each other.

use std::ops::Range;

use crate::cli::check::filters::values::{anchor, at, get, text};
use crate::cli::guards::Guard;
use crate::cli::yaml::{Field, Kind, Yaml};

/// The resources that a rule compares with each other.
#[derive(Debug)]
pub(in crate::cli::check) struct Cluster<'f> {
    pub(super) documents: Vec<&'f Yaml>,
    pub(super) guards: Vec<&'f Guard<'f>>,
}

impl<'f> Cluster<'f> {
    /// The resources among these documents, with their guards.
    pub(in crate::cli::check) fn new(
        documents: impl Iterator<Item = &'f Yaml>,
        guards: impl Iterator<Item = &'f Guard<'f>>,
    ) -> Self {
        let is_resource = |document: &Yaml| get(document, "kind").is_some();
        Self {
            documents: documents.filter(|each| is_resource(each)).collect(),
            guards: guards.filter(|guard| is_resource(guard.document)).collect(),
        }
    }

    /// The resources of a kind.
    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &'f Yaml> {
        let documents = self.documents.iter().copied();
        documents.filter(move |document| text(document, "kind") == Some(kind))
    }

    /// The guards of resources of a kind.
    pub(super) fn guards_of(&self, kind: &str) -> impl Iterator<Item = &'f Guard<'f>> {
        let guards = self.guards.iter().copied();
        guards.filter(move |guard| text(guard.document, "kind") == Some(kind))
    }
}

/// The name of a resource, at which a finding about an absent field points.
pub(super) fn name(document: &Yaml) -> Range<usize> {
    let name = at(document, &["metadata", "name"]);
    name.map_or_else(|| anchor(document), |name| name.span.clone())
}

/// Whether two resources can be in one namespace, judging by the namespaces that the files name.
pub(super) fn share_namespace(one: &Yaml, other: &Yaml) -> bool {
    let namespace = |document| at(document, &["metadata", "namespace"]).and_then(Yaml::text);
    match (namespace(one), namespace(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// Whether a selector, or its absence, selects the pods with these labels.
pub(super) fn selects(selector: Option<&Yaml>, labels: Option<&Yaml>) -> bool {
    let has = |field: &Field| {
        let value = labels.and_then(|labels| labels.get(&field.name));
        value.is_some_and(|value| value.to_json() == field.value.to_json())
    };
    selector.is_none_or(|selector| selector.fields().iter().all(has))
}

/// The labels of the pods that an EnvoyFilter selects.
pub(super) fn workload_labels(document: &Yaml) -> Option<&Yaml> {
    at(document, &["spec", "workloadSelector", "labels"])
}

/// A pod, or the template of pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod<'f>(pub(super) &'f Yaml);

impl<'f> Pod<'f> {
    /// The pod of a workload's resource.
    pub(super) fn of(document: &'f Yaml) -> Option<Self> {
        match text(document, "kind")? {
            "Pod" => Some(Self(document)),
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => {
                Some(Self(at(document, &["spec", "template"])?))
            }
            _ => None,
        }
    }

    pub(super) fn labels(self) -> Option<&'f Yaml> {
        at(self.0, &["metadata", "labels"])
    }

    pub(super) fn annotation(self, name: &str) -> Option<&'f Yaml> {
        at(self.0, &["metadata", "annotations", name])
    }

    pub(super) fn containers(self) -> &'f [Yaml] {
        at(self.0, &["spec", "containers"]).map_or(&[], Yaml::items)
    }

    /// The container with Envoy.
    pub(super) fn proxy(self) -> Option<&'f Yaml> {
        let initial = at(self.0, &["spec", "initContainers"]).map_or(&[][..], Yaml::items);
        let mut containers = self.containers().iter().chain(initial);
        containers.find(|container| text(container, "name") == Some("istio-proxy"))
    }
}

/// A copy of a value whose parts all have one place.
pub(super) fn moved(value: &Yaml, span: &Range<usize>) -> Yaml {
    let kind = match &value.kind {
        Kind::List(items) => Kind::List(items.iter().map(|item| moved(item, span)).collect()),
        Kind::Map(fields) => Kind::Map(
            fields
                .iter()
                .map(|field| Field {
                    name: field.name.clone(),
                    span: span.clone(),
                    value: moved(&field.value, span),
                })
                .collect(),
        ),
        other => other.clone(),
    };
    Yaml {
        kind,
        span: span.clone(),
    }
}

/// A map with the fields of both. The fields of `over` replace those of `under`.
pub(super) fn merged(over: &Yaml, under: &Yaml) -> Yaml {
    if over.fields().is_empty() {
        return over.clone();
    }
    let mut fields: Vec<_> = over
        .fields()
        .iter()
        .map(|field| Field {
            value: match get(under, &field.name) {
                Some(below) => merged(&field.value, below),
                None => field.value.clone(),
            },
            ..field.clone()
        })
        .collect();
    let missing = under.fields().iter();
    fields.extend(
        missing
            .filter(|field| get(over, &field.name).is_none())
            .cloned(),
    );
    Yaml {
        kind: Kind::Map(fields),
        span: over.span.clone(),
    }
}

/// A map of texts and other values, all at one place.
pub(super) fn map(fields: Vec<(&str, Yaml)>, span: &Range<usize>) -> Yaml {
    let fields = fields.into_iter().map(|(name, value)| Field {
        name: name.to_owned(),
        span: span.clone(),
        value,
    });
    Yaml {
        kind: Kind::Map(fields.collect()),
        span: span.clone(),
    }
}
