//! The WASI functions that programs of Rust's standard library import whether they use them or not, and those
//! for time and random numbers. Nothing is granted: no arguments, environment, files or network, and an input
//! that has ended. A guest that imports more takes the component path.

use std::time::{Duration, Instant, SystemTime};

use wasmtime::{Caller, Error, Linker, Result, bail};
use wasmtime_wasi::I32Exit;

use super::abi::{Layout, Lower, Lowering, Place};
use super::guest::Guest;
use crate::plugin::state::{CallState, MAX_RANDOM_BYTES, MAX_RESOURCES};
use crate::plugin::stdio::Stream;
use crate::plugin::under_test::UnderTest;

/// Functions whose answers have strings or lists, for which the guest makes room. An empty one has an address
/// too.
pub(super) const NEEDS_ROOM: &[(&str, &str)] = &[
    ("wasi:cli/environment", "get-environment"),
    ("wasi:cli/environment", "get-arguments"),
    ("wasi:random/random", "get-random-bytes"),
    ("wasi:random/insecure", "get-insecure-random-bytes"),
    ("wasi:io/poll", "poll"),
    ("wasi:io/streams", "[method]input-stream.read"),
    ("wasi:io/streams", "[method]input-stream.blocking-read"),
];

/// What a program may write at a time, as it is told when it asks.
const WRITE_BYTES: u64 = 64 * 1024;

/// The most that `blocking-write-and-flush` takes.
const BLOCKING_WRITE_BYTES: u32 = 4096;

/// What a guest has handles to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Input,
    Output(Stream),
    /// Ready at once, or at some time.
    Pollable(Option<Instant>),
}

/// By handle; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: Vec<Option<Resource>>,
    /// Where its monotonic clock began.
    began: Option<Instant>,
}

impl Handles {
    fn open(&mut self, resource: Resource) -> Result<u32> {
        let index = match self.open.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.open.len() >= MAX_RESOURCES => bail!("too many handles"),
            None => {
                self.open.push(None);
                self.open.len() - 1
            }
        };
        self.open[index] = Some(resource);
        Ok(index as u32 + 1)
    }

    fn get(&self, handle: u32) -> Result<Resource> {
        let open = (handle as usize)
            .checked_sub(1)
            .and_then(|index| *self.open.get(index)?);
        open.ok_or_else(unknown)
    }

    fn close(&mut self, handle: u32, is: impl Fn(Resource) -> bool) -> Result<()> {
        if !is(self.get(handle)?) {
            return Err(unknown());
        }
        self.open[handle as usize - 1] = None;
        Ok(())
    }

    fn output(&self, handle: u32) -> Result<Stream> {
        match self.get(handle)? {
            Resource::Output(stream) => Ok(stream),
            _ => Err(unknown()),
        }
    }

    fn pollable(&self, handle: u32) -> Result<Option<Instant>> {
        match self.get(handle)? {
            Resource::Pollable(ready) => Ok(ready),
            _ => Err(unknown()),
        }
    }

    fn monotonic(&mut self, now: Instant) -> u64 {
        let began = *self.began.get_or_insert(now);
        u64::try_from(now.saturating_duration_since(began).as_nanos()).unwrap_or(u64::MAX)
    }
}

fn unknown() -> Error {
    Error::msg("unknown handle")
}

/// Why a stream cannot be used. The other case, a failure with a handle to its cause, never comes up.
struct Closed;

impl Layout for Closed {
    const SIZE: u32 = 8;
    const ALIGN: u32 = 4;
}

impl Lower for Closed {
    fn lower(self, lowering: &mut Lowering, at: Place) {
        1_u8.lower(lowering, at);
    }
}

/// Seconds since the epoch, and nanoseconds.
type Datetime = (u64, u32);

type Host<'a> = Caller<'a, CallState>;

