//! A host in memory, for native tests and fuzzing. Each thread has its own.
//!
//! A test sets the state of the host, runs the shell's callbacks, and reads what the shell did. Every call can be made
//! to fail, and the host keeps a journal of all calls.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "a test may panic"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Failure, Level, Map, MetricKind};

/// The calls that a test can distinguish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    HeaderMap(Map),
    SetHeader(Map),
    RemoveHeader(Map),
    Body,
    ClearBody,
    ResponseBody,
    Get,
    Configuration,
    Property,
    /// The property `request.total_size`.
    TotalSize,
    FilterState,
    SetFilterState,
    Respond,
    Reset,
    WallClock,
    MonotonicClock,
    LogLevel,
    Define,
    Increment(u32),
    Record(u32),
    ReadMetric,
    SharedData,
    SetSharedData,
    SwapSharedData,
    SetContext,
    SetTick,
}

/// A call that the shell made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The context that the host took for the calling one.
    pub(crate) context: u32,
    pub(crate) call: Call,
    pub(crate) failed: bool,
}

/// An answer that the filter sent by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) details: String,
}

type Pairs = Vec<(String, Vec<u8>)>;

/// The host's state of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) request_headers: Pairs,
    pub(crate) request_trailers: Pairs,
    pub(crate) response_headers: Pairs,
    pub(crate) response_trailers: Pairs,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: BTreeMap<String, Vec<u8>>,
    pub(crate) filter_state: BTreeMap<String, Vec<u8>>,
    pub(crate) answers: Vec<Answer>,
    /// The filter has reset the request.
    pub(crate) is_reset: bool,
}

/// A metric, with the sum of its increments or its last value.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) kind: MetricKind,
    pub(crate) value: i64,
}

/// Which of the next calls fail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Failing {
    #[default]
    None,
    /// One call, after so many others.
    After(u32),
    /// All calls.
    All,
}

/// The whole host.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) configuration: Vec<u8>,
    pub(crate) context: u32,
    pub(crate) streams: BTreeMap<u32, Stream>,
    pub(crate) shared: BTreeMap<String, (Vec<u8>, u32)>,
    pub(crate) metrics: Vec<Metric>,
    /// The numbers of the metrics, by name.
    pub(crate) numbers: HashMap<String, u32>,
    /// Nanoseconds.
    pub(crate) monotonic: u64,
    /// Milliseconds since 1970.
    pub(crate) wall: u64,
    pub(crate) lines: Vec<(Level, String)>,
    pub(crate) level: Option<Level>,
    /// The calls to other clusters that have no response yet.
    pub(crate) gets: Vec<u32>,
    pub(crate) call_headers: Pairs,
    pub(crate) call_body: Vec<u8>,
    pub(crate) failing: Failing,
    /// How many of the next swaps find that another worker was faster.
    pub(crate) races: u32,
    pub(crate) journal: Vec<Entry>,
    /// The contexts whose swaps changed shared data.
    pub(crate) swaps: Vec<u32>,
}

thread_local! {
    static FAKE: RefCell<Fake> = RefCell::default();
}

/// Reads or changes the host of this thread.
pub(crate) fn with<T>(act: impl FnOnce(&mut Fake) -> T) -> T {
    FAKE.with_borrow_mut(act)
}

impl Fake {
    /// Notes a call, and makes it fail if it is its turn.
    fn note(&mut self, call: Call) -> Result<(), Failure> {
        let failed = match &mut self.failing {
            Failing::None => false,
            Failing::All => true,
            Failing::After(0) => {
                self.failing = Failing::None;
                true
            }
            Failing::After(left) => {
                *left -= 1;
                false
            }
        };
        self.journal.push(Entry {
            context: self.context,
            call,
            failed,
        });
        if failed { Err(Failure) } else { Ok(()) }
    }

    /// The request that calls are about.
    fn stream(&mut self) -> Result<&mut Stream, Failure> {
        self.streams.get_mut(&self.context).ok_or(Failure)
    }

    fn pairs(&mut self, map: Map) -> Result<&mut Pairs, Failure> {
        Ok(match map {
            Map::RequestHeaders => &mut self.stream()?.request_headers,
            Map::RequestTrailers => &mut self.stream()?.request_trailers,
            Map::ResponseHeaders => &mut self.stream()?.response_headers,
            Map::ResponseTrailers => &mut self.stream()?.response_trailers,
            Map::CallHeaders => &mut self.call_headers,
        })
    }

