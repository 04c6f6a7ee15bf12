//! How answers look: JSON, metadata, and a status with its details.

use std::fmt::{self, Write};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic::metadata::{BinaryMetadataValue, KeyAndValueRef, MetadataMap};
use tonic::{Code, Status};

use crate::cli::printable;
use crate::observe::is_plain;
use crate::status::code_name;

/// The answer was a status other than OK. Displayed over several lines, without an end of line.
#[derive(Debug)]
pub(crate) struct NotOk {
    code: Code,
    text: String,
}

impl NotOk {
    pub(super) fn new(initial: &MetadataMap, status: &Status, types: &Types) -> Self {
        let mut text = metadata("initial metadata", initial);
        text += &metadata("trailing metadata", status.metadata());
        let _ = write!(
            text,
            "status: {} ({})",
            code_name(status.code()),
            status.code() as i32
        );
        if !status.message().is_empty() {
            let _ = write!(text, "\nmessage: {}", printable(status.message()));
        }
        for detail in details(status) {
            let _ = write!(text, "\ndetail: {}", types.show(&detail));
        }
        NotOk {
            code: status.code(),
            text,
        }
    }

    /// The status's number, 1 to 16.
    pub(crate) fn code_number(&self) -> u8 {
        self.code as u8
    }
}

impl fmt::Display for NotOk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for NotOk {}

/// The message types that details can have.
pub(super) struct Types {
    pools: Vec<DescriptorPool>,
}

impl Types {
    /// The standard ones (`google.rpc`), and those of the server.
    pub(super) fn of_server(server: &DescriptorPool) -> Types {
        let standard = DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).ok();
        Types {
            pools: standard.into_iter().chain([server.clone()]).collect(),
        }
    }

    /// The type and the message in JSON, or in base64 if the type is not known.
    fn show(&self, detail: &prost_types::Any) -> String {
        let name = detail.type_url.rsplit('/').next().unwrap_or_default();
        let json = self
            .pools
            .iter()
            .find_map(|pool| pool.get_message_by_name(name))
            .and_then(|descriptor| DynamicMessage::decode(descriptor, detail.value.as_slice()).ok())
            .and_then(|message| json(&message).ok());
        let value = json.unwrap_or_else(|| {
            let value = BinaryMetadataValue::from_bytes(&detail.value);
            format!("base64 {}", String::from_utf8_lossy(value.as_encoded_bytes()))
        });
        format!("{} {value}", printable(name))
    }
}

fn details(status: &Status) -> Vec<prost_types::Any> {
    tonic_types::Status::decode(status.details())
        .map(|status| status.details)
        .unwrap_or_default()
}

/// `message` as protobuf's JSON mapping has it, over several lines. Characters that could steer a terminal are
/// escaped; they stand in strings, so it is the same JSON.
pub(super) fn json(message: &DynamicMessage) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::pretty(&mut text);
    message.serialize_with_options(&mut serializer, &super::JSON)?;
    let mut safe = String::with_capacity(text.len());
    for character in String::from_utf8(text)?.chars() {
        if character == '\n' || is_plain(character) {
            safe.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    Ok(safe)
}

/// One entry on each line under a title, or nothing if there is none. Binary values stay in base64.
pub(super) fn metadata(title: &str, metadata: &MetadataMap) -> String {
    let mut text = String::new();
    for entry in metadata.iter() {
        let (key, value) = match &entry {
            KeyAndValueRef::Ascii(key, value) => (key.as_str(), value.as_encoded_bytes()),
            KeyAndValueRef::Binary(key, value) => (key.as_str(), value.as_encoded_bytes()),
        };
        // The transport's own, and what is shown as status, message and details.
        if key.starts_with("grpc-") || ["content-type", "date"].contains(&key) {
            continue;
        }
        if text.is_empty() {
            let _ = writeln!(text, "{title}:");
        }
        let _ = writeln!(text, "  {key}: {}", printable(&String::from_utf8_lossy(value)));
    }
    text
}

/// What lies under a status of the transport's: its own text is written for programmers.
pub(super) fn innermost_cause(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(source) = cause.source() {
        cause = source;
    }
    printable(&cause.to_string())
}
