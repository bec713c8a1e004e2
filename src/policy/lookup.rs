//! Finds the endpoints that a request concerns. The cost hardly depends on the number of endpoints.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::rc::Rc;

use crate::policy::endpoint::Endpoint;
use crate::policy::matcher::{self, Approach, Matcher, Path, Reach};
use crate::request::path;

/// The endpoints by their paths and hosts.
#[derive(Debug)]
pub(crate) struct Lookup {
    sites: Vec<Site>,
    /// The numbers of the hosts.
    hosts: Starts,
    /// The sites by the configured text.
    texts: Starts,
    /// The sites by a text that every path near theirs contains at the start of a segment.
    near: Starts,
    /// The sites whose paths have no such text.
    without_text: Vec<usize>,
}

/// The number of a configured host. `None` is any other host.
pub(super) type Host = Option<usize>;

/// The endpoints with one path, or with one prefix.
#[derive(Debug)]
pub(super) struct Site {
    path: Path,
    of_all_hosts: Option<usize>,
    /// The endpoints of one host, by its number.
    by_host: Vec<(usize, usize)>,
}

/// Texts with what they mean. Here those are places in a list.
type Texts = BTreeMap<Box<[u8]>, Vec<usize>>;

fn add(texts: &mut Texts, text: &[u8], place: usize) {
    texts.entry(text.into()).or_default().push(place);
}

impl Lookup {
    pub(super) fn new(endpoints: &[Rc<Endpoint>]) -> Self {
        let (mut paths, mut hosts) = (Texts::new(), Texts::new());
        for (index, endpoint) in endpoints.iter().enumerate() {
            let Matcher { path, host } = &endpoint.matcher;
            let kind = [u8::from(path.is_prefix())];
            add(&mut paths, &[path.text().as_bytes(), &kind].concat(), index);
            if let Some(host) = host {
                add(&mut hosts, host.as_bytes(), index);
            }
        }
        let mut sites = Vec::with_capacity(paths.len());
        let mut site_of = vec![0; endpoints.len()];
        for indexes in paths.values() {
            for index in indexes {
                if let Some(site) = site_of.get_mut(*index) {
                    *site = sites.len();
                }
            }
            sites.extend(Site::new(indexes, endpoints));
        }
        // The hosts are numbered in their order, so those of each site are sorted.
        for (host, indexes) in hosts.values_mut().enumerate() {
            for index in indexes.drain(..) {
                let site = site_of.get(index).and_then(|site| sites.get_mut(*site));
                if let Some(site) = site {
                    site.by_host.push((host, index));
                }
            }
            indexes.push(host);
        }
        Self::of_sites(sites, Starts::new(&hosts))
    }

    fn of_sites(sites: Vec<Site>, hosts: Starts) -> Self {
        let (mut texts, mut near, mut without_text) = (Texts::new(), Texts::new(), Vec::new());
        for (place, site) in sites.iter().enumerate() {
            let path = site.path();
            add(&mut texts, path.text().as_bytes(), place);
            for text in path.near_texts() {
                match text {
                    Some(text) => add(&mut near, text.as_bytes(), place),
                    None => without_text.push(place),
                }
            }
        }
        Self {
            sites,
            hosts,
            texts: Starts::new(&texts),
            near: Starts::new(&near),
            without_text,
        }
    }

    /// The host that an authority names.
    pub(super) fn host(&self, authority: &[u8]) -> Host {
        if self.hosts.is_empty() {
            return None;
        }
        let mut host = Cow::Borrowed(matcher::without_port(authority));
        if host.iter().any(u8::is_ascii_uppercase) {
            host = Cow::Owned(host.to_ascii_lowercase());
        }
        let (node, rest) = self.hosts.nodes(&host).last()?;
        let number = node.places.first().copied();
        number.filter(|_| rest.is_empty())
    }

    /// The first endpoint that matches.
    pub(super) fn owner(&self, path: &[u8], host: Host) -> Option<usize> {
        let sites = self.sites(self.texts.of(path));
        let sites = sites.filter(|site| site.path().matches(path));
        sites.flat_map(|site| site.endpoints(host)).min()
    }

    /// Whether an upstream might take a path for that of a site that is wanted. `None` if the path cannot be compared: see
    /// [`Approach::new`].
    pub(super) fn has_near(
        &self,
        path: &[u8],
        granted: usize,
        reach: Reach,
        is_wanted: impl Fn(&Site) -> bool,
    ) -> Option<bool> {
        // Most paths are folded already, and nowhere near another one.
        if path::is_folded(path) && self.wanted_near(path, reach, &is_wanted).next().is_none() {
            return Some(false);
        }
        let approach = Approach::new(path, granted)?;
        let mut wanted = BTreeSet::new();
        for text in approach.texts() {
            // A path can repeat a text that many sites have.
            wanted.extend(self.wanted_near(text.as_bytes(), reach, &is_wanted));
        }
        let mut sites = self.sites(wanted.into_iter());
        Some(sites.any(|site| site.path().is_near(&approach, reach)))
    }