    fn metric(&mut self, number: u32) -> Result<&mut Metric, Failure> {
        let index = usize::try_from(number).map_err(|_| Failure)?;
        self.metrics.get_mut(index).ok_or(Failure)
    }
}

/// A header map by the ABI: the number of pairs, all sizes, then all names and values with a zero byte each.
fn encoded(pairs: &Pairs) -> Vec<u8> {
    let size = |bytes: &[u8]| {
        let size = u32::try_from(bytes.len()).expect("a small header");
        size.to_le_bytes()
    };
    let count = u32::try_from(pairs.len()).expect("few headers");
    let mut map = count.to_le_bytes().to_vec();
    for (name, value) in pairs {
        map.extend(size(name.as_bytes()));
        map.extend(size(value));
    }
    for (name, value) in pairs {
        map.extend([name.as_bytes(), b"\0", value, b"\0"].concat());
    }
    map
}

fn slice(bytes: &[u8], start: usize, size: usize) -> Result<Vec<u8>, Failure> {
    let end = start.checked_add(size).ok_or(Failure)?;
    bytes.get(start..end).map(<[u8]>::to_vec).ok_or(Failure)
}

/// The functions that `envoy` also has.
pub(crate) mod calls {
    use super::*;
    use crate::time::UnixNanos;
    use std::fmt::Arguments;

    pub(crate) fn header_map(map: Map) -> Result<Vec<u8>, Failure> {
        with(|fake| {
            fake.note(Call::HeaderMap(map))?;
            Ok(encoded(fake.pairs(map)?))
        })
    }

    pub(crate) fn optional_header_map(map: Map) -> Result<Option<Vec<u8>>, Failure> {
        header_map(map).map(Some)
    }

