//! `mortise dev`: builds a plugin's crate, serves it, and swaps it on every save.

mod sample;

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use tempfile::TempDir;

use self::sample::sample_json;
use super::project::{Build, Project};
use crate::app::App;
use crate::capability::store::Store;
use crate::config::{Compiler, Config, Overrides};
use crate::generations::watch::FolderWatch;
use crate::generations::{Generation, Registry};
use crate::observe::logging;
use crate::plugin::description::find_method;
use crate::server::Listening;
use crate::shutdown;

/// Builds a plugin, serves it, and rebuilds and swaps it on every save.
///
/// The crate is built for wasm32-wasip2, which rustup installs if it is missing. A version that does not
/// compile is shown as the compiler shows it, while the last good one goes on serving. The plugin is served
/// under its package's name, with the configuration of `mortise.toml` in the crate's folder if there is one.
/// What cargo has built is compiled by the compiler that is done soonest, unless `engine.compiler` names the other.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise dev                     the crate in the current folder
  mortise dev plugins/order --listen 127.0.0.1:8080
  mortise dev --ephemeral         with nothing of the last time, and nothing left for the next")]
pub struct DevArgs {
    /// The plugin's crate.
    #[arg(value_name = "CRATE_DIR", default_value = ".")]
    pub crate_dir: PathBuf,

    /// The address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,

    /// The folder for everything the host keeps. By default it lies in the crate's `target` folder.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Keeps the plugin's state in memory, so that each start is the first one, and whatever else would be in
    /// the data folder in a temporary one, which goes with the host. What `mortise.toml` places elsewhere, such
    /// as `events.file`, stays there.
    #[arg(long, conflicts_with = "data")]
    pub ephemeral: bool,
}

pub(super) fn run(args: DevArgs) -> anyhow::Result<()> {
    let project = Project::open(&args.crate_dir)?;
    // Building needs a runtime before there is a configuration to size it by.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        // Until there is something to tidy up, Ctrl-C ends the process at once.
        project.add_target().await?;
        let (first, watch) = first_build(&project).await?;
        develop(&args, &project, first, watch).await
    });
    // Whoever ends it while a plugin compiles does not wait for that.
    runtime.shutdown_background();
    ended
}

/// Builds until the crate compiles.
async fn first_build(project: &Project) -> anyhow::Result<(Build, FolderWatch)> {
    loop {
        // Watched from before the build, so that a change during it is not missed.
        let watch = project.watch(&BTreeSet::new())?;
        if let Some(mut build) = project.build().await? {
            project.ended(&mut build).await?;
            return Ok((build, watch));
        }
        eprintln!("mortise: waiting for a change");
        watch.settled().await;
    }
}

/// Serves the first build and swaps every later one in.
async fn develop(args: &DevArgs, project: &Project, first: Build, watch: FolderWatch) -> anyhow::Result<()> {
    // From here on a signal tidies up, so before anything is made that is to go with the host.
    let shutdown = shutdown::requested().context("cannot listen to signals")?;
    let mut shutdown = std::pin::pin!(shutdown);
    let temporary = args.ephemeral.then(temporary_folder).transpose()?;
    let data = match (&temporary, &args.data) {
        (Some(folder), _) => folder.path().to_owned(),
        (None, Some(data)) => data.clone(),
        (None, None) => first.target_dir.join("mortise-data"),
    };
    let config = configuration(args, project, &first, data)?;
    logging::init(&config.log)?;
    let app = match &temporary {
        Some(_) => App::start_with(&config, |_, options| Store::in_memory(options)).await?,
        None => App::start(&config).await?,
    };
    tokio::select! {
        loaded = app.load_plugins() => loaded?,
        () = &mut shutdown => return Ok(()),
    }
    let listening = app.listening()?;
    let registry = app.registry.clone();
    if let Some(folder) = &temporary {
        eprintln!(
            "mortise: ephemeral: the state is in memory; for `mortise status` and the like: --data {}",
            folder.path().display()
        );
    }
    announce(project, &registry, &listening);
    let rebuilding = async {
        let failed = rebuild_on_change(project, &registry, first.sources, watch).await;
        if let Err(error) = &failed {
            eprintln!("mortise: no further changes are picked up: {error:#}");
        }
        std::future::pending::<()>().await
    };
    let serving = app.run(shutdown);
    tokio::select! {
        ended = serving => ended,
        () = rebuilding => Ok(()),
    }
}

/// For this user alone, and removed when it is dropped. A host that is killed leaves it behind, with no state
/// in it.
fn temporary_folder() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("mortise-dev-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .context("cannot make a temporary folder")
}

/// Never returns but for an error of the machine's: a crate that does not compile is the developer's
/// business, and the last good version goes on serving.
async fn rebuild_on_change(
    project: &Project,
    registry: &Registry,
    mut sources: BTreeSet<PathBuf>,
    mut watch: FolderWatch,
) -> anyhow::Result<()> {
    watch = project.watch(&sources)?.replace(watch);
    loop {
        watch.settled().await;
        let Some(mut build) = project.build().await? else {
            eprintln!("mortise: the last version that compiled goes on serving");
            continue;
        };
        for plugin in registry.plugins() {
            match registry.load(plugin).await {
                Ok(live) => eprintln!(
                    "mortise: generation {} of {} {} is live",
                    live.number, plugin.name, live.description.version
                ),
                Err(error) => eprintln!("mortise: not loaded, nothing changed: {error}"),
            }
        }
        project.ended(&mut build).await?;
        if build.sources != sources {
            sources = build.sources;
            watch = project.watch(&sources)?.replace(watch);
        }
    }
}

/// `mortise.toml` of the crate, if there is one, with the flags and the build winning over it.
fn configuration(args: &DevArgs, project: &Project, build: &Build, data: PathBuf) -> anyhow::Result<Config> {
    let file = project.dir.join("mortise.toml");
    let overrides = Overrides {
        listen: Some(args.listen),
        data: Some(data),
        plugins: vec![(project.plugin.clone(), build.component.clone())],
    };
    let mut config = Config::load(file.is_file().then_some(file.as_path()), &overrides)?;
    // Who has saved a change waits for it.
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        config.engine.compiler.get_or_insert(Compiler::Winch);
    }
    Ok(config)
}

fn announce(project: &Project, registry: &Registry, address: &Listening) {
    for live in &registry.live_generations() {
        eprintln!(
            "mortise: ready: {} {} serves {} on {address}",
            live.name,
            live.description.version,
            live.description.services().join(", ")
        );
        if let Some(method) = live.description.methods.first() {
            let path = method.path.trim_start_matches('/');
            let request = example(project, live, path);
            eprintln!("try:\n  {} call {path} --addr {address} -d {request}", program());
        }
    }
}

/// `examples/METHOD.json` of the crate, if there is one, else a request made up from the descriptors.
fn example(project: &Project, live: &Generation, path: &str) -> String {
    let method = path.rsplit('/').next().unwrap_or(path);
    let file = project.dir.join("examples").join(method).with_extension("json");
    if file.is_file() {
        let here = std::env::current_dir().unwrap_or_default();
        return format!("@{}", file.strip_prefix(here).unwrap_or(&file).display());
    }
    let method = find_method(&live.description.descriptors, &format!("/{path}"));
    format!(
        "'{}'",
        method
            .map(|method| sample_json(&method.input(), 0))
            .unwrap_or_default()
    )
}

/// This program as the user called it, so that what is printed can be pasted.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "mortise".to_owned())
}
