//! What a plugin says of itself: hostile descriptors are refused or served, and what is served has routes that a
//! client can call, and fits into logs.

use std::collections::HashSet;

use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, MethodOptions, OneofDescriptorProto,
    ServiceDescriptorProto,
};

use super::bindings::v0_1::handler as contract;
use super::description::{Description, HOST_SERVICES, find_method};
use super::descriptors::pool_of;
use crate::fuzzing::{Input, Target, assert_shown};
use crate::server::fuzzing::reflect;

pub(crate) const TARGET: Target = Target::new("descriptors", run, seeds);

/// More than any text in a description has when it is shown, with what is said around it.
const MAX_SHOWN_BYTES: usize = 4096;

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let path = input.text();
    let name = input.text();
    let descriptors = input.rest().to_vec();
    let mut methods = vec![contract::Method {
        path,
        internal: false,
    }];
    check(&name, methods.clone(), &descriptors);
    // Every method that there is: a hostile plugin knows its own descriptors.
    let Ok(pool) = pool_of(|| DescriptorPool::decode(&descriptors[..])) else {
        return;
    };
    methods.clear();
    for service in pool.services() {
        for method in service
            .methods()
            .filter(|method| !method.is_client_streaming() && !method.is_server_streaming())
        {
            methods.push(contract::Method {
                path: format!("/{}/{}", service.full_name(), method.name()),
                internal: methods.len() % 3 == 2,
            });
        }
    }
    check(&name, methods, &descriptors);
}

fn check(name: &str, methods: Vec<contract::Method>, descriptors: &[u8]) {
    let text = name.to_owned();
    let described = contract::Description {
        name: text.clone(),
        version: text.clone(),
        descriptors: descriptors.to_vec(),
        methods: methods.clone(),
        config: vec![contract::ConfigKey {
            name: text.clone(),
            kind: contract::ConfigKind::Text,
            doc: text.clone(),
            default: Some(text.clone()),
        }],
        grants: vec![contract::Grant {
            capability: text.clone(),
            target: text.clone(),
            reason: text,
        }],
    };
    let description = match Description::check(described) {
        Ok(description) => description,
        Err(refused) => return assert_shown(&refused.to_string(), MAX_SHOWN_BYTES),
    };
    for text in [
        &description.name,
        &description.version,
        &description.config[0].doc,
    ] {
        assert_shown(text, MAX_SHOWN_BYTES);
    }
    assert_eq!(
        description.methods.len(),
        methods.len(),
        "the guest knows methods by their positions"
    );
    let mut paths = HashSet::new();
    for method in &description.methods {
        assert_routable(&method.path);
        assert!(paths.insert(&method.path), "{}", method.path);
        assert!(method.path.starts_with(&format!("/{}/", method.service)));
        // Their neighbours in the same packages are anybody's: calls are routed by whole names.
        assert!(!HOST_SERVICES.contains(&method.service.as_str()));
        let found = find_method(&description.descriptors, &method.path).expect("its descriptors have it");
        assert!(!found.is_client_streaming() && !found.is_server_streaming());
    }
    for service in description.services() {
        assert!(
            description.serves(&service.parse().expect("the name of a service")),
            "{service}"
        );
    }
    reflect(&description.descriptors);
}

/// `/package.Service/Method`, of identifiers.
fn assert_routable(path: &str) {
    let (service, method) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .expect(path);
    for name in service.split('.').chain([method]) {
        let identifier = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || character == '_');
        assert!(identifier, "{path:?}");
    }
    assert!(path.len() <= 1024, "{} bytes", path.len());
    path.parse::<http::Uri>().expect("a client can ask for it");
}

fn seeds() -> Vec<Vec<u8>> {
    let seed = |path: &str, name: &str, files: Vec<FileDescriptorProto>| {
        let mut seed = Vec::new();
        for text in [path, name] {
            seed.push(u8::try_from(text.len()).expect("it is short"));
            seed.extend_from_slice(text.as_bytes());
        }
        seed.extend(FileDescriptorSet { file: files }.encode_to_vec());
        seed
    };
    let whole = || file("a.proto", "a.v1", "Shop", "Place");
    let mut importing = file("b.proto", "b.v1", "Stock", "Take");
    importing.dependency = vec!["a.proto".into()];
    importing.service[0].method[0].input_type = Some(".a.v1.Order".into());
    let mut cyclic = whole();
    cyclic.dependency = vec!["a.proto".into()];
    let mut streaming = whole();
    streaming.service[0].method[0].server_streaming = Some(true);
    let mut own = file("health.proto", "grpc.health.v1", "Health", "Check");
    own.message_type[0].nested_type.clear();
    vec![
        seed("/a.v1.Shop/Place", "shop", vec![whole()]),
        seed("/b.v1.Stock/Take", "sh\u{202e}op\n", vec![whole(), importing]),
        seed("/a.v1.Shop/Place", "", vec![cyclic]),
        seed("/a.v1.Shop/Place", "", vec![streaming]),
        seed("/grpc.health.v1.Health/Check", "", vec![own]),
        seed(
            "/a.v1.Shop/Nothing",
            "",
            vec![file("c.proto", "", "Shop", "Place")],
        ),
        seed(
            "/a.v1.Shop/Pl ace",
            "",
            vec![file("c.proto", "a.v1", "Shop", "Pl ace\n/x")],
        ),
        seed("", "", Vec::new()),
    ]
}

/// A file with some of everything that descriptors have.
fn file(name: &str, package: &str, service: &str, method: &str) -> FileDescriptorProto {
    let text = |text: &str| Some(text.to_owned());
    let own = |name: &str| match package {
        "" => format!(".{name}"),
        package => format!(".{package}.{name}"),
    };
    let field = |name: &str, number, kind: Type, of: Option<String>| FieldDescriptorProto {
        name: text(name),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name: of,
        ..FieldDescriptorProto::default()
    };
    let mut chosen = field("chosen", 4, Type::String, None);
    chosen.oneof_index = Some(0);
    FileDescriptorProto {
        name: text(name),
        package: text(package),
        syntax: text("proto3"),
        message_type: vec![DescriptorProto {
            name: text("Order"),
            field: vec![
                field("id", 1, Type::String, None),
                field("again", 2, Type::Message, Some(own("Order"))),
                field("kind", 3, Type::Enum, Some(own("Kind"))),
                chosen,
            ],
            oneof_decl: vec![OneofDescriptorProto {
                name: text("choice"),
                options: None,
            }],
            nested_type: vec![DescriptorProto {
                name: text("Line"),
                ..DescriptorProto::default()
            }],
            ..DescriptorProto::default()
        }],
        enum_type: vec![EnumDescriptorProto {
            name: text("Kind"),
            value: vec![EnumValueDescriptorProto {
                name: text("NONE"),
                number: Some(0),
                options: None,
            }],
            ..EnumDescriptorProto::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: text(service),
            method: vec![MethodDescriptorProto {
                name: text(method),
                input_type: text(&own("Order")),
                output_type: text(&own("Order")),
                options: Some(MethodOptions {
                    idempotency_level: Some(1),
                    ..MethodOptions::default()
                }),
                ..MethodDescriptorProto::default()
            }],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    }
}
