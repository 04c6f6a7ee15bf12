//! Gathers every figure of the table.

mod deferred;

use std::sync::Arc;

use tokio::sync::watch;
use tonic::Code;

use super::generation::{GenerationMetrics, Identity, Method, State};
use super::instrument::nanos;
use super::page::Page;
use super::{process, table};
use crate::capability::events::{Progress, SubscriptionMetrics};
use crate::capability::store::{Health, Store, Usage};
use crate::capability::timers::TimerMetrics;
use crate::dispatch::Dispatcher;
use crate::generations::Registry;
use crate::server::ConnectionMetrics;
use crate::status::code_name;

/// Knows where all figures are.
#[derive(Clone)]
pub struct Collector {
    /// Plugins and their generations.
    pub registry: Arc<Registry>,
    /// Calls.
    pub dispatcher: Arc<Dispatcher>,
    /// State.
    pub store: Store,
    /// Events.
    pub events: Progress,
    /// Deliveries into plugins, by the names of the subscriptions.
    pub subscriptions: Vec<(String, Arc<SubscriptionMetrics>)>,
    /// Calls that were left for later.
    pub timers: Arc<TimerMetrics>,
    /// Clients.
    pub connections: Arc<ConnectionMetrics>,
    /// True once the host was asked to end.
    pub draining: watch::Receiver<bool>,
}

/// A plugin's generation, with the name of its plugin.
struct Shown {
    plugin: String,
    identity: Identity,
    state: &'static str,
    metrics: Arc<GenerationMetrics>,
}

impl Collector {
    /// All figures of this moment, as OpenMetrics. Blocks on the disk.
    pub fn page(&self) -> String {
        let mut page = Page::default();
        let generations = self.generations();
        calls(&mut page, &generations);
        self.plugins(&mut page);
        self.admission(&mut page, &generations);
        guests(&mut page, &generations);
        self.generation_sizes(&mut page, &generations);
        self.store(&mut page);
        self.events(&mut page);
        self.deferred(&mut page);
        self.upstreams(&mut page);
        self.connections(&mut page);
        let mut build = page.family(&table::BUILD);
        build.sample(&[&env!("CARGO_PKG_VERSION")], 1);
        page.single(&table::DRAINING, u64::from(*self.draining.borrow()));
        process::show(&mut page);
        page.finish()
    }

    fn generations(&self) -> Vec<Shown> {
        let live: Vec<_> = self
            .registry
            .live_generations()
            .iter()
            .map(|live| live.number)
            .collect();
        let plugins = self.registry.plugins().iter();
        let shown = plugins.flat_map(|plugin| {
            let generations = plugin.metrics.generations().into_iter();
            generations.map(|metrics| (plugin.name.to_string(), metrics))
        });
        shown
            .map(|(plugin, metrics)| {
                let identity = metrics.identity();
                let state = match metrics.state() {
                    State::Unloaded => "unloaded",
                    State::Loaded if live.contains(&identity.number) => "live",
                    State::Loaded => "draining",
                };
                Shown {
                    plugin,
                    identity,
                    state,
                    metrics,
                }
            })
            .collect()
    }

    fn plugins(&self, page: &mut Page) {
        let plugins = || self.registry.plugins().iter();
        let mut family = page.family(&table::PLUGIN_CALLS);
        for plugin in plugins() {
            for (code, count) in named(plugin.metrics.calls()) {
                family.sample(&[&plugin.name, &code], count);
            }
        }
        let mut family = page.family(&table::LIVE_GENERATION);
        let live = self.registry.live_generations();
        for plugin in plugins() {
            let live = live.iter().find(|live| live.name == plugin.name);
            family.sample(&[&plugin.name], live.map_or(0, |live| live.number));
        }
        let mut family = page.family(&table::PLUGIN_LOADS);
        for plugin in plugins() {
            for (outcome, count) in plugin.metrics.loads.iter() {
                family.sample(&[&plugin.name, &outcome], count.value());
            }
        }
        let mut family = page.family(&table::PLUGIN_REFUSED);
        for plugin in plugins() {
            let refused = plugin.metrics.refusal().is_some();
            family.sample(&[&plugin.name], refused.into());
        }
        let mut family = page.family(&table::GENERATIONS_UNLOADED);
        for plugin in plugins() {
            family.sample(&[&plugin.name], plugin.metrics.unloaded.value());
        }
        let mut family = page.family(&table::PLUGIN_LOAD_SECONDS);
        for plugin in plugins() {
            family.distribution(&[&plugin.name], &plugin.metrics.load_seconds.distribution());
        }
        let mut family = page.family(&table::PLUGIN_COMPILE_SECONDS);
        for plugin in plugins() {
            family.distribution(&[&plugin.name], &plugin.metrics.compile_seconds.distribution());
        }
        let mut family = page.family(&table::COMPILE_CACHE_LOOKUPS);
        for plugin in plugins() {
            family.sample(&[&plugin.name, &"hit"], plugin.metrics.cache_hits.value());
            family.sample(&[&plugin.name, &"miss"], plugin.metrics.cache_misses.value());
        }
    }

