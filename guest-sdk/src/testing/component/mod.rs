//! Handlers in the plugin's component, in a sandbox of the real host, where the fake host answers what they
//! import: what `MORTISE_TEST_WASM` switches on.

mod imports;
mod protocol;
mod sandbox;

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use prost::Message;

use super::call::with_current;
use crate::Status;
use crate::bindings::mortise::plugin::types as contract;
use crate::plugin::{self, Plugin, Service};
use protocol::{Loaded, Outcome};
use sandbox::{Broken, Sandbox};

/// Names the component that handlers are run in.
const SWITCH: &str = "MORTISE_TEST_WASM";

/// Started by the first call. Calls of tests that run side by side take turns.
static SANDBOX: Mutex<Option<Sandbox>> = Mutex::new(None);

/// Whether handlers run in the plugin's component rather than natively: `MORTISE_TEST_WASM` names it.
pub fn in_component() -> bool {
    component().is_some()
}

fn component() -> Option<&'static PathBuf> {
    static COMPONENT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let file = std::env::var_os(SWITCH).filter(|file| !file.is_empty());
        file.map(PathBuf::from)
    });
    COMPONENT.as_ref()
}

/// What a native handler begins with: the component's answer, where tests are to run that.
///
/// # Panics
/// If there is no sandbox to be had, or the component is of another plugin than the tests.
pub fn answer<P: Plugin, Req: Message, Res: Message + Default>(
    service: Service,
    handler: &str,
    request: &Req,
) -> Option<Result<Res, Status>> {
    component()?;
    let mut methods = service.methods.iter();
    let method = methods
        .find(|method| method.handler_name == handler)
        .expect("a handler is of a method of its service");
    let (index, _) = (0..)
        .zip(plugin::methods::<P>())
        .find(|(_, other)| other.path == method.path)
        .expect("a service is one of its plugin's");
    let answered = handle::<P>(index, &request.encode_to_vec())?;
    Some(answered.and_then(|response| {
        let response = Res::decode(response.as_slice());
        response.map_err(|error| Status::internal(format!("Response does not parse: {error}")))
    }))
}

/// Serves one call in the component by method index, unless handlers run natively.
///
/// # Panics
/// If there is no sandbox to be had, or the component is of another plugin than the tests.
pub(super) fn handle<P: Plugin>(index: u32, request: &[u8]) -> Option<Result<Vec<u8>, Status>> {
    let file = component()?;
    // Whoever panicked in a call has taken its sandbox along.
    let mut place = SANDBOX.lock().unwrap_or_else(PoisonError::into_inner);
    let sandbox = place.take().map_or_else(|| Sandbox::start(file), Ok);
    let ended = sandbox.and_then(|mut sandbox| {
        check::<P>(sandbox.loaded()).map_err(|why| Broken::new(file, &why))?;
        let outcome = sandbox.call(index, request)?;
        *place = Some(sandbox);
        Ok(outcome)
    });
    drop(place);
    Some(match ended {
        Ok(Outcome::Answered(response)) => Ok(response),
        Ok(Outcome::Failed(own)) => Err(own.into()),
        Ok(Outcome::Stopped(stopped)) => {
            let stopped = Status::from(stopped);
            with_current(|call| call.stopped = Some(stopped.clone()));
            Err(stopped)
        }
        Err(broken) => panic!("{broken}"),
    })
}

/// That the component is the plugin that the tests are about, or how it differs.
fn check<P: Plugin>(loaded: &Loaded) -> Result<(), String> {
    if (&*loaded.name, &*loaded.version) != (P::NAME, P::VERSION) {
        let (name, version) = (&loaded.name, &loaded.version);
        let (ours, our_version) = (P::NAME, P::VERSION);
        return Err(format!(
            "it is {name} {version}, and the tests are about {ours} {our_version}"
        ));
    }
    let methods: Vec<_> = plugin::methods::<P>().map(|method| method.path).collect();
    if loaded.methods != methods {
        let theirs = loaded.methods.join(", ");
        let ours = methods.join(", ");
        return Err(format!(
            "its methods are {theirs}; those of the tests' plugin are {ours}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Loaded, check};
    use crate::plugin::{Method, Plugin, Service};
    use crate::{ConfigKey, Status};

    struct Shop;

    const fn method(path: &'static str) -> Method {
        Method {
            path,
            read_only: false,
            internal: false,
            handler_name: "",
            handler: |_, _| Err(Status::unimplemented("")),
        }
    }

    impl Plugin for Shop {
        const NAME: &'static str = "shop";
        const VERSION: &'static str = "1.2.0";
        const SERVICES: &'static [Service] = &[Service {
            methods: &[method("/shop.v1.Shop/Buy"), method("/shop.v1.Shop/Sell")],
            descriptors: b"",
        }];
        const CONFIG: &'static [ConfigKey] = &[];
    }

    fn loaded(name: &str, version: &str, methods: &[&str]) -> Loaded {
        Loaded {
            name: name.to_owned(),
            version: version.to_owned(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        }
    }

    #[test]
    fn a_component_of_the_tests_plugin_is_taken() {
        let same = loaded("shop", "1.2.0", &["/shop.v1.Shop/Buy", "/shop.v1.Shop/Sell"]);
        assert_eq!(check::<Shop>(&same), Ok(()));
    }

    #[test]
    fn any_other_is_refused_with_how_it_differs() {
        for (other, why) in [
            (
                loaded("order", "1.2.0", &[]),
                "it is order 1.2.0, and the tests are about shop 1.2.0",
            ),
            (
                loaded("shop", "1.1.0", &["/shop.v1.Shop/Buy", "/shop.v1.Shop/Sell"]),
                "it is shop 1.1.0, and the tests are about shop 1.2.0",
            ),
            // Methods are called by their numbers.
            (
                loaded("shop", "1.2.0", &["/shop.v1.Shop/Sell", "/shop.v1.Shop/Buy"]),
                "its methods are /shop.v1.Shop/Sell, /shop.v1.Shop/Buy; those of the tests' plugin are \
                 /shop.v1.Shop/Buy, /shop.v1.Shop/Sell",
            ),
        ] {
            assert_eq!(check::<Shop>(&other), Err(why.to_owned()));
        }
    }
}
