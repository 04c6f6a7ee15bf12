//! What a plugin says of itself, checked: services, methods, configuration keys, grants.

mod public;

use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::bindings::v0_1::handler as contract;
use super::descriptors::pool_of;
use crate::config::MethodName;
use crate::observe::printable;

/// Services that every host serves itself.
pub(super) const HOST_SERVICES: &[&str] = &[
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

const MAX_DESCRIPTOR_BYTES: usize = 4 << 20;
const MAX_METHODS: usize = 4096;
const MAX_CONFIG_KEYS: usize = 256;
const MAX_GRANTS: usize = 64;
const MAX_NAME_BYTES: usize = 128;
const MAX_PATH_BYTES: usize = 512;
const MAX_DOC_BYTES: usize = 512;

/// A plugin's self-description, checked and bounded.
#[derive(Debug, Clone)]
pub struct Description {
    /// As the plugin calls itself; for people only, everything else goes by the operator's name.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// Position is the index the guest knows a method by.
    pub methods: Vec<Method>,
    /// The keys that `[plugins.NAME.config]` may hold.
    pub config: Vec<ConfigKey>,
    /// What it asks for outside the sandbox.
    pub grants: Vec<Grant>,
    /// Every file the services need.
    pub descriptors: DescriptorPool,
    /// What clients may see of them: the same without internal methods.
    pub public: DescriptorPool,
}

/// One unary method.
#[derive(Debug, Clone)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: String,
    /// `package.Service`.
    pub service: String,
    /// Marked `idempotency_level = NO_SIDE_EFFECTS`: runs on a snapshot and cannot write.
    pub read_only: bool,
    /// Not reachable from listeners.
    pub internal: bool,
}

/// A configuration key a plugin understands.
#[derive(Debug, Clone)]
pub struct ConfigKey {
    /// The key.
    pub name: String,
    /// What its values look like.
    pub kind: ConfigKind,
    /// One sentence.
    pub doc: String,
    /// What holds when it is not set.
    pub default: Option<String>,
}

/// The type of a configuration value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

impl ConfigKind {
    /// The name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    /// As it stands in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }

    /// Whether `value`, in the form plugins read it, is of this kind.
    pub fn accepts(self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Integer => value.parse::<i64>().is_ok(),
            Self::Number => value.parse::<f64>().is_ok(),
            Self::Boolean => value.parse::<bool>().is_ok(),
        }
    }
}

/// Something outside the sandbox that a plugin asks for.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The capability's name.
    pub capability: String,
    /// Which one.
    pub target: String,
    /// Why, for the operator.
    pub reason: String,
}

/// Why a description cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// Over one of the bounds.
    #[error("it describes {count} {what}, over the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// The descriptors are not a valid `FileDescriptorSet`.
    #[error("its descriptors do not parse: {0}; rebuild it with mortise-guest-codegen")]
    Descriptors(String),
    /// No methods at all.
    #[error("it describes no method: put #[mortise_guest::plugin] on the impl of a service trait")]
    NoMethods,
    /// A method the descriptors do not have.
    #[error("it describes method {0}, which its descriptors do not have")]
    UnknownMethod(String),
    /// The same path twice.
    #[error("it describes method {0} twice")]
    DuplicateMethod(String),
    /// Streaming.
    #[error("method {0} is streaming; plugins serve unary methods only")]
    Streaming(String),
    /// A service of the host's own.
    #[error("it claims {0}, which the host serves itself")]
    HostService(String),
}

impl Description {
    /// Checks what `describe` returned.
    pub fn check(raw: contract::Description) -> Result<Self, DescriptionError> {
        bound(
            "bytes of descriptors",
            raw.descriptors.len(),
            MAX_DESCRIPTOR_BYTES,
        )?;
        bound("methods", raw.methods.len(), MAX_METHODS)?;
        bound("configuration keys", raw.config.len(), MAX_CONFIG_KEYS)?;
        bound("grants", raw.grants.len(), MAX_GRANTS)?;
        let descriptors = pool_of(|| DescriptorPool::decode(raw.descriptors.as_slice()))
            .map_err(DescriptionError::Descriptors)?;
        let methods = methods(&raw.methods, &descriptors)?;
        let public = public::without_internal(&descriptors, &methods)
            .map_err(|error| DescriptionError::Descriptors(printable(&error.to_string(), MAX_DOC_BYTES)))?;
        Ok(Self {
            name: printable(&raw.name, MAX_NAME_BYTES),
            version: printable(&raw.version, MAX_NAME_BYTES),
            methods,
            config: raw.config.into_iter().map(ConfigKey::from).collect(),
            grants: raw.grants.into_iter().map(Grant::from).collect(),
            descriptors,
            public,
        })
    }