/// Links all of them, under the names of this version of WASI (`0.2.0`).
pub(super) fn add_to_linker(linker: &mut Linker<CallState>, version: &str) -> Result<()> {
    let name = |interface: &str| format!("wasi:{interface}@{version}");
    add_cli(linker, name)?;
    add_poll(linker, &name("io/poll"))?;
    add_streams(linker, &name("io/streams"))?;
    linker.func_wrap(&name("io/error"), "[resource-drop]error", no_handle)?;
    add_clocks(linker, name)?;
    add_random(linker, name)
}

/// Handles of types that nothing is made of.
fn no_handle(_: Host<'_>, _handle: u32) -> Result<()> {
    Err(unknown())
}

fn add_cli(linker: &mut Linker<CallState>, name: impl Fn(&str) -> String) -> Result<()> {
    let environment = name("cli/environment");
    linker.func_wrap(
        &environment,
        "get-environment",
        |mut caller: Host<'_>, at: u32| Guest::of(&mut caller)?.answer(at, Vec::<(String, String)>::new()),
    )?;
    linker.func_wrap(&environment, "get-arguments", |mut caller: Host<'_>, at: u32| {
        Guest::of(&mut caller)?.answer(at, Vec::<String>::new())
    })?;
    linker.func_wrap(&environment, "initial-cwd", |mut caller: Host<'_>, at: u32| {
        Guest::of(&mut caller)?.answer(at, None::<String>)
    })?;
    linker.func_wrap(
        &name("cli/exit"),
        "exit",
        |mut caller: Host<'_>, failed: u32| -> Result<()> {
            Guest::of(&mut caller)?;
            // Its argument is a result: the case is its number.
            Err(match failed {
                0 | 1 => I32Exit(failed as i32).into(),
                _ => Error::msg("invalid case of a result"),
            })
        },
    )?;
    for (interface, function, resource) in [
        ("cli/stdin", "get-stdin", Resource::Input),
        ("cli/stdout", "get-stdout", Resource::Output(Stream::Stdout)),
        ("cli/stderr", "get-stderr", Resource::Output(Stream::Stderr)),
    ] {
        linker.func_wrap(
            &name(interface),
            function,
            move |mut caller: Host<'_>| -> Result<u32> {
                Guest::of(&mut caller)?.state.flat.handles.open(resource)
            },
        )?;
    }
    for stream in ["stdin", "stdout", "stderr"] {
        let (interface, function) = (format!("cli/terminal-{stream}"), format!("get-terminal-{stream}"));
        linker.func_wrap(&name(&interface), &function, |mut caller: Host<'_>, at: u32| {
            Guest::of(&mut caller)?.answer(at, None::<u32>)
        })?;
    }
    for direction in ["input", "output"] {
        let (interface, drop) = (
            format!("cli/terminal-{direction}"),
            format!("[resource-drop]terminal-{direction}"),
        );
        linker.func_wrap(&name(&interface), &drop, no_handle)?;
    }
    Ok(())
}

fn add_poll(linker: &mut Linker<CallState>, poll: &str) -> Result<()> {
    linker.func_wrap(
        poll,
        "[resource-drop]pollable",
        |mut caller: Host<'_>, handle: u32| {
            let handles = &mut Guest::of(&mut caller)?.state.flat.handles;
            handles.close(handle, |resource| matches!(resource, Resource::Pollable(_)))
        },
    )?;
    linker.func_wrap(
        poll,
        "[method]pollable.ready",
        |mut caller: Host<'_>, handle: u32| -> Result<u32> {
            let ready = Guest::of(&mut caller)?.state.flat.handles.pollable(handle)?;
            Ok(is_ready(ready, Instant::now()).into())
        },
    )?;
    linker.func_wrap_async(
        poll,
        "[method]pollable.block",
        |mut caller: Host<'_>, (handle,): (u32,)| {
            Box::new(async move {
                if let Some(ready) = Guest::of(&mut caller)?.state.flat.handles.pollable(handle)? {
                    tokio::time::sleep_until(ready.into()).await;
                }
                Ok(())
            })
        },
    )?;
    linker.func_wrap_async(
        poll,
        "poll",
        |mut caller: Host<'_>, (handles, count, at): (u32, u32, u32)| {
            Box::new(async move {
                let guest = Guest::of(&mut caller)?;
                let handles: Vec<u32> = guest.arguments().list(handles, count)?;
                let open = &guest.state.flat.handles;
                let awaited: Vec<_> = handles
                    .iter()
                    .map(|handle| open.pollable(*handle))
                    .collect::<Result<_>>()?;
                let Some(first) = awaited.iter().min() else {
                    bail!("a poll of nothing");
                };
                if let Some(first) = first {
                    tokio::time::sleep_until((*first).into()).await;
                }
                let now = Instant::now();
                let ready = (0..).zip(&awaited).filter(|(_, ready)| is_ready(**ready, now));
                let ready: Vec<u32> = ready.map(|(index, _)| index).collect();
                Guest::of(&mut caller)?.answer(at, ready)
            })
        },
    )?;
    Ok(())
}