    fn admission(&self, page: &mut Page, generations: &[Shown]) {
        let mut family = page.family(&table::UNROUTED_CALLS);
        for (reason, count) in self.dispatcher.unrouted.iter() {
            family.sample(&[&reason], count);
        }
        let mut family = page.family(&table::QUEUE_SECONDS);
        for shown in generations {
            family.distribution(&[&shown.plugin, &shown.identity.number], &shown.metrics.queue());
        }
        let mut family = page.family(&table::ADMISSION_REFUSALS);
        for shown in generations {
            for (reason, count) in shown.metrics.admission_refusals().iter() {
                family.sample(&[&shown.plugin, &shown.identity.number, &reason], count);
            }
        }
        let shares = self.registry.plugins().iter().map(|plugin| plugin.share.usage());
        let usage = shares.fold(self.dispatcher.admission.usage(), |sum, share| sum + share);
        page.single(&table::QUEUE_LENGTH, usage.waiting as u64);
        page.single(&table::CALLS_ADMITTED, usage.running as u64);
        page.single(&table::CALLS_ADMITTED_MAX, usage.slots as u64);
    }

    fn generation_sizes(&self, page: &mut Page, generations: &[Shown]) {
        let mut family = page.family(&table::GENERATION);
        for Shown {
            plugin,
            identity,
            state,
            ..
        } in generations
        {
            let Identity {
                number,
                version,
                digest,
                ..
            } = identity;
            family.sample(&[plugin, number, state, version, digest], 1);
        }
        let mut family = page.family(&table::SANDBOXES_IDLE);
        for live in self.registry.live_generations() {
            family.sample(&[&live.name, &live.number], live.idle_sandboxes() as u64);
        }
        let mut family = page.family(&table::SANDBOXES);
        let engine = self.registry.loader().engine.wasm();
        if let Some(pool) = engine.pooling_allocator_metrics() {
            // Each has one, whichever way it is linked.
            family.sample(&[], pool.memories() as u64);
        }
    }

    fn store(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        page.single(&table::STORE_UP, u64::from(self.store.health() == Health::Open));
        page.single(&table::STORE_COMMITS, metrics.commits.value());
        page.single(&table::STORE_CONFLICTS, metrics.conflicts.value());
        let (contention, idempotency) = (
            self.dispatcher.contention.turns(),
            self.dispatcher.idempotency.turns(),
        );
        let mut family = page.family(&table::TURNS_WAITING);
        family.sample(&[&"key"], contention.waiting());
        family.sample(&[&"idempotency-key"], idempotency.waiting());
        let mut family = page.family(&table::TURN_SECONDS);
        family.distribution(&[&"key"], &contention.waited());
        family.distribution(&[&"idempotency-key"], &idempotency.waited());
        for (metric, distribution) in [
            (
                &table::STORE_COMMIT_SECONDS,
                metrics.commit_seconds.distribution(),
            ),
            (&table::STORE_GROUP_SECONDS, metrics.group_seconds.distribution()),
            (&table::STORE_GROUP_COMMITS, metrics.group_commits.distribution()),
        ] {
            page.family(metric).distribution(&[], &distribution);
        }
        page.single(&table::STORE_QUEUE_BYTES, self.store.queued_bytes() as u64);
        page.single(
            &table::STORE_CONFLICT_LOG_BYTES,
            metrics.conflict_log_bytes.value(),
        );
        page.single(&table::STORE_LOG_BYTES, metrics.log_bytes.value());
        let mut family = page.family(&table::STORE_FILE_BYTES);
        if let Some(bytes) = self.store.file_bytes() {
            family.sample(&[], bytes);
        }
        let usage = self.store.usage();
        type Figure = fn(&Usage) -> u64;
        let figures: [(_, Figure); 4] = [
            (&table::STORE_KEYS, |usage| usage.keys),
            (&table::STORE_DATA_BYTES, |usage| usage.bytes),
            (&table::RECORDED_ANSWERS, |usage| usage.answers),
            (&table::RECORDED_ANSWERS_BYTES, |usage| usage.answer_bytes),
        ];
        for (metric, figure) in figures {
            let mut family = page.family(metric);
            for (plugin, usage) in &usage {
                family.sample(&[plugin], figure(usage));
            }
        }
        page.single(
            &table::REPLAYED_ANSWERS,
            self.dispatcher.idempotency.replays.value(),
        );
    }

    fn events(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        let mut family = page.family(&table::EVENTS_PUBLISHED);
        for (plugin, count) in metrics.published() {
            family.sample(&[&plugin], count);
        }
        let sinks = self.events.status();
        let mut family = page.family(&table::EVENTS_DELIVERED);
        for sink in &sinks {
            family.sample(&[&sink.name], sink.taken);
        }
        let mut family = page.family(&table::EVENT_FAILURES);
        for sink in &sinks {
            family.sample(&[&sink.name], sink.refused);
        }
        let mut family = page.family(&table::EVENT_LAG_SECONDS);
        for sink in &sinks {
            if let Some(lag) = self.events.lag(sink) {
                family.sample(&[&sink.name], nanos(lag));
            }
        }
        page.single(&table::EVENTS_UNDELIVERED, metrics.undelivered.value());
        page.single(
            &table::EVENTS_UNDELIVERED_BYTES,
            metrics.undelivered_bytes.value(),
        );
    }

