//! The servers that are held against each other, each a process of its own.

mod mortise_native;
mod other_languages;
mod tonic_native;

use std::path::Path;
use std::process::Command;

use crate::support::server::{Server, Setup};

pub(crate) use other_languages::{GO, PYTHON, versions};
use tonic_native::Service;

/// A tonic server as anybody would write it, with tonic's default settings.
pub(crate) const TONIC: &str = "plain tonic";
/// The same for the work of a processor.
pub(crate) const TONIC_COMPUTING: &str = "plain tonic, computing";
/// The host, with a Rust function in the place of the sandbox.
pub(crate) const NATIVE: &str = "mortise-native";
pub(crate) const REUSED: &str = "sandboxes reused";
pub(crate) const FRESH: &str = "fresh sandbox per call";
/// As the component that the plugin is, instead of its main module alone.
pub(crate) const COMPONENT: &str = "fresh component per call";

/// Starts a server of this name, the plugins served by those that are hosts. None, and a line that says why, if
/// its tools are not there.
pub(crate) fn start(name: &str, plugins: &Setup) -> Option<Server> {
    let setup = plugins.clone();
    match name {
        TONIC => Some(tonic(Service::Bench)),
        TONIC_COMPUTING => Some(tonic(Service::Compute)),
        NATIVE => Some(Server::host(&setup, |config| {
            let mut command = own_role(mortise_native::ROLE);
            command.arg(config);
            command
        })),
        REUSED => Some(Server::mortise(&setup.plugin_key("isolation = \"reuse\""))),
        FRESH => Some(Server::mortise(&setup)),
        COMPONENT => Some(Server::mortise(&setup.plugin_key("linking = \"component\""))),
        other => other_languages::start(other),
    }
}

/// Those of `names` that can be started.
pub(crate) fn start_all(names: &[&'static str], plugins: &Setup) -> Vec<(&'static str, Server)> {
    let started = names
        .iter()
        .filter_map(|name| Some((*name, start(name, plugins)?)));
    started.collect()
}

fn tonic(service: Service) -> Server {
    Server::announced(&mut own_role(service.role()))
}

/// This program as one of the servers.
fn own_role(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(role);
    command
}

/// Runs this program as one of the servers, if that is what it was started for.
pub(crate) fn serve(arguments: &[String]) -> bool {
    match arguments {
        [role, config] if role == mortise_native::ROLE => mortise_native::serve(Path::new(config)),
        [role] => match Service::ALL.into_iter().find(|service| service.role() == role) {
            Some(service) => tonic_native::serve(service),
            None => return false,
        },
        _ => return false,
    }
    true
}
