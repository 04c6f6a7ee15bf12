//! Request metadata as users write it: `KEY: VALUE`.

use std::str::FromStr;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tonic::metadata::{
    AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataKey, BinaryMetadataValue, MetadataMap,
};

/// With or without padding, as in gRPC itself.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One entry of request metadata.
#[derive(Debug, Clone)]
pub(super) enum Header {
    Ascii(AsciiMetadataKey, AsciiMetadataValue),
    Binary(BinaryMetadataKey, BinaryMetadataValue),
}

impl Header {
    /// Adds the entry after those of the same key.
    pub(super) fn add_to(&self, metadata: &mut MetadataMap) {
        match self.clone() {
            Header::Ascii(key, value) => drop(metadata.append(key, value)),
            Header::Binary(key, value) => drop(metadata.append_bin(key, value)),
        }
    }
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once(':').ok_or("expected KEY: VALUE")?;
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if key == "grpc-timeout" {
            return Err("a deadline is set with --timeout".into());
        }
        if key.starts_with("grpc-") || ["content-type", "te", "user-agent"].contains(&key.as_str()) {
            return Err(format!("{key} belongs to gRPC itself"));
        }
        let invalid_key = || format!("{key:?} is not a metadata key");
        if !key.ends_with("-bin") {
            let name = key.parse().map_err(|_| invalid_key())?;
            let value = value
                .parse()
                .map_err(|_| "a value is printable ASCII, unless its key ends in -bin")?;
            return Ok(Header::Ascii(name, value));
        }
        let name = key.parse().map_err(|_| invalid_key())?;
        let value = BASE64
            .decode(value)
            .map_err(|_| "the value of a key that ends in -bin is given in base64")?;
        Ok(Header::Binary(name, BinaryMetadataValue::from_bytes(&value)))
    }
}
