//! Calls of the order service, through the plugin and through a native handler, beside bare writes to the
//! disk. All of it in turn, in each of several rounds; ratios are within a round.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use futures_util::StreamExt;

use crate::client::{Ask, Client, load};
use crate::pb;
use crate::support::components;
use crate::support::server::{Server, Setup};
use crate::{figures, native};

const ROUNDS: usize = 7;
const TIME: Duration = Duration::from_secs(2);
/// Connections, and calls in flight on each.
const CONCURRENT: (usize, usize) = (4, 25);
/// That `GetOrder` is asked for.
const ORDERS: usize = 1_000;
/// As much as a lone `CreateOrder` brings to the disk.
const WRITE_BYTES: usize = 1_000;
/// Of each kind, in one round of lone calls.
const LONE: usize = 40;
/// After each lone call, for the delivery of its event.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) fn run() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let component = components::build("order");
    let plugin = Server::mortise(&Setup::of("order", &component));
    let native = native::start(folder.path());
    let disk = Disk::new(File::create_new(folder.path().join("bare")).expect("a file"));
    runtime.block_on(async {
        let create = Ask::new("CreateOrder", [order("")]);
        let names: Vec<String> = (0..ORDERS).map(|number| format!("known-{number}")).collect();
        let known = Ask::new("CreateOrder", names.iter().map(|name| order(name)));
        for server in [&plugin, &native] {
            let client = Client::connect(server.address).await;
            let placed = (0..ORDERS).map(|number| client.call(&known, number));
            let placed = futures_util::stream::iter(placed).buffer_unordered(CONCURRENT.1);
            placed.collect::<()>().await;
        }
        let get = Ask::new("GetOrder", names.into_iter().map(|id| pb::GetOrderRequest { id }));
        let mut figures = Figures::default();
        for round in 0..=ROUNDS {
            let figures_of_round = Round::measure(&plugin, &native, &disk, &create, &get).await;
            // The first round fills caches and pools.
            if round > 0 {
                figures.add(&figures_of_round);
            }
        }
        figures.print();
    });
}

/// What was measured in one round: calls per second, and seconds.
struct Round {
    fsyncs: f64,
    create: [f64; 2],
    get: [f64; 2],
    lone_fsync: f64,
    lone: [f64; 2],
}

impl Round {
    async fn measure(plugin: &Server, native: &Server, disk: &Disk, create: &Ask, get: &Ask) -> Self {
        let servers = [plugin, native];
        let mut round = Self {
            fsyncs: disk.one_after_the_other(TIME / 2),
            create: [0.0; 2],
            get: [0.0; 2],
            lone_fsync: 0.0,
            lone: [0.0; 2],
        };
        for (server, (create_rate, get_rate)) in
            servers.iter().zip(round.create.iter_mut().zip(&mut round.get))
        {
            *create_rate = load(server.address, create, CONCURRENT, TIME).await;
            *get_rate = load(server.address, get, CONCURRENT, TIME).await;
        }
        let clients = [
            Client::connect(plugin.address).await,
            Client::connect(native.address).await,
        ];
        let (mut bare, mut calls) = (Vec::new(), [Vec::new(), Vec::new()]);
        for number in 0..LONE {
            bare.push(disk.write());
            tokio::time::sleep(PAUSE).await;
            for (client, times) in clients.iter().zip(&mut calls) {
                let began = Instant::now();
                client.call(create, number).await;
                times.push(began.elapsed().as_secs_f64());
                tokio::time::sleep(PAUSE).await;
            }
        }
        round.lone_fsync = figures::median(bare);
        round.lone = calls.map(figures::median);
        round
    }
}

#[derive(Default)]
struct Figures {
    group: Vec<f64>,
    create: Vec<f64>,
    get: Vec<f64>,
    lone: Vec<f64>,
    lone_native: Vec<f64>,
    fsyncs: Vec<f64>,
    creates: Vec<f64>,
    gets: Vec<f64>,
    lone_fsync: Vec<f64>,
}

impl Figures {
    fn add(&mut self, round: &Round) {
        self.fsyncs.push(round.fsyncs);
        self.creates.push(round.create[0]);
        self.gets.push(round.get[0]);
        self.lone_fsync.push(round.lone_fsync * 1e6);
        self.group.push(round.create[0] / round.fsyncs);
        self.create.push(round.create[0] / round.create[1]);
        self.get.push(round.get[0] / round.get[1]);
        self.lone.push(round.lone[0] / round.lone_fsync);
        self.lone_native.push(round.lone[1] / round.lone_fsync);
    }

    fn print(self) {
        let (connections, calls) = CONCURRENT;
        println!(
            "order plugin, a fresh sandbox for each call; {} calls in flight, {ROUNDS} rounds",
            connections * calls
        );
        figures::header("");
        figures::row("fsyncs one after the other, per second", self.fsyncs, "");
        figures::row("CreateOrder, calls per second", self.creates, "");
        figures::row("  ratio to one fsync per call", self.group, "goal >= 10");
        figures::row("  ratio to a native handler", self.create, "goal >= 0.8");
        figures::row("GetOrder, calls per second", self.gets, "");
        figures::row("  ratio to a native handler", self.get, "goal >= 0.8");
        figures::row("a bare write and fsync, us", self.lone_fsync, "");
        figures::row("  latency of a lone CreateOrder to it", self.lone, "goal <= 1.3");
        figures::row("  the same, native handler", self.lone_native, "");
    }
}

/// A file that is written to without a store.
struct Disk {
    file: File,
    next: std::cell::Cell<u64>,
}

impl Disk {
    /// As long as a store's log, so that writes change nothing but bytes.
    const BYTES: u64 = 4 << 20;

    fn new(file: File) -> Self {
        file.write_all_at(&vec![1; Self::BYTES as usize], 0)
            .expect("written");
        file.sync_all().expect("on the disk");
        Self {
            file,
            next: std::cell::Cell::new(0),
        }
    }

    /// Seconds that a write and its fsync take.
    fn write(&self) -> f64 {
        let began = Instant::now();
        let offset = self.next.get() % (Self::BYTES - WRITE_BYTES as u64);
        self.next.set(offset + WRITE_BYTES as u64);
        self.file
            .write_all_at(&[2; WRITE_BYTES], offset)
            .expect("written");
        self.file.sync_data().expect("on the disk");
        began.elapsed().as_secs_f64()
    }

    /// Writes with an fsync each, per second.
    fn one_after_the_other(&self, time: Duration) -> f64 {
        let began = Instant::now();
        let mut count = 0;
        while began.elapsed() < time {
            self.write();
            count += 1;
        }
        f64::from(count) / began.elapsed().as_secs_f64()
    }
}

fn order(id: &str) -> pb::Order {
    let item = |sku: &str| pb::OrderItem {
        sku: sku.into(),
        quantity: 2,
        price: 1450,
    };
    pb::Order {
        order_id: id.into(),
        customer_id: "customer-1".into(),
        items: ["coffee", "filter", "kettle"].map(item).into(),
        ..pb::Order::default()
    }
}