fn is_ready(at: Option<Instant>, now: Instant) -> bool {
    at.is_none_or(|at| at <= now)
}

fn add_streams(linker: &mut Linker<CallState>, streams: &str) -> Result<()> {
    linker.func_wrap(
        streams,
        "[resource-drop]input-stream",
        |mut caller: Host<'_>, handle: u32| {
            let handles = &mut Guest::of(&mut caller)?.state.flat.handles;
            handles.close(handle, |resource| resource == Resource::Input)
        },
    )?;
    linker.func_wrap(
        streams,
        "[resource-drop]output-stream",
        |mut caller: Host<'_>, handle: u32| {
            let handles = &mut Guest::of(&mut caller)?.state.flat.handles;
            handles.close(handle, |resource| matches!(resource, Resource::Output(_)))
        },
    )?;
    for function in ["read", "blocking-read"] {
        let function = format!("[method]input-stream.{function}");
        linker.func_wrap(
            streams,
            &function,
            |mut caller: Host<'_>, handle: u32, _bytes: u64, at: u32| {
                let guest = Guest::of(&mut caller)?;
                match guest.state.flat.handles.get(handle)? {
                    Resource::Input => guest.answer(at, Err::<Vec<u8>, _>(Closed)),
                    _ => Err(unknown()),
                }
            },
        )?;
    }
    for direction in ["input", "output"] {
        let function = format!("[method]{direction}-stream.subscribe");
        linker.func_wrap(
            streams,
            &function,
            move |mut caller: Host<'_>, handle: u32| -> Result<u32> {
                let handles = &mut Guest::of(&mut caller)?.state.flat.handles;
                let is_input = match handles.get(handle)? {
                    Resource::Input => true,
                    Resource::Output(_) => false,
                    Resource::Pollable(_) => return Err(unknown()),
                };
                if is_input != (direction == "input") {
                    return Err(unknown());
                }
                handles.open(Resource::Pollable(None))
            },
        )?;
    }
    linker.func_wrap(
        streams,
        "[method]output-stream.check-write",
        |mut caller: Host<'_>, handle: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            guest.state.flat.handles.output(handle)?;
            guest.answer(at, Ok::<_, Closed>(WRITE_BYTES))
        },
    )?;
    for function in ["flush", "blocking-flush"] {
        let function = format!("[method]output-stream.{function}");
        linker.func_wrap(
            streams,
            &function,
            |mut caller: Host<'_>, handle: u32, at: u32| {
                let guest = Guest::of(&mut caller)?;
                guest.state.flat.handles.output(handle)?;
                guest.answer(at, Ok::<_, Closed>(()))
            },
        )?;
    }
    for (function, most) in [
        ("write", u32::MAX),
        ("blocking-write-and-flush", BLOCKING_WRITE_BYTES),
    ] {
        let function = format!("[method]output-stream.{function}");
        linker.func_wrap(
            streams,
            &function,
            move |mut caller: Host<'_>, handle: u32, text: u32, bytes: u32, at: u32| {
                let guest = Guest::of(&mut caller)?;
                if bytes > most {
                    bail!("too much is written at once");
                }
                let text: Vec<u8> = guest.arguments().list(text, bytes)?;
                let stream = guest.state.flat.handles.output(handle)?;
                guest.state.output.lock().push(stream, &text);
                guest.answer(at, Ok::<_, Closed>(()))
            },
        )?;
    }
    Ok(())
}