    /// Whether it serves the service or method, be it to clients, timers or events.
    pub fn serves(&self, name: &MethodName) -> bool {
        self.methods.iter().any(|served| {
            served.service == name.service()
                && name
                    .method()
                    .is_none_or(|method| served.path.rsplit('/').next() == Some(method))
        })
    }

    /// The services it serves to clients, each once, in the order of their methods.
    pub fn services(&self) -> Vec<&str> {
        let mut services: Vec<&str> = Vec::new();
        for method in self.methods.iter().filter(|method| !method.internal) {
            if !services.contains(&method.service.as_str()) {
                services.push(&method.service);
            }
        }
        services
    }
}

fn bound(what: &'static str, count: usize, limit: usize) -> Result<(), DescriptionError> {
    if count > limit {
        Err(DescriptionError::TooMany { what, count, limit })
    } else {
        Ok(())
    }
}

fn methods(raw: &[contract::Method], descriptors: &DescriptorPool) -> Result<Vec<Method>, DescriptionError> {
    if raw.is_empty() {
        return Err(DescriptionError::NoMethods);
    }
    let mut seen = std::collections::HashSet::new();
    raw.iter()
        .map(|method| {
            let shown = || printable(&method.path, 2 * MAX_NAME_BYTES);
            let descriptor = find_method(descriptors, &method.path)
                .ok_or_else(|| DescriptionError::UnknownMethod(shown()))?;
            bound("bytes of a method's path", method.path.len(), MAX_PATH_BYTES)?;
            if descriptor.is_client_streaming() || descriptor.is_server_streaming() {
                return Err(DescriptionError::Streaming(shown()));
            }
            let service = descriptor.parent_service().full_name().to_owned();
            if HOST_SERVICES.contains(&service.as_str()) {
                return Err(DescriptionError::HostService(service));
            }
            if !seen.insert(method.path.as_str()) {
                return Err(DescriptionError::DuplicateMethod(shown()));
            }
            Ok(Method {
                path: method.path.clone(),
                service,
                read_only: has_no_side_effects(&descriptor),
                internal: method.internal,
            })
        })
        .collect()
}

/// By `/package.Service/Method`.
pub fn find_method(descriptors: &DescriptorPool, path: &str) -> Option<MethodDescriptor> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    descriptors
        .get_service_by_name(service)?
        .methods()
        .find(|descriptor| descriptor.name() == method)
}

fn has_no_side_effects(method: &MethodDescriptor) -> bool {
    use prost_types::method_options::IdempotencyLevel;
    method
        .method_descriptor_proto()
        .options
        .as_ref()
        .is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects)
}

impl From<contract::ConfigKey> for ConfigKey {
    fn from(raw: contract::ConfigKey) -> Self {
        Self {
            name: printable(&raw.name, MAX_NAME_BYTES),
            kind: match raw.kind {
                contract::ConfigKind::Text => ConfigKind::Text,
                contract::ConfigKind::Integer => ConfigKind::Integer,
                contract::ConfigKind::Number => ConfigKind::Number,
                contract::ConfigKind::Boolean => ConfigKind::Boolean,
            },
            doc: printable(&raw.doc, MAX_DOC_BYTES),
            default: raw.default.map(|default| printable(&default, MAX_DOC_BYTES)),
        }
    }
}

impl From<contract::Grant> for Grant {
    fn from(raw: contract::Grant) -> Self {
        Self {
            capability: printable(&raw.capability, MAX_NAME_BYTES),
            target: printable(&raw.target, MAX_NAME_BYTES),
            reason: printable(&raw.reason, MAX_DOC_BYTES),
        }
    }
}