    pub(crate) fn set_header(map: Map, name: &str, value: &str) -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::SetHeader(map))?;
            let pairs = fake.pairs(map)?;
            pairs.retain(|(each, _)| each != name);
            pairs.push((name.to_owned(), value.into()));
            Ok(())
        })
    }

    pub(crate) fn remove_header(map: Map, name: &[u8]) -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::RemoveHeader(map))?;
            let pairs = fake.pairs(map)?;
            pairs.retain(|(each, _)| each.as_bytes() != name);
            Ok(())
        })
    }

    pub(crate) fn body(start: usize, size: usize) -> Result<Vec<u8>, Failure> {
        with(|fake| {
            fake.note(Call::Body)?;
            let part = slice(&fake.stream()?.body, start, size);
            if let Some(entry) = fake.journal.last_mut() {
                entry.failed = part.is_err();
            }
            part
        })
    }

    pub(crate) fn clear_body(_: usize) -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::ClearBody)?;
            fake.stream()?.body.clear();
            Ok(())
        })
    }

    pub(crate) fn call_body(size: usize) -> Result<Vec<u8>, Failure> {
        with(|fake| {
            fake.note(Call::ResponseBody)?;
            slice(&fake.call_body, 0, size)
        })
    }

    pub(crate) fn get(_: &str, _: &str, _: &str) -> Result<u32, Failure> {
        with(|fake| {
            fake.note(Call::Get)?;
            let number = fake.gets.iter().max().map_or(1, |last| last + 1);
            fake.gets.push(number);
            Ok(number)
        })
    }

    pub(crate) fn plugin_configuration(size: usize) -> Result<Vec<u8>, Failure> {
        with(|fake| {
            fake.note(Call::Configuration)?;
            slice(&fake.configuration, 0, size)
        })
    }

    pub(crate) fn property(path: &str) -> Result<Option<Vec<u8>>, Failure> {
        with(|fake| {
            fake.note(match path {
                "request\0total_size" => Call::TotalSize,
                _ => Call::Property,
            })?;
            let name = path.replace('\0', ".");
            Ok(match path {
                "plugin_root_id" => Some(b"root".to_vec()),
                _ => fake.stream()?.properties.get(&name).cloned(),
            })
        })
    }

    pub(crate) fn filter_state(key: &str) -> Result<Option<Vec<u8>>, Failure> {
        with(|fake| {
            fake.note(Call::FilterState)?;
            Ok(fake.stream()?.filter_state.get(key).cloned())
        })
    }

    pub(crate) fn set_filter_state(name: &str, value: &[u8]) -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::SetFilterState)?;
            let stream = fake.stream()?;
            stream
                .filter_state
                .insert(["wasm.", name].concat(), value.to_vec());
            Ok(())
        })
    }

    pub(crate) fn respond(
        status: u16,
        details: &str,
        _: &[(&str, &str)],
        _: &str,
    ) -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::Respond)?;
            fake.stream()?.answers.push(Answer {
                status,
                details: details.to_owned(),
            });
            Ok(())
        })
    }

    pub(crate) fn reset_request() -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::Reset)?;
            fake.stream()?.is_reset = true;
            Ok(())
        })
    }

    pub(crate) fn now() -> Result<UnixNanos, Failure> {
        with(|fake| {
            fake.note(Call::WallClock)?;
            Ok(UnixNanos(fake.wall.saturating_mul(1_000_000)))
        })
    }

    pub(crate) fn monotonic_nanos() -> Result<u64, Failure> {
        with(|fake| {
            fake.note(Call::MonotonicClock)?;
            Ok(fake.monotonic)
        })
    }

    pub(crate) fn least_level() -> Level {
        with(|fake| match fake.note(Call::LogLevel) {
            Ok(()) => fake.level.unwrap_or(Level::Debug),
            Err(Failure) => Level::Debug,
        })
    }

    pub(crate) fn log(level: Level, line: Arguments<'_>) {
        log_text(level, &line.to_string());
    }

    pub(crate) fn log_text(level: Level, line: &str) {
        with(|fake| fake.lines.push((level, line.to_owned())));
    }

    pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Result<u32, Failure> {
        with(|fake| {
            fake.note(Call::Define)?;
            if let Some(number) = fake.numbers.get(name) {
                return Ok(*number);
            }
            let number = u32::try_from(fake.metrics.len()).map_err(|_| Failure)?;
            fake.numbers.insert(name.to_owned(), number);
            fake.metrics.push(Metric {
                name: name.to_owned(),
                kind,
                value: 0,
            });
            Ok(number)
        })
    }

    pub(crate) fn increment(metric: u32, by: i64) -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::Increment(metric))?;
            let metric = fake.metric(metric)?;
            assert_ne!(metric.kind, MetricKind::Histogram, "{}", metric.name);
            metric.value += by;
            Ok(())
        })
    }

    pub(crate) fn record(metric: u32, value: u64) -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::Record(metric))?;
            let metric = fake.metric(metric)?;
            assert_ne!(metric.kind, MetricKind::Counter, "{}", metric.name);
            metric.value = value.cast_signed();
            Ok(())
        })
    }

    pub(crate) fn metric(metric: u32) -> Result<u64, Failure> {
        with(|fake| {
            fake.note(Call::ReadMetric)?;
            Ok(fake.metric(metric)?.value.cast_unsigned())
        })
    }

    pub(crate) fn shared_data(key: &str) -> Result<Option<(Vec<u8>, u32)>, Failure> {
        with(|fake| {
            fake.note(Call::SharedData)?;
            Ok(fake.shared.get(key).cloned())
        })
    }

    pub(crate) fn set_shared_data(key: &str, value: &[u8]) -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::SetSharedData)?;
            fake.share(key, value);
            Ok(())
        })
    }

    pub(crate) fn swap_shared_data(key: &str, value: &[u8], version: u32) -> Result<bool, Failure> {
        with(|fake| {
            fake.note(Call::SwapSharedData)?;
            let known = fake.shared.get(key).map_or(0, |(_, version)| *version);
            if fake.races > 0 {
                fake.races -= 1;
                return Ok(false);
            }
            if version != 0 && version != known {
                return Ok(false);
            }
            fake.share(key, value);
            fake.swaps.push(fake.context);
            Ok(true)
        })
    }

    pub(crate) fn set_effective_context(id: u32) -> Result<(), Failure> {
        with(|fake| {
            fake.note(Call::SetContext)?;
            fake.context = id;
            Ok(())
        })
    }

    pub(crate) fn set_tick_period(_: Duration) -> Result<(), Failure> {
        with(|fake| fake.note(Call::SetTick))
    }
}

impl Fake {
    fn share(&mut self, key: &str, value: &[u8]) {
        let version = self.shared.get(key).map_or(0, |(_, version)| *version);
        let value = (value.to_vec(), version + 1);
        self.shared.insert(key.to_owned(), value);
    }
}