fn add_clocks(linker: &mut Linker<CallState>, name: impl Fn(&str) -> String) -> Result<()> {
    let (monotonic, wall) = (name("clocks/monotonic-clock"), name("clocks/wall-clock"));
    linker.func_wrap(&monotonic, "now", |mut caller: Host<'_>| -> Result<u64> {
        Ok(Guest::of(&mut caller)?
            .state
            .flat
            .handles
            .monotonic(Instant::now()))
    })?;
    linker.func_wrap(&monotonic, "resolution", |mut caller: Host<'_>| -> Result<u64> {
        Guest::of(&mut caller)?;
        Ok(1)
    })?;
    linker.func_wrap(
        &monotonic,
        "subscribe-duration",
        |mut caller: Host<'_>, nanos: u64| -> Result<u32> {
            let handles = &mut Guest::of(&mut caller)?.state.flat.handles;
            handles.open(Resource::Pollable(Some(after(Instant::now(), nanos))))
        },
    )?;
    linker.func_wrap(
        &monotonic,
        "subscribe-instant",
        |mut caller: Host<'_>, at: u64| -> Result<u32> {
            let handles = &mut Guest::of(&mut caller)?.state.flat.handles;
            let now = Instant::now();
            let nanos = at.saturating_sub(handles.monotonic(now));
            handles.open(Resource::Pollable(Some(after(now, nanos))))
        },
    )?;
    linker.func_wrap(&wall, "now", |mut caller: Host<'_>, at: u32| {
        let guest = Guest::of(&mut caller)?;
        let now = match &guest.state.plugin.under_test {
            Some(test) => test.since_epoch(),
            None => SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        };
        let now: Datetime = (now.as_secs(), now.subsec_nanos());
        guest.answer(at, now)
    })?;
    linker.func_wrap(&wall, "resolution", |mut caller: Host<'_>, at: u32| {
        let resolution: Datetime = (0, 1);
        Guest::of(&mut caller)?.answer(at, resolution)
    })?;
    Ok(())
}

/// Beyond what a clock can count, a year is as long as a guest can wait.
fn after(now: Instant, nanos: u64) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    now.checked_add(Duration::from_nanos(nanos)).unwrap_or(now + YEAR)
}

fn add_random(linker: &mut Linker<CallState>, name: impl Fn(&str) -> String) -> Result<()> {
    for (interface, prefix) in [
        ("random/random", "get-random"),
        ("random/insecure", "get-insecure-random"),
    ] {
        let interface = name(interface);
        linker.func_wrap(
            &interface,
            &format!("{prefix}-bytes"),
            |mut caller: Host<'_>, bytes: u64, at: u32| {
                let guest = Guest::of(&mut caller)?;
                if bytes > MAX_RANDOM_BYTES {
                    bail!("too many random bytes at once");
                }
                let random = match &guest.state.plugin.under_test {
                    Some(test) => test.random_bytes(bytes as usize),
                    None => {
                        let mut random = vec![0_u8; bytes as usize];
                        rand::fill(&mut random[..]);
                        random
                    }
                };
                guest.answer(at, random)
            },
        )?;
        linker.func_wrap(
            &interface,
            &format!("{prefix}-u64"),
            |mut caller: Host<'_>| -> Result<u64> {
                let guest = Guest::of(&mut caller)?;
                let test = guest.state.plugin.under_test.as_ref();
                Ok(test.map_or_else(rand::random, UnderTest::random_u64))
            },
        )?;
    }
    linker.func_wrap(
        &name("random/insecure-seed"),
        "insecure-seed",
        |mut caller: Host<'_>, at: u32| {
            Guest::of(&mut caller)?.answer(at, (rand::random::<u64>(), rand::random::<u64>()))
        },
    )?;
    Ok(())
}