    fn upstreams(&self, page: &mut Page) {
        let targets = || self.registry.loader().upstreams.targets();
        let callers: Vec<_> = targets()
            .flat_map(|target| {
                let callers = target.metrics().into_iter();
                callers.map(|(plugin, metrics)| (plugin, target.name(), metrics))
            })
            .collect();
        let mut family = page.family(&table::UPSTREAM_CALLS);
        for (plugin, target, metrics) in &callers {
            for (origin, code, count) in metrics.calls() {
                family.sample(&[plugin, target, &origin, &code_name(code)], count);
            }
        }
        let mut family = page.family(&table::UPSTREAM_CALL_SECONDS);
        for (plugin, target, metrics) in &callers {
            family.distribution(&[plugin, target], &metrics.seconds.distribution());
        }
        let mut family = page.family(&table::UPSTREAM_RETRIES);
        for (plugin, target, metrics) in &callers {
            family.sample(&[plugin, target], metrics.retries.value());
        }
        let mut family = page.family(&table::UPSTREAM_BREAKER_OPEN);
        for target in targets() {
            family.sample(&[&target.name()], target.is_left_alone().into());
        }
    }

    fn connections(&self, page: &mut Page) {
        let metrics = &self.connections;
        // What has closed first: a connection that closes in between counts as open, and none below zero.
        let closed = metrics.closed.value();
        let accepted = metrics.accepted.value();
        page.single(&table::CONNECTIONS_ACCEPTED, accepted);
        page.single(&table::CONNECTIONS_OPEN, accepted.saturating_sub(closed));
        let mut family = page.family(&table::CONNECTIONS_REFUSED);
        family.sample(&[&"not_accepted"], metrics.not_accepted.value());
        for (reason, count) in metrics.refused() {
            family.sample(&[&reason], count);
        }
        let mut family = page.family(&table::TLS_HANDSHAKE_FAILURES);
        family.sample(&[&"failed"], metrics.tls_failed.value());
        family.sample(&[&"timeout"], metrics.tls_timed_out.value());
    }
}

/// Those that occurred, with the names of their codes.
fn named(calls: impl IntoIterator<Item = u64>) -> impl Iterator<Item = (&'static str, u64)> {
    let codes = (0..).map(|code| code_name(Code::from_i32(code)));
    codes.zip(calls).filter(|(_, count)| *count > 0)
}

fn calls(page: &mut Page, generations: &[Shown]) {
    let mut family = page.family(&table::CALLS);
    for Shown {
        plugin,
        identity,
        metrics,
        ..
    } in generations
    {
        for method in metrics.methods() {
            for (code, count) in named(method.ended()) {
                family.sample(&[plugin, &identity.number, &method.path(), &code], count);
            }
        }
    }
    let mut family = page.family(&table::CALL_SECONDS);
    for Shown {
        plugin,
        identity,
        metrics,
        ..
    } in generations
    {
        for method in metrics.methods() {
            family.distribution(&[plugin, &identity.number, &method.path()], &method.seconds());
        }
    }
    for (metric, figure) in [
        (&table::CALL_RETRIES, Method::retries as fn(&Method) -> u64),
        (&table::CALL_CONFLICTS, Method::conflicts),
        (&table::GUEST_CPU_SECONDS, Method::guest_cpu),
    ] {
        let mut family = page.family(metric);
        for Shown {
            plugin,
            identity,
            metrics,
            ..
        } in generations
        {
            for method in metrics.methods() {
                family.sample(&[plugin, &identity.number, &method.path()], figure(method));
            }
        }
    }
    let mut family = page.family(&table::HOST_STATUSES);
    for Shown {
        plugin,
        identity,
        metrics,
        ..
    } in generations
    {
        for (reason, count) in metrics.host_statuses().iter() {
            family.sample(&[plugin, &identity.number, &reason], count);
        }
    }
}

fn guests(page: &mut Page, generations: &[Shown]) {
    for (metric, figure) in [
        (
            &table::CALLS_IN_FLIGHT,
            GenerationMetrics::in_flight as fn(&GenerationMetrics) -> u64,
        ),
        (&table::SLOW_CALLS, GenerationMetrics::slow),
        (&table::GUEST_MEMORY_PEAK_BYTES, GenerationMetrics::memory_peak),
        (&table::GUEST_MEMORY_GROWTHS, GenerationMetrics::memory_growths),
    ] {
        let mut family = page.family(metric);
        for Shown {
            plugin,
            identity,
            metrics,
            ..
        } in generations
        {
            family.sample(&[plugin, &identity.number], figure(metrics));
        }
    }
    let mut family = page.family(&table::TRAPS);
    for Shown {
        plugin,
        identity,
        metrics,
        ..
    } in generations
    {
        for (kind, count) in metrics.traps() {
            family.sample(&[plugin, &identity.number, &kind], count);
        }
    }
}
