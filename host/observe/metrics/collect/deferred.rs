//! Calls that the host makes itself.

use super::super::instrument::nanos;
use super::super::page::Page;
use super::super::table;
use super::Collector;
use crate::capability::events::SubscriptionMetrics;

impl Collector {
    pub(super) fn deferred(&self, page: &mut Page) {
        for (metric, figure) in [
            (
                &table::SUBSCRIPTION_DELIVERIES,
                (|metrics| metrics.delivered.value()) as fn(&SubscriptionMetrics) -> u64,
            ),
            (&table::SUBSCRIPTION_FAILURES, |metrics| metrics.failed.value()),
        ] {
            let mut family = page.family(metric);
            for (name, metrics) in &self.subscriptions {
                family.sample(&[name], figure(metrics));
            }
        }
        let (metrics, calls) = (self.store.metrics(), self.store.deferred());
        let dead = calls.dead();
        page.single(&table::DEAD_LETTERS_ADDED, metrics.dead_letters.value());
        page.single(&table::DEAD_LETTERS_DROPPED, metrics.dead_letters_dropped.value());
        page.single(&table::DEAD_LETTERS, dead.count);
        page.single(&table::DEAD_LETTER_BYTES, dead.bytes);
        let pending = calls.pending();
        let plugins = || self.registry.plugins().iter().map(|plugin| &plugin.name);
        let amount = |plugin| pending.get(plugin).copied().unwrap_or_default();
        let mut family = page.family(&table::TIMERS_PENDING);
        for plugin in plugins() {
            family.sample(&[plugin], amount(plugin).count);
        }
        let mut family = page.family(&table::TIMERS_PENDING_BYTES);
        for plugin in plugins() {
            family.sample(&[plugin], amount(plugin).bytes);
        }
        let mut family = page.family(&table::TIMER_LAG_SECONDS);
        for plugin in plugins() {
            if let Ok(first) = calls.first(plugin, 1) {
                let overdue = first.first().and_then(|(due, _)| due.elapsed().ok());
                family.sample(&[plugin], nanos(overdue.unwrap_or_default()));
            }
        }
        let counts = self.timers.counts();
        let count = |plugin| counts.get(plugin).copied().unwrap_or_default();
        let mut family = page.family(&table::TIMERS_FIRED);
        for plugin in plugins() {
            family.sample(&[plugin], count(plugin).fired);
        }
        let mut family = page.family(&table::TIMER_FAILURES);
        for plugin in plugins() {
            family.sample(&[plugin], count(plugin).failed);
        }
    }
}
