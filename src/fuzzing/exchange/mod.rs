//! Whole requests through the shell, on a host in memory.

mod request;
mod world;

use super::Input;
use crate::shell::host::fake;
use request::Request;
use world::World;

/// Runs callbacks in any order, with any split of bodies and any failing calls. The shell never panics, and never
/// forwards a request that it must reject.
pub fn exchange(data: &[u8]) {
    if let Some((0xff, rest)) = data.split_first() {
        return splits(&mut Input(rest));
    }
    let mut input = Input(data);
    let mut world = World::new();
    for _ in 0..200 {
        if input.0.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.close();
}

/// The metrics of a configuration that has all of them: kind, name and labels.
#[must_use]
pub fn metrics() -> Vec<(String, String)> {
    let world = World::new();
    let metrics = fake::with(|fake| {
        let metrics = fake.metrics.iter();
        metrics
            .map(|metric| (format!("{:?}", metric.kind), metric.name.clone()))
            .collect()
    });
    world.close();
    metrics
}

/// The verdict on a request is the same for every split of its body.
fn splits(input: &mut Input<'_>) {
    let request = Request::read(input);
    let cuts: Vec<_> = (0..4).map(|_| usize::from(input.byte())).collect();
    let ends_apart = input.flag();
    let whole = alone(&request, &[], false);
    let split = alone(&request, &cuts, ends_apart);
    assert_eq!(whole, split, "{request:?}");
}

/// Runs one request in a new world. Returns its verdict and reason, and the headers that go upstream.
fn alone(request: &Request, cuts: &[usize], ends_apart: bool) -> (String, Vec<(String, Vec<u8>)>) {
    let mut world = World::new();
    let slot = world.open(request.clone());
    world.headers(slot, false);
    for cut in cuts {
        world.body(0, *cut, false);
    }
    world.body(0, usize::MAX, !ends_apart);
    if ends_apart {
        world.body(0, 0, true);
    }
    let id = world.slots[0].id;
    let counted = World::counted(id);
    let headers = fake::with(|fake| fake.streams[&id].request_headers.clone());
    world.close();
    (counted.join(" "), headers)
}
