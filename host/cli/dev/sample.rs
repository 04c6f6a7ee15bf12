//! A request to try, made up from a message's descriptor.

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};

const MAX_DEPTH: usize = 3;

/// JSON for `message` with a made-up value for every field that has to be there: optional fields, oneofs,
/// enums and maps are left out, and so are well-known types.
pub(super) fn sample_json(message: &MessageDescriptor, depth: usize) -> String {
    let fields: Vec<_> = message
        .fields()
        .filter(|field| !field.supports_presence() || matches!(field.kind(), Kind::Message(_)))
        .filter_map(|field| {
            Some(format!(
                "\"{}\": {}",
                field.json_name(),
                sample_value(&field, depth)?
            ))
        })
        .collect();
    format!("{{{}}}", fields.join(", "))
}

fn sample_value(field: &FieldDescriptor, depth: usize) -> Option<String> {
    let value = match field.kind() {
        Kind::String => format!("\"{}\"", field.name()),
        Kind::Bool => "true".to_owned(),
        Kind::Bytes => "\"\"".to_owned(),
        Kind::Enum(_) => return None,
        Kind::Message(message) => {
            if field.is_map() || depth >= MAX_DEPTH || message.package_name() == "google.protobuf" {
                return None;
            }
            sample_json(&message, depth + 1)
        }
        _ => "1".to_owned(),
    };
    Some(if field.cardinality() == Cardinality::Repeated {
        format!("[{value}]")
    } else {
        value
    })
}