    /// The places of all wanted sites that a folded path may be near, and of some others.
    fn wanted_near(
        &self,
        path: &[u8],
        reach: Reach,
        is_wanted: &impl Fn(&Site) -> bool,
    ) -> impl Iterator<Item = usize> {
        let rests = iter::successors(Some(path), |rest| {
            rest.splitn(2, |byte| *byte == b'/').nth(1)
        });
        let nodes = rests.flat_map(|rest| self.near.nodes(rest));
        let nodes = nodes.filter(move |(_, rest)| reach == Reach::Wide || matcher::is_over(rest));
        let places = nodes.flat_map(|(node, _)| &node.places);
        let places = self.without_text.iter().chain(places).copied();
        places.filter(move |place| self.sites.get(*place).is_some_and(is_wanted))
    }

    /// All sites.
    pub(super) fn all(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter()
    }

    fn sites(&self, places: impl Iterator<Item = usize>) -> impl Iterator<Item = &Site> {
        places.filter_map(|place| self.sites.get(place))
    }
}

impl Site {
    /// The site of these endpoints, without those of one host.
    fn new(indexes: &[usize], endpoints: &[Rc<Endpoint>]) -> Option<Self> {
        let endpoint = |index: &usize| endpoints.get(*index);
        let is_of_all =
            |index: &&usize| endpoint(index).is_some_and(|each| each.matcher.host.is_none());
        Some(Self {
            path: endpoint(indexes.first()?)?.matcher.path.clone(),
            of_all_hosts: indexes.iter().find(is_of_all).copied(),
            by_host: Vec::new(),
        })
    }

    pub(super) const fn path(&self) -> &Path {
        &self.path
    }

    /// The endpoints that requests to this host may belong to. The configuration has at most one for each host, and one for
    /// all of them.
    pub(super) fn endpoints(&self, host: Host) -> impl Iterator<Item = usize> {
        let own = host.and_then(|host| {
            let hosts = &self.by_host;
            let place = hosts.binary_search_by_key(&host, |(host, _)| *host).ok()?;
            hosts.get(place).map(|(_, index)| *index)
        });
        own.into_iter().chain(self.of_all_hosts)
    }
}

/// A tree of texts, to find those that another text starts with. A search reads each byte of that text once at most.
#[derive(Debug, Default)]
struct Starts {
    /// The next part of the texts, up to where they differ.
    part: Box<[u8]>,
    /// The places of the text that ends here.
    places: Vec<usize>,
    /// The rests of the longer texts, by their first bytes.
    longer: Vec<(u8, Self)>,
}

/// The rest of a text, with its places.
type Rest<'t> = (&'t [u8], &'t [usize]);

impl Starts {
    fn new(texts: &Texts) -> Self {
        let rests = texts.iter().map(|(text, places)| (&**text, &**places));
        Self::of_sorted(&rests.collect::<Vec<_>>())
    }

    fn of_sorted(texts: &[Rest<'_>]) -> Self {
        let (Some((first, places)), Some((last, _))) = (texts.first(), texts.last()) else {
            return Self::default();
        };
        let same = first
            .iter()
            .zip(*last)
            .take_while(|(one, other)| one == other);
        let same = same.count();
        let after = texts.iter().filter_map(|(text, places)| {
            let (byte, rest) = text.get(same..)?.split_first()?;
            Some((*byte, (rest, *places)))
        });
        let after: Vec<(u8, Rest<'_>)> = after.collect();
        let groups = after.chunk_by(|(one, _), (other, _)| one == other);
        let longer = groups.filter_map(|group| {
            let (byte, _) = group.first()?;
            let rests: Vec<_> = group.iter().map(|(_, rest)| *rest).collect();
            Some((*byte, Self::of_sorted(&rests)))
        });
        Self {
            part: first.get(..same).unwrap_or_default().into(),
            places: match first.len() == same {
                true => places.to_vec(),
                false => Vec::new(),
            },
            longer: longer.collect(),
        }
    }

    const fn is_empty(&self) -> bool {
        self.places.is_empty() && self.longer.is_empty()
    }

    /// The places of all texts that `text` starts with.
    fn of(&self, text: &[u8]) -> impl Iterator<Item = usize> {
        let nodes = self.nodes(text);
        nodes.flat_map(|(node, _)| node.places.iter().copied())
    }

    /// The nodes on the way of `text`, each with the rest of it.
    fn nodes<'t>(&self, text: &'t [u8]) -> impl Iterator<Item = (&Self, &'t [u8])> {
        iter::successors(self.enter(text), |(node, rest)| node.next(rest))
    }

    fn enter<'t>(&self, text: &'t [u8]) -> Option<(&Self, &'t [u8])> {
        Some((self, text.strip_prefix(&*self.part)?))
    }

    fn next<'t>(&self, text: &'t [u8]) -> Option<(&Self, &'t [u8])> {
        let (byte, rest) = text.split_first()?;
        let longer = &self.longer;
        let place = longer
            .binary_search_by_key(byte, |(first, _)| *first)
            .ok()?;
        longer.get(place)?.1.enter(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_starts_with_each_text_that_is_found_and_with_no_other(
            texts in prop::collection::vec("[ab/]{0,6}", 0..30),
            text in "[ab/]{0,8}",
        ) {
            let mut map = Texts::new();
            for (index, text) in texts.iter().enumerate() {
                add(&mut map, text.as_bytes(), index);
            }
            let mut found: Vec<_> = Starts::new(&map).of(text.as_bytes()).collect();
            found.sort_unstable();
            let wanted = texts.iter().enumerate().filter(|(_, start)| text.starts_with(*start));
            prop_assert_eq!(found, wanted.map(|(index, _)| index).collect::<Vec<_>>());
        }
    }
}
